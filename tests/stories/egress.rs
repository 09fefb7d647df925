//! Where containers may go: what is allowed passes, nothing else does, however it is tried.
//!
//! Three observers count packets with rules of their own: a machine on the LAN, the host, and a neighbour. Attempts need
//! not be waited for one by one: whatever got through was counted.

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType};
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::process::{PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, Host, need};

/// The neighbour.
const NEAR: &str = "10.77.0.2";
/// The machine on the LAN.
const FAR: &str = "198.51.100.2";
const FAR6: &str = "2001:db8:5::2";
/// The host there; its resolver, too.
const HOST: &str = "198.51.100.1";

fn inspect(client: &Client, name: &str, template: &str) -> String {
    client.run(&["inspect", "-f", template, name]).ok().text().to_owned()
}

/// A machine behind a wire to the daemon's host, with servers: TCP ports 8443 and 9443, UDP port 7000.
fn lan(daemon: &Daemon) -> Host {
    let outside = Host::start();
    let first = outside.first().to_string();
    let own = daemon.host().first().to_string();
    let link = ["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &first];
    let nsenter = [&["--target", &own, "--net", "--", "ip"][..], &link].concat();
    testkit::process::must("nsenter", &nsenter);
    for (host, v4, v6) in [(daemon.host(), HOST, "2001:db8:5::1"), (&outside, FAR, FAR6)] {
        host.run("ip", &["addr", "add", &format!("{v4}/24"), "dev", "wire"]).ok();
        host.run("ip", &["addr", "add", &format!("{v6}/64"), "dev", "wire", "nodad"]).ok();
        host.run("ip", &["link", "set", "wire", "up"]).ok();
    }
    let network = outside.network();
    std::thread::spawn(move || {
        network.enter();
        for port in [8443, 9443] {
            let listener = TcpListener::bind(("::", port)).unwrap();
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    let _gone = client.unwrap().write_all(b"hello\n");
                }
            });
        }
        let echo = UdpSocket::bind("[::]:7000").unwrap();
        let mut bytes = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut bytes) {
            let _sent = echo.send_to(&bytes[..length], from);
        }
    });
    outside
}

/// The host's resolver, which knows a few names, and the names that it was asked for.
fn resolver(daemon: &Daemon) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (network, list) = (daemon.host().network(), Arc::clone(&asked));
    std::thread::spawn(move || {
        network.enter();
        let socket = UdpSocket::bind((HOST, 53)).unwrap();
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let (name, answer) = answer(&bytes[..length]);
            list.lock().unwrap().push(name);
            let _sent = socket.send_to(&answer, from);
        }
    });
    asked
}

fn answer(query: &[u8]) -> (String, Vec<u8>) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let name = labels.join(".");
    let six = query[at + 2] == 28;
    let mut records = Vec::new();
    let mut add = |data: &[u8]| {
        let kind = if six { 28 } else { 1 };
        records.push([&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 5, 0, data.len() as u8], data].concat());
    };
    match (name.as_str(), six) {
        ("ok.test" | "two.test", false) => add(&[198, 51, 100, 2]),
        ("ok.test", true) => add(&"2001:db8:5::2".parse::<std::net::Ipv6Addr>().unwrap().octets()),
        // What a stranger might say of a name that is allowed.
        ("rebind.test", false) => {
            for near in [[169, 254, 169, 254], [10, 77, 0, 1], [10, 77, 0, 2], [198, 51, 100, 1]] {
                add(&near);
            }
        }
        ("alias.test", false) => {
            records.push(b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x09\x02ok\x04test\0".to_vec());
            records.push(b"\x02ok\x04test\0\0\x01\0\x01\0\0\0\x05\0\x04\xc6\x33\x64\x02".to_vec());
        }
        _ => {}
    }
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    answer.extend(&query[12..at + 5]);
    answer.extend(records.concat());
    (name, answer)
}

