//! Datagrams to ports on IPv6 of containers without it: redirected by a rule, carried into the container and back.

use crate::rig::*;
use netd::{Forward, Protocol, Sandbox};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A container behind a link, with the UDP ports 5300 and 5301 of all IPv6 addresses published to its ports 53 and 54.
fn published(host: &Host) -> (Container, Sandbox) {
    let own = Sandbox {
        forwards: vec![Forward {
            protocol: Protocol::Udp,
            listen: "[::]:5300".parse().unwrap(),
            ports: 2,
            to: "10.9.0.2:53".parse().unwrap(),
        }],
        ..Sandbox::default()
    };
    let web = host.container("web1", &own);
    let pid = web.process.id().to_string();
    run("ip", &["link", "add", "gn0", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    run("ip", &["addr", "add", "10.9.0.1/24", "dev", "gn0"]);
    run("ip", &["link", "set", "gn0", "up"]);
    let inside = ["-n", "-t", &pid, "ip"];
    run("nsenter", &[&inside[..], &["addr", "add", "10.9.0.2/24", "dev", "eth0"]].concat());
    run("nsenter", &[&inside[..], &["link", "set", "eth0", "up"]].concat());
    let port = host.client.redirect_port().unwrap();
    run("nft", &["add table inet test"]);
    for hook in ["output", "prerouting"] {
        run(
            "nft",
            &[&format!("add chain inet test {hook} {{ type nat hook {hook} priority -100; }}")],
        );
        let rule = format!("ip6 daddr != fd00::9 udp dport 5300-5310 redirect to :{port}");
        run("nft", &[&format!("add rule inet test {hook} {rule}")]);
    }
    (web, own)
}

/// A server in the container that says what it heard on which port, and from where; of what begins with `s` nothing.
fn echo(web: &Container, port: u16) {
    let socket = web.inside(move || UdpSocket::bind(("10.9.0.2", port)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let said = &buffer[..length];
            if said.first() != Some(&b's') {
                let start = String::from_utf8_lossy(&said[..length.min(8)]).into_owned();
                let answer = format!("{port} {start} {length} {from}");
                socket.send_to(answer.as_bytes(), from).unwrap();
            }
        }
    });
}

fn client(to: &str) -> UdpSocket {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // What comes from elsewhere is not heard by a connected socket.
    socket.connect(to).unwrap();
    socket
}

fn heard(socket: &UdpSocket) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("an answer");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn talk(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).unwrap();
    heard(socket)
}

fn sessions(host: &Host) -> usize {
    host.client.status().unwrap().unwrap().sessions
}

#[test]
fn datagrams_on_ipv6_lead_into_a_container_without_it_and_back() {
    let mut host = Host::new();
    let (web, own) = published(&host);
    echo(&web, 53);
    echo(&web, 54);
    let one = client("[::1]:5300");
    let first = talk(&one, "hello");
    assert!(first.starts_with("53 hello 5 10.9.0.1:"), "{first}");
    // One client, one session; another client, another.
    assert_eq!(talk(&one, "hello"), first);
    let other = talk(&client("[::1]:5300"), "hello");
    assert!(other.starts_with("53 hello 5 10.9.0.1:") && other != first, "{other}");
    assert_eq!(sessions(&host), 2);
    // Nothing and much are datagrams too.
    assert!(talk(&one, "").starts_with("53  0 "));
    assert!(talk(&one, &"x".repeat(60_000)).starts_with("53 xxxxxxxx 60000 "));
    // One socket that asks two ports is answered by each.
    let both = UdpSocket::bind("[::1]:0").unwrap();
    both.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for _time in 0..2 {
        for (port, inner) in [(5300, "53 "), (5301, "54 ")] {
            both.send_to(b"both", ("::1", port)).unwrap();
            let mut buffer = [0; 64];
            let (length, from) = both.recv_from(&mut buffer).unwrap();
            assert_eq!(from, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
            assert!(buffer[..length].starts_with(inner.as_bytes()));
        }
    }
    assert_eq!(sessions(&host), 4);
    // A port that nobody published is nobody's, and the helper's own is none.
    let own_port = host.client.redirect_port().unwrap();
    for strange in ["[::1]:5305", &format!("[::1]:{own_port}")] {
        client(strange).send(b"x").unwrap();
    }
    wait_for("they are counted", Duration::from_secs(3), || {
        host.client.status().unwrap().unwrap().dropped == 2
    });
    assert_eq!(sessions(&host), 4);
    // Without a daemon, and by another helper, which is asked with no word to the clients.
    host.client = host.another_client();
    assert_eq!(talk(&one, "hello"), first);
    let pid = host.client.pid().unwrap().unwrap();
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    wait_for("another helper", Duration::from_secs(5), || {
        host.client.pid().unwrap().is_some_and(|p| p != pid)
    });
    // It may have been told by ICMP that nobody was there.
    let _told = one.send(b"s");
    let again = talk(&one, "hello");
    assert!(again.starts_with("53 hello 5 10.9.0.1:"), "{again}");
    assert_eq!(sessions(&host), 1);
    // What leads elsewhere is over at once.
    let mut moved = own.clone();
    moved.forwards[0].to = "10.9.0.2:54".parse().unwrap();
    host.client.update(&web.id, &moved).unwrap();
    assert_eq!(sessions(&host), 0);
    assert!(talk(&one, "hello").starts_with("54 hello "));
    host.client.detach(&web.id).unwrap();
    let status = host.client.status().unwrap().unwrap();
    assert_eq!(status.sessions, 0);
    one.send(b"gone").unwrap();
    wait_for("it is dropped", Duration::from_secs(3), || {
        host.client.status().unwrap().unwrap().dropped > status.dropped
    });
}

#[test]
fn another_hosts_datagrams_are_answered_from_the_address_that_it_asked() {
    let host = Host::new();
    let (web, _) = published(&host);
    echo(&web, 53);
    let lan = Container::new("lan1");
    let pid = lan.process.id().to_string();
    run("ip", &["link", "add", "gn1", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    let inside = ["-n", "-t", &pid, "ip"];
    run("ip", &["link", "set", "gn1", "addrgenmode", "none"]);
    run("nsenter", &[&inside[..], &["link", "set", "eth0", "addrgenmode", "none"]].concat());
    for address in ["fd09::1/64", "fd09::7/64", "fe80::1/64"] {
        run("ip", &["addr", "add", address, "dev", "gn1", "nodad"]);
    }
    run("ip", &["link", "set", "gn1", "up"]);
    for address in ["fd09::2/64", "fe80::2/64"] {
        let add = ["addr", "add", address, "dev", "eth0", "nodad"];
        run("nsenter", &[&inside[..], &add].concat());
    }
    run("nsenter", &[&inside[..], &["link", "set", "eth0", "up"]].concat());
    let name = std::ffi::CString::new("eth0").unwrap();
    let link = lan.inside(move || {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        rustix::net::netdevice::name_to_index(&socket, name.to_str().unwrap()).unwrap()
    });
    // Links that have just come up lose the first question for a neighbour.
    for asked in
        ["[fd09::1]:5300".to_owned(), "[fd09::7]:5300".into(), format!("[fe80::1%{link}]:5300")]
    {
        let to = asked.clone();
        let told = lan.inside(move || {
            let socket = client(&to);
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let start = Instant::now();
            loop {
                socket.send(b"hello").unwrap();
                let mut buffer = [0; 64];
                match socket.recv(&mut buffer) {
                    Ok(length) => break String::from_utf8_lossy(&buffer[..length]).into_owned(),
                    Err(e) => assert!(start.elapsed() < Duration::from_secs(8), "{e}"),
                }
            }
        });
        assert!(told.starts_with("53 hello 5 10.9.0.1:"), "{asked}: {told}");
    }
    // Who writes to the helper's own port gets nothing.
    let port = host.client.redirect_port().unwrap();
    let answer = lan.inside(move || {
        let socket = client(&format!("[fd09::1]:{port}"));
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send(b"hello").unwrap();
        socket.recv(&mut [0; 8])
    });
    assert!(answer.is_err());
}

/// How often a process has gone to sleep, once it sleeps: more later is what woke it since.
fn sleeps(pid: u32) -> u64 {
    let look = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        let count: u64 = field("voluntary_ctxt_switches:").parse().unwrap();
        (field("State:").starts_with('S'), count)
    };
    let mut last = look();
    wait_for("it sleeps", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(50));
        let before = std::mem::replace(&mut last, look());
        last.0 && last == before
    });
    last.1
}

