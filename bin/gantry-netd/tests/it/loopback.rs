//! Ports on `::1`: redirected by a rule, carried into the container.

use crate::rig::*;
use netd::{Forward, Protocol, Sandbox};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// A container behind a link, with port 8080 and the next of `::1` published to its ports 80 and 81.
fn published(host: &Host) -> Container {
    let port = host.client.redirect_port().unwrap();
    let own = Sandbox {
        forwards: vec![Forward {
            protocol: Protocol::Tcp,
            listen: "[::1]:8080".parse().unwrap(),
            ports: 2,
            to: "10.9.0.2:80".parse().unwrap(),
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
    run("nft", &["add table inet test"]);
    run("nft", &["add chain inet test out { type nat hook output priority -100; }"]);
    let to = format!("redirect to :{port}");
    run("nft", &[&format!("add rule inet test out ip6 daddr ::1 tcp dport 8080-8090 {to}")]);
    run("nft", &[&format!("add rule inet test out ip daddr 127.0.0.1 tcp dport 8080-8090 {to}")]);
    web
}

/// What a server in the container does with a connection.
fn serve(web: &Container, port: u16, work: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
    let listener = web.inside(move || TcpListener::bind(("10.9.0.2", port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let work = work.clone();
            std::thread::spawn(move || work(stream.unwrap()));
        }
    });
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn a_port_on_loopback_leads_into_the_container() {
    let mut host = Host::new();
    let web = published(&host);
    serve(&web, 80, |mut stream| {
        let from = stream.peer_addr().unwrap().ip();
        // Everything until the client has said all, then the answer: half-close.
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(format!("{text} from {from}").as_bytes()).unwrap();
    });
    serve(&web, 81, |mut stream| stream.write_all(b"second").unwrap());
    let talk = || {
        let mut stream = connect("[::1]:8080");
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello from 10.9.0.1");
    };
    talk();
    let mut text = String::new();
    connect("[::1]:8081").read_to_string(&mut text).unwrap();
    assert_eq!(text, "second");
    // Without a daemon too.
    host.client = host.another_client();
    talk();
    wait_for("all are closed", Duration::from_secs(3), || {
        host.client.status().unwrap().unwrap().relays == 0
    });
}

#[test]
fn another_hosts_ipv6_leads_into_a_container_without_it() {
    let host = Host::new();
    let web = published(&host);
    serve(&web, 80, |mut stream| stream.write_all(b"here").unwrap());
    let mut own = Sandbox::default();
    own.forwards.push(Forward {
        protocol: Protocol::Tcp,
        listen: "[::]:9090".parse().unwrap(),
        ports: 1,
        to: "10.9.0.2:80".parse().unwrap(),
    });
    host.client.update(&web.id, &own).unwrap();
    let lan = Container::new("lan1");
    let pid = lan.process.id().to_string();
    run("ip", &["link", "add", "gn1", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    run("ip", &["addr", "add", "fd09::1/64", "dev", "gn1", "nodad"]);
    run("ip", &["link", "set", "gn1", "up"]);
    let inside = ["-n", "-t", &pid, "ip"];
    let address = ["addr", "add", "fd09::2/64", "dev", "eth0", "nodad"];
    run("nsenter", &[&inside[..], &address].concat());
    run("nsenter", &[&inside[..], &["link", "set", "eth0", "up"]].concat());
    run("nft", &["add chain inet test in { type nat hook prerouting priority -100; }"]);
    let port = host.client.redirect_port().unwrap();
    run(
        "nft",
        &[&format!("add rule inet test in ip6 daddr fd09::1 tcp dport 9090 redirect to :{port}")],
    );
    let get = |port: u16| {
        lan.inside(move || {
            let mut text = String::new();
            let mut stream = TcpStream::connect(("fd09::1", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let _ended = stream.read_to_string(&mut text);
            text
        })
    };
    assert_eq!(get(9090), "here");
    // Who comes without having been redirected gets nothing.
    assert_eq!(get(port), "");
}

#[test]
fn much_is_carried_and_a_slow_reader_holds_the_writer() {
    let host = Host::new();
    let web = published(&host);
    const SIZE: usize = 64 << 20;
    serve(&web, 80, |mut stream| {
        let mut buffer = [0; 65_536];
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return,
                n => stream.write_all(&buffer[..n]).unwrap(),
            }
        }
    });
    let stream = connect("[::1]:8080");
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let block: Vec<u8> = (0..65_536u32).map(|n| (n % 251) as u8).collect();
        for _block in 0..SIZE / block.len() {
            writer.write_all(&block).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    // Nothing is read for a while: what cannot go on waits at its sender, not in the helper.
    std::thread::sleep(Duration::from_millis(500));
    let pid = host.client.pid().unwrap().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    let rss: usize = rss.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(rss < 16 << 10, "{rss} KiB");
    let (mut read, mut buffer, mut stream) = (0, vec![0; 65_536], stream);
    loop {
        let n = stream.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        for (at, byte) in buffer[..n].iter().enumerate() {
            assert_eq!(*byte, ((read + at) % 65_536 % 251) as u8, "at {}", read + at);
        }
        read += n;
    }
    assert_eq!(read, SIZE);
    sender.join().unwrap();
}

#[test]
fn what_leads_nowhere_ends_at_once() {
    let host = Host::new();
    let web = published(&host);
    let is_reset = |address: &str| {
        let mut stream = connect(address);
        // Who writes late hears of it first.
        let ended = stream.write_all(b"x").and_then(|()| stream.read(&mut [0; 8]));
        ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    };
    // Nobody listens in the container.
    assert!(is_reset("[::1]:8080"));
    // A port that nobody published, another family, the listener itself.
    let port = host.client.redirect_port().unwrap();
    for address in ["[::1]:8085", "127.0.0.1:8080", &format!("[::1]:{port}")] {
        let mut stream = connect(address);
        let ended = stream.read(&mut [0; 8]);
        assert!(ended.is_err() || ended.is_ok_and(|n| n == 0), "{address}");
    }
    // A server that resets, a client that does.
    serve(&web, 80, |stream| {
        let _set = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    });
    let mut stream = connect("[::1]:8080");
    let ended = stream.read(&mut [0; 8]);
    let kind = ended.map_err(|e| e.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
    serve(&web, 81, |mut stream| drop(stream.read(&mut [0; 8])));
    let stream = connect("[::1]:8081");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    wait_for("all are closed", Duration::from_secs(3), || {
        host.client.status().unwrap().unwrap().relays == 0
    });
    // What is published no more leads nowhere.
    host.client.detach(&web.id).unwrap();
    let mut stream = connect("[::1]:8081");
    let ended = stream.read(&mut [0; 8]);
    assert!(ended.is_err() || ended.is_ok_and(|n| n == 0));
}