/// Rules that count what should not have come.
fn watch(host: &Host, inside: &[&str], hook: &str, ignored: &[&str]) {
    let table = format!(
        "add table inet watch
         delete table inet watch
         add table inet watch
         add chain inet watch in {{ type filter hook {hook} priority -300; }}
         add rule inet watch in icmpv6 type {{ 133, 134, 135, 136 }} ip6 hoplimit 255 accept
         add rule inet watch in icmpv6 type {{ 130, 131, 132, 143 }} ip6 hoplimit 1 accept\n"
    );
    let rule = |rule: &&str| format!("add rule inet watch in {rule}\n");
    let rules: String = ignored.iter().chain(&["counter"]).map(rule).collect();
    let table = table + &rules;
    host.run("nsenter", &[inside, &["nft", &table]].concat()).ok();
}

fn count(host: &Host, inside: &[&str]) -> u64 {
    let list = [inside, &["nft", "list", "table", "inet", "watch"]].concat();
    let table = host.run("nsenter", &list).ok().stdout;
    let count = table.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.unwrap().parse().unwrap()
}

/// Attempts that need nothing but the usual programs; `$n` is the neighbour. Run in the container's network, with all
/// rights there.
const ATTEMPTS: &[(&str, &str)] = &[
    ("another port of an allowed address", "busybox nc -w 1 198.51.100.2 9443"),
    ("an address that no name led to", "busybox nc -w 1 198.51.100.7 8443"),
    ("another resolver", "busybox nslookup -type=a evil.test 198.51.100.2"),
    ("the host's resolver itself", "busybox nslookup -type=a ok.test 198.51.100.1"),
    ("DNS over TCP elsewhere", "busybox nc -w 1 198.51.100.2 53"),
    ("DNS over TLS", "busybox nc -w 1 198.51.100.2 853"),
    ("DNS over HTTPS by its address", "busybox nc -w 1 198.51.100.2 443"),
    ("ping", "busybox ping -c 1 -W 1 198.51.100.2"),
    ("ping of the host", "busybox ping -c 1 -W 1 10.77.0.1"),
    ("ping by IPv6", "busybox ping -6 -c 1 -W 1 2001:db8:5::2"),
    ("the gateway's address", "busybox nc -w 1 10.77.0.1 2222"),
    ("the host's address on the LAN", "busybox nc -w 1 198.51.100.1 2222"),
    ("the gateway by IPv6", "busybox nc -w 1 fd77::1 2222"),
    ("the host on the LAN by IPv6", "busybox nc -w 1 2001:db8:5::1 2222"),
    ("the cloud's metadata", "busybox nc -w 1 169.254.169.254 80"),
    ("a neighbour", "busybox nc -w 1 $n 80"),
    ("a neighbour by IPv6", "busybox nc -w 1 fd77::2 80"),
    ("ping of a neighbour", "busybox ping -c 1 -W 1 $n"),
    ("a neighbour's published port", "busybox nc -w 1 198.51.100.1 8081"),
    ("a neighbour's published port by the gateway", "busybox nc -w 1 10.77.0.1 8081"),
    (
        "addresses that a stranger gave to an allowed name",
        "busybox nslookup -type=a rebind.test 127.0.0.11 >&2; for a in 169.254.169.254 10.77.0.1 10.77.0.2 198.51.100.1; \
         do busybox nc -w 1 $a 80 & done; wait",
    ),
    (
        "another address of its own",
        "ip addr add 10.77.0.99/24 dev eth0; busybox ping -I 10.77.0.99 -c 1 -W 1 198.51.100.2",
    ),
    ("another way out", "ip route add 198.51.100.7 via $n; busybox nc -w 1 198.51.100.7 8443"),
    (
        "a VLAN",
        "ip link add link eth0 name eth0.5 type vlan id 5 && ip link set eth0.5 up && ip addr add 10.5.0.2/24 dev eth0.5 && busybox ping -c 1 -W 1 10.5.0.1",
    ),
    (
        "a link on its link",
        "ip link add link eth0 name mv type macvlan && ip link set mv up && ip addr add 10.77.0.98/24 dev mv && busybox ping -I mv -c 1 -W 1 10.77.0.1",
    ),
    (
        "a tunnel",
        "ip link add tun5 type ipip remote 198.51.100.2 local any && ip link set tun5 up && ip addr add 10.6.0.2/24 dev tun5 && busybox ping -c 1 -W 1 10.6.0.1",
    ),
];