#[test]
fn sessions_end_when_the_kernels_flows_do() {
    // Long enough that a machine that stands still for some seconds ends none: a flow is a stream after two seconds.
    let (question, stream_time) = (Duration::from_secs(4), Duration::from_secs(8));
    let host = Host::new();
    for (name, time) in [("timeout", question), ("timeout_stream", stream_time)] {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_udp_{name}");
        std::fs::write(path, time.as_secs().to_string()).unwrap();
    }
    let until = |at: Instant| std::thread::sleep(at.saturating_duration_since(Instant::now()));
    let (web, _) = published(&host);
    echo(&web, 53);
    let (silent, stream) = (client("[::1]:5300"), client("[::1]:5300"));
    silent.send(b"silent").unwrap();
    let first = talk(&stream, "hello");
    assert_eq!(sessions(&host), 2);
    let start = Instant::now();
    // One speaks every half second.
    while start.elapsed() < Duration::from_millis(2500) {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(talk(&stream, "hello"), first);
    }
    let last = Instant::now();
    until(start + question + Duration::from_millis(300));
    wait_for("the silent one is over", Duration::from_secs(5), || sessions(&host) == 1);
    // The other is a stream, which outlasts a question's time, and costs nothing meanwhile.
    let pid = host.client.pid().unwrap().unwrap();
    let before = sleeps(pid);
    until(last + question + Duration::from_millis(500));
    // Before it is asked again: the answer is a turn too.
    assert_eq!(sleeps(pid), before);
    assert_eq!(sessions(&host), 1);
    assert_eq!(talk(&stream, "hello"), first);
    let limit = stream_time + Duration::from_secs(4);
    wait_for("it is over", limit, || sessions(&host) == 0);
    // And begins anew when there is something to say.
    assert!(talk(&stream, "hello").starts_with("53 hello "));
}

#[test]
fn a_flood_of_strangers_ends_no_conversation_and_takes_bounded_room() {
    let host = Host::new();
    let (web, _) = published(&host);
    echo(&web, 53);
    let friend = client("[::1]:5300");
    let first = talk(&friend, "hello");
    let _strangers: Vec<UdpSocket> = (0..1200)
        .map(|n| {
            let socket = client("[::1]:5300");
            socket.send(b"silence").unwrap();
            if n % 50 == 0 {
                // Its buffer is not what is tested.
                assert!(sessions(&host) <= 1024);
            }
            socket
        })
        .collect();
    wait_for("there are as many as there may be", Duration::from_secs(5), || {
        sessions(&host) == 1024
    });
    assert_eq!(talk(&friend, "hello"), first);
    let pid = host.client.pid().unwrap().unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open < 1024 + 30, "{open}");
}