/// Datagrams that may come to nobody: what they are, and where to. A program of its own, because not every busybox has
/// `nc -u` and `ping -b`.
const DATAGRAMS: &[(&str, &str, u16)] = &[
    ("another protocol of an allowed port", FAR, 8443),
    ("NTP", FAR, 123),
    ("the gateway's address", "10.77.0.1", 2222),
    ("a neighbour", NEAR, 80),
    ("a neighbour by IPv6", "fd77::2", 80),
    ("multicast", "224.0.0.251", 5353),
    ("multicast that everybody takes", "224.0.0.1", 5353),
    ("multicast by IPv6", "ff02::fb", 5353),
    ("multicast by IPv6 that everybody takes", "ff02::1", 5353),
    ("broadcast", "10.77.0.255", 5353),
    ("broadcast on the link", "255.255.255.255", 5353),
];

/// Names that are asked for in vain; none of them may come to the resolver outside.
const NAMES: &[&str] = &[
    "evil.test",
    "data.ok.test",
    "ok.test.evil.test",
    "-type=txt secret-data.evil.test",
    "-type=ptr 2.100.51.198.in-addr.arpa",
    "-type=mx evil.test",
];

/// Does something in a network, on a thread that never leaves it.
fn within<T: Send>(netns: &File, work: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(netns.as_fd(), network).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

/// A socket for datagrams to this address.
fn datagrams(to: IpAddr) -> UdpSocket {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).unwrap()
}

fn send_datagrams() {
    for (_, to, port) in DATAGRAMS {
        let to: IpAddr = to.parse().unwrap();
        let socket = datagrams(to);
        socket.set_broadcast(true).unwrap();
        let link = name_to_index(&socket, "eth0").unwrap();
        let to = match to {
            IpAddr::V4(to) => SocketAddr::from((to, *port)),
            IpAddr::V6(to) => SocketAddrV6::new(to, *port, 0, link).into(),
        };
        // Where its own kernel refuses, it did not get out either.
        let _sent = socket.send_to(b"secret", to);
    }
}

/// Frames that a program writes itself, header and all.
fn send_frames() {
    let send = |protocol: u32, bytes: &[u8], to: IpAddr| {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let protocol = NonZeroU32::new(protocol).map(Protocol::from_raw);
        let Ok(socket) = rustix::net::socket(family, SocketType::RAW, protocol) else { return };
        // Where its own kernel refuses, it did not get out either.
        let _sent =
            rustix::net::sendto(&socket, bytes, SendFlags::empty(), &SocketAddr::new(to, 0));
    };
    let far: IpAddr = FAR.parse().unwrap();
    let far6: IpAddr = FAR6.parse().unwrap();
    let gateway: IpAddr = "10.77.0.1".parse().unwrap();
    // Echo reply, timestamp, errors; IP in IP, TCP, IPv6 in IP, GRE, ESP, AH, OSPF, SCTP, UDP-Lite, an unknown one.
    let echo_reply = [0, 0, 0xff, 0xff, 0, 0, 0, 0, b's', b'e', b'c', b'r', b'e', b't'];
    for to in [far, gateway] {
        send(1, &echo_reply, to);
        send(1, &[13, 0, 0xf2, 0xff, 0, 0, 0, 0], to);
        send(1, &[3, 1, 0xfc, 0xfe, 0, 0, 0, 0], to);
        for protocol in [4, 41, 47, 50, 51, 89, 132, 136, 253] {
            send(protocol, b"secretsecretsecretsecret", to);
        }
        // Segments of no connection: ACK, RST, FIN, SYN and ACK.
        for flags in [0x10, 0x04, 0x01, 0x12] {
            let segment =
                [0x20, 0xfb, 0x24, 0xe3, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x20, 0, 0, 0, 0, 0];
            send(6, &segment, to);
        }
    }
    for kind in [129, 128, 1, 135, 136, 143, 200] {
        send(58, &[kind, 0, 0, 0, 0, 0, 0, 0, b's', b'e', b'c', b'r', b'e', b't'], far6);
    }
    // With headers of one's own: forged sources, and later parts of a packet.
    let header = |source: Ipv4Addr, fragment: u16, protocol: u8| {
        let mut bytes = vec![0x45, 0, 0, 36, 0, 7];
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend([198, 51, 100, 2]);
        bytes.extend([0x20, 0xfb, 0x24, 0xe3, 0, 16, 0, 0]);
        bytes.extend(b"secret..");
        bytes
    };
    for source in ["10.77.0.2", "10.77.0.1", "198.51.100.1", "203.0.113.9", "127.0.0.1"] {
        send(255, &header(source.parse().unwrap(), 0, 17), far);
    }
    for fragment in [0x2000, 0x2001, 0x0001, 0x00b9] {
        send(255, &header("10.77.0.3".parse().unwrap(), fragment, 17), far);
    }
}

struct Scene {
    daemon: Daemon,
    outside: Host,
    asked: Arc<Mutex<Vec<String>>>,
    client: Client,
}

impl Scene {
    fn start() -> Self {
        let daemon = Daemon::start();
        let (outside, client) = (lan(&daemon), daemon.gantry());
        daemon.host().run("ip", &["addr", "add", "169.254.169.254/32", "dev", "lo"]).ok();
        let asked = resolver(&daemon);
        let subnets = ["--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd77::/64"];
        client.run(&[&["network", "create"], &subnets[..], &["net"]].concat()).ok();
        Self { daemon, outside, asked, client }
    }

    fn pid(&self, name: &str) -> String {
        inspect(&self.client, name, "{{.State.Pid}}")
    }

    /// A container's network.
    fn network(&self, pid: &str) -> File {
        File::open(self.daemon.host().proc().join(pid).join("ns/net")).unwrap()
    }

    /// Runs a script in a container's network, with the host's programs.
    fn inside(&self, pid: &str, script: &str) -> testkit::Output {
        self.daemon.host().run("nsenter", &["-t", pid, "-n", "sh", "-c", script])
    }

    fn watch(&self, neighbour: &str) {
        let far = &["tcp dport 8443 accept", "udp dport 7000 accept"];
        watch(&self.outside, &["-t", "1", "-n"], "prerouting", far);
        watch(
            self.daemon.host(),
            &["-t", "1", "-n"],
            "input",
            &["iifname \"wire\" accept", "iifname \"lo\" accept"],
        );
        watch(self.daemon.host(), &["-t", neighbour, "-n"], "input", &[]);
    }

    /// What the LAN, the host and the neighbour counted.
    fn counted(&self, neighbour: &str) -> [u64; 3] {
        let own = &["-t", "1", "-n"];
        let host = self.daemon.host();
        [count(&self.outside, own), count(host, own), count(host, &["-t", neighbour, "-n"])]
    }

    fn nothing_came(&self, neighbour: &str) {
        assert_eq!(self.counted(neighbour), [0; 3], "the LAN, the host or a neighbour was reached");
    }

    /// All attempts at once.
    fn attempt(&self, pid: &str, neighbour: &str) {
        let mut script = String::new();
        for (_, attempt) in ATTEMPTS {
            script += &format!("timeout 2 sh -c '{attempt}' </dev/null >/dev/null 2>&1 &\n");
        }
        for name in NAMES {
            script += &format!("timeout 2 busybox nslookup {name} 127.0.0.11 >/dev/null 2>&1 &\n");
        }
        self.inside(pid, &(script.replace("$n", NEAR) + "wait\n")).ok();
        let network = self.network(pid);
        within(&network, send_datagrams);
        within(&network, send_frames);
        self.nothing_came(neighbour);
        let asked = self.asked.lock().unwrap();
        let foreign: Vec<_> = asked.iter().filter(|name| !is_allowed(name)).collect();
        assert!(foreign.is_empty(), "asked outside: {foreign:?}");
    }

    /// What is allowed.
    fn allowed(&self, pid: &str, name: &str) {
        let ask = format!(
            "r=$(busybox nslookup {name} 127.0.0.11) && a=$(echo \"$r\" | sed -n 's/^Address: *//p' | grep 198) && \
             busybox nc -w 2 $a 8443 </dev/null"
        );
        self.inside(pid, &ask).ok().prints("hello\n");
    }
}

fn is_allowed(name: &str) -> bool {
    matches!(name, "ok.test" | "alias.test" | "rebind.test" | "two.test")
}

#[test]
fn nothing_but_what_is_allowed_leaves_a_container() {
    need!(Root);
    let mut scene = Scene::start();
    assert!(ATTEMPTS.len() + DATAGRAMS.len() + NAMES.len() >= 25);
    let client = &scene.client;
    let net = ["--network", "net", "--ip"];
    client
        .run(
            &[
                &["run", "-d", "--name", "near"],
                &net[..],
                &["10.77.0.2", "--ip6", "fd77::2", "-p", "8081:80", "busybox", "sleep", "1000"],
            ]
            .concat(),
        )
        .ok();
    let rules = "allow:ok.test:8443,alias.test:8443,rebind.test,two.test,198.51.100.2:7000/udp";
    let more = ["--egress", rules, "--egress", "allow:[2001:db8:5::2]:7000/udp", "--dns", HOST];
    let server = "echo page > /tmp/index.html; exec busybox httpd -f -p 80 -h /tmp";
    client
        .run(
            &[
                &["run", "-d", "--name", "jail", "-p", "8080:80"],
                &net[..],
                &["10.77.0.3"],
                &more,
                &["busybox", "sh", "-c", server],
            ]
            .concat(),
        )
        .ok();
    let (jail, near) = (scene.pid("jail"), scene.pid("near"));
    assert_eq!(
        inspect(client, "jail", "{{index .HostConfig.Annotations \"gantry.egress\"}}"),
        format!("{rules},allow:[2001:db8:5::2]:7000/udp")
    );

    // Whoever has no rules is counted.
    scene.watch(&near);
    let free = "for a in 198.51.100.2 10.77.0.1 127.0.0.1; do busybox ping -c 1 -W 2 $a; done";
    scene.inside(&near, free).ok();
    assert!(scene.counted(&near).iter().all(|packets| *packets > 0));
    scene.watch(&near);
    scene.allowed(&jail, "ok.test");
    scene.allowed(&jail, "alias.test");
    scene.attempt(&jail, &near);

    // What was denied is told, to both clients.
    eventually("denied names and packets are told", PATIENCE, || {
        let now = crate::a_moment_from_now();
        let told =
            client.run(&["events", "--since", "1", "--until", &now, "--filter", "event=deny"]);
        let told = told.ok().stdout;
        [
            "query=evil.test",
            "address=198.51.100.2",
            "port=9443",
            "address=10.77.0.2",
            "protocol=icmp",
        ]
        .iter()
        .all(|word| told.contains(word))
    });

    // Whoever comes is answered: a neighbour, the host, the LAN by a published port.
    let get = |pid: &str, at: &str| {
        scene.inside(pid, &format!("timeout 3 busybox wget -q -O - http://{at}/"))
    };
    get(&near, "10.77.0.3").ok().prints("page\n");
    let fetch = ["3", "busybox", "wget", "-q", "-O", "-"];
    for (host, at) in [(scene.daemon.host(), "127.0.0.1"), (&scene.outside, HOST)] {
        host.run("timeout", &[&fetch[..], &[&format!("http://{at}:8080/")]].concat())
            .ok()
            .prints("page\n");
    }

    // Nobody needs the daemon for that, and whoever flushes the firewall opens nothing for long.
    scene.daemon.kill9();
    scene.daemon.host().run("nft", &["flush", "ruleset"]).ok();
    eventually("the rules are back", PATIENCE, || {
        // nft itself aborts (concat_expr_msort_value) when elements go while it reads them.
        let tables = scene.daemon.host().run("nft", &["list", "tables"]);
        tables.code == 0 && tables.stdout.contains("_egress")
    });
    scene.watch(&near);
    // Learned before the flush, and learned now.
    scene.inside(&jail, "busybox nc -w 2 198.51.100.2 8443 </dev/null").ok().prints("hello\n");
    scene.allowed(&jail, "two.test");
    scene.watch(&near);
    scene.inside(&jail, "busybox nslookup again.evil.test 127.0.0.11").exits(1);
    scene.inside(&jail, "busybox nc -w 1 10.77.0.2 80 </dev/null").exits(1);
    scene.nothing_came(&near);
    scene.daemon.up();
    let client = &scene.client;
    eventually("what was denied meanwhile is told", PATIENCE, || {
        let now = crate::a_moment_from_now();
        let told =
            client.run(&["events", "--since", "1", "--until", &now, "--filter", "event=deny"]);
        told.ok().stdout.contains("query=again.evil.test")
    });
    scene.watch(&near);
    scene.allowed(&jail, "ok.test");
    scene.nothing_came(&near);

    // Datagrams to where they are allowed. At the end: to whoever has answered, errors and answers to echoes may go, too.
    let network = scene.network(&jail);
    for to in [FAR, FAR6] {
        let to: IpAddr = to.parse().unwrap();
        let socket = within(&network, || datagrams(to));
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket.connect((to, 7000)).unwrap();
        // A link's first question for a neighbour may be lost, and is asked again after a second only.
        eventually("it is echoed", PATIENCE, || {
            let mut bytes = [0; 64];
            socket.send(b"x").is_ok()
                && socket.recv(&mut bytes).is_ok_and(|length| bytes[..length] == *b"x")
        });
    }

    // Started again, and on another network too, it is held as before.
    client.run(&["restart", "-t", "0", "jail"]).ok();
    client.run(&["network", "connect", "bridge", "jail"]).ok();
    let jail = scene.pid("jail");
    scene.watch(&near);
    scene.inside(&jail, "busybox nc -w 1 198.51.100.2 8443 </dev/null").exits(1);
    let gateway = "busybox nc -w 1 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') 2222";
    scene.inside(&jail, gateway).exits(1);
    scene.attempt(&jail, &near);
    scene.allowed(&jail, "ok.test");

    // Nobody has rules: there is no table.
    client.run(&["rm", "-f", "jail"]).ok();
    eventually("the rules are gone", PATIENCE, || {
        // nft itself aborts (concat_expr_msort_value) when elements go while it reads them.
        let tables = scene.daemon.host().run("nft", &["list", "tables"]);
        tables.code == 0 && !tables.stdout.contains("_egress")
    });
}

#[test]
fn rules_are_said_by_any_client_and_refused_where_nobody_could_hold_them() {
    need!(Root);
    let scene = Scene::start();
    for (client, carrier) in
        Cli::all().into_iter().map(|cli| scene.daemon.client(cli)).zip(["--label", "--annotation"])
    {
        // On the default network, which has no names otherwise.
        let run = ["run", "-d", "--name", "one", "--dns", HOST, carrier];
        let rest = ["gantry.egress=allow:ok.test", "busybox", "sleep", "1000"];
        client.run(&[&run[..], &rest].concat()).ok();
        client
            .run(&["exec", "one", "cat", "/etc/resolv.conf"])
            .ok()
            .says("nameserver 127.0.0.11\n");
        client.run(&["exec", "one", "nslookup", "-type=a", "ok.test"]).ok().says(FAR);
        client.run(&["exec", "one", "nslookup", "-type=a", "evil.test"]).exits(1).says("REFUSED");
        client.run(&["exec", "one", "nc", "-w", "2", FAR, "9443"]).ok().prints("hello\n");
        client.run(&["exec", "one", "nc", "-w", "1", HOST, "53"]).exits(1);
        client.run(&["rm", "-f", "one"]).ok();
        for (flags, text) in [
            (
                &["--annotation", "gantry.egress=everything"][..],
                "invalid egress rule \"everything\"",
            ),
            (
                &["--annotation", "gantry.egress=none", "--network", "host"],
                "the container's packets are the host's own",
            ),
            (
                &["--label", "gantry.egress=none", "--annotation", "gantry.egress=allow:a"],
                "annotation and label gantry.egress differ",
            ),
        ] {
            client
                .run(&[&["run", "--rm"], flags, &["busybox", "true"]].concat())
                .exits(125)
                .says(text);
        }

        // A network's own rules, beside a container's.
        client.run(&["network", "create", "-o", "gantry.egress=allow:ok.test:8443", "jails"]).ok();
        for name in ["one", "two"] {
            client
                .run(&[
                    "run",
                    "-d",
                    "--name",
                    name,
                    "--dns",
                    HOST,
                    "--network",
                    "jails",
                    "busybox",
                    "sleep",
                    "1000",
                ])
                .ok();
        }
        client.run(&["exec", "one", "ping", "-c", "1", "-W", "2", "two"]).ok();
        client.run(&["exec", "one", "nc", "-w", "2", "ok.test", "8443"]).ok().prints("hello\n");
        client.run(&["exec", "one", "nc", "-w", "1", FAR, "9443"]).exits(1);
        client.run(&["exec", "one", "nslookup", "evil.test"]).exits(1);
        // It can be asked for, whichever client made them.
        let told = scene.client.run(&["network", "explain", "one"]).ok();
        told.says("egress of one on jails")
            .says("the container itself")
            .says("may go to ok.test:8443/tcp by the network's rules")
            .says("everything else is denied: the network's rules do not allow it");
        client.run(&["rm", "-f", "one", "two"]).ok();
        let narrow = ["run", "--rm", "--network", "jails", "--annotation", "gantry.egress=none"];
        let ask = ["busybox", "nc", "-w", "1", "ok.test", "8443"];
        client.run(&[&narrow[..], &ask].concat()).exits(1);
        client
            .run(&["network", "inspect", "-f", "{{json .Options}}", "jails"])
            .ok()
            .says("\"gantry.egress\":\"allow:ok.test:8443\"");
        client.run(&["network", "rm", "jails"]).ok();
        client
            .run(&["network", "create", "-o", "gantry.egress=allow:", "bad"])
            .exits(1)
            .says("invalid egress rule");
        client
            .run(&[
                "network",
                "create",
                "-d",
                "macvlan",
                "-o",
                "parent=wire",
                "-o",
                "gantry.egress=none",
                "bad",
            ])
            .exits(1)
            .says("networks of driver \"macvlan\" cannot hold containers to egress rules");
    }
    let client = &scene.client;
    client
        .run(&["run", "-d", "--name", "one", "--egress", "none", "busybox", "sleep", "1000"])
        .ok();
    let table = ["network", "explain", "--format", "{{.About}}|{{.From}}|{{.Allowed}}", "one"];
    client.run(&table).ok().says("egress of one on bridge|the container itself|no\n");
    // Who shares its network shares its rules, and has none of his own.
    client
        .run(&[
            "run",
            "--rm",
            "--network",
            "container:one",
            "busybox",
            "nc",
            "-w",
            "1",
            FAR,
            "8443",
        ])
        .exits(1);
    client
        .run(&["run", "--rm", "--network", "container:one", "--egress", "none", "busybox", "true"])
        .exits(125)
        .says("set them on the container whose network it is");
    let wire = [
        "network",
        "create",
        "-d",
        "macvlan",
        "-o",
        "parent=wire",
        "--subnet",
        "10.9.9.0/24",
        "mac",
    ];
    client.run(&wire).ok();
    let text = "network mac of driver \"macvlan\" cannot hold a container to its egress rules";
    client.run(&["network", "connect", "mac", "one"]).exits(1).says(text);
    client.run(&["create", "--network", "mac", "--egress", "none", "busybox"]).exits(1).says(text);
    client.run(&["run", "--rm", "--network", "none", "--egress", "none", "busybox", "true"]).ok();
}
