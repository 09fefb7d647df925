//! Who on the networks around the host reaches which port, and as whom: other hosts with a real client.

use std::net::IpAddr;
use std::time::{Duration, Instant};
use testkit::daemon::Options;
use testkit::process::{Output, PATIENCE, Running, eventually, must};
use testkit::{Client, Daemon, Host, need};

/// Serves who asked, on every address and on the ports that follow.
const SERVE: &str = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/who; \
                     chmod +x /www/cgi-bin/who; for p in $PORTS; do httpd -p $p -h /www; done; exec sleep 1000";

/// A host beside the daemon's, on a wire of its own, that sends everything it does not know there: it has a route to every
/// container.
struct Neighbour(Host);

impl Neighbour {
    /// On link `name`, in 198.51.`net`.0/24 and 2001:db8:`net`::/64 as the second; the daemon's host is the first.
    fn beside(host: &Host, name: &str, net: u8) -> Self {
        let own = Host::start();
        let (there, here) = (own.first().to_string(), host.first().to_string());
        let link = ["ip", "link", "add", name, "type", "veth", "peer", "name", "wire", "netns"];
        must("nsenter", &[&["--target", &here, "--net", "--"], &link[..], &[&there]].concat());
        for (host, link, last) in [(host, name, "1"), (&own, "wire", "2")] {
            let (v4, v6) =
                (format!("198.51.{net}.{last}/24"), format!("2001:db8:{net}::{last}/64"));
            host.run("ip", &["addr", "add", &v4, "dev", link]).ok();
            host.run("ip", &["addr", "add", &v6, "dev", link, "nodad"]).ok();
            host.run("ip", &["link", "set", link, "up"]).ok();
        }
        let (v4, v6) = (format!("198.51.{net}.1"), format!("2001:db8:{net}::1"));
        own.run("ip", &["route", "add", "default", "via", &v4]).ok();
        own.run("ip", &["-6", "route", "add", "default", "via", &v6]).ok();
        Self(own)
    }

    /// As whom the server at an address knows it; `None` when it is not reached.
    fn seen_by(&self, at: &str) -> Option<String> {
        seen_from(&self.0, at)
    }

    /// The same, where it shall be reached: in IPv6, links that have just come up lose the first question for a neighbour.
    #[track_caller]
    fn is_seen_by(&self, at: &str) -> String {
        let patience = Instant::now() + PATIENCE;
        loop {
            match self.seen_by(at) {
                Some(seen) => return seen,
                None if Instant::now() < patience => {}
                None => panic!("{at} is not reached"),
            }
        }
    }
}

fn who(answer: &Output) -> Option<String> {
    let said = answer.text().trim_matches(['[', ']']).parse::<IpAddr>();
    said.ok().filter(|_| answer.code == 0).map(|address| address.to_canonical().to_string())
}

/// The same, asked by a host itself. What is dropped on the way is given up soon.
fn seen_from(host: &Host, at: &str) -> Option<String> {
    let page = format!("http://{at}/cgi-bin/who");
    who(&host.run("curl", &["-sg", "--connect-timeout", "0.7", "-m", "3", &page]))
}

/// The same, asked in a container.
fn seen_in(client: &Client, name: &str, at: &str) -> Option<String> {
    let page = format!("http://{at}/cgi-bin/who");
    who(&client.run(&["exec", name, "timeout", "2", "wget", "-q", "-O", "-", &page]))
}

/// A network of both families, `dual`.
fn make_dual(client: &Client) {
    let subnets = ["--ipv6", "--subnet", "10.30.0.0/24", "--subnet", "fd30::/64"];
    client.run(&[&["network", "create"], &subnets[..], &["dual"]].concat()).ok();
}

fn serve(client: &Client, name: &str, more: &[&str]) {
    let first = ["run", "-d", "--name", name, "-e", "PORTS=80 81"];
    client.run(&[&first[..], more, &["busybox", "sh", "-c", SERVE]].concat()).ok();
    let ready = ["exec", name, "wget", "-q", "-O", "-", "http://127.0.0.1:81/cgi-bin/who"];
    eventually("it serves", PATIENCE, || client.run(&ready).code == 0);
}

#[test]
fn hosts_around_reach_what_was_published_for_them_and_nothing_else() {
    need!(Root, Program("curl", "curl"), Program("nft", "nftables"));
    let daemon = Daemon::start();
    let (client, host) = (daemon.gantry(), daemon.host());
    let near = Neighbour::beside(host, "near", 1);
    let far = Neighbour::beside(host, "far", 2);
    let third = Neighbour::beside(host, "third", 3);
    make_dual(&client);
    let ports = ["8080:80", "127.0.0.1:8081:80", "[::1]:8082:80", "198.51.1.1:8083:80"];
    let ports = ports.iter().chain(["[2001:db8:1::1]:8084:80"].iter()).flat_map(|p| ["-p", *p]);
    let web: Vec<&str> = ["--network", "dual"].into_iter().chain(ports).collect();
    serve(&client, "web", &web);
    client
        .run(&["run", "-d", "--name", "friend", "--network", "dual", "busybox", "sleep", "1000"])
        .ok();
    client.run(&["run", "-d", "--name", "stranger", "busybox", "sleep", "1000"]).ok();

    // Everybody reaches what is published on all addresses, and is known by its own.
    for (neighbour, net) in [(&near, 1), (&far, 2), (&third, 3)] {
        for (own, at) in [
            (format!("198.51.{net}.2"), format!("198.51.{net}.1:8080")),
            (format!("2001:db8:{net}::2"), format!("[2001:db8:{net}::1]:8080")),
        ] {
            assert_eq!(neighbour.is_seen_by(&at), own, "{at}");
        }
        // The host's own alone, and the containers' own: no.
        for at in [
            format!("198.51.{net}.1:8081"),
            format!("[2001:db8:{net}::1]:8082"),
            format!("198.51.{net}.1:80"),
            "10.30.0.2:80".to_owned(),
            "[fd30::2]:80".to_owned(),
            "10.30.0.2:8080".to_owned(),
        ] {
            assert_eq!(neighbour.seen_by(&at), None, "{at}");
        }
    }
    // On one address of the host: by that one, from wherever it is reached.
    assert_eq!(far.is_seen_by("198.51.1.1:8083"), "198.51.2.2");
    assert_eq!(far.seen_by("198.51.2.1:8083"), None);
    assert_eq!(far.is_seen_by("[2001:db8:1::1]:8084"), "2001:db8:2::2");
    assert_eq!(far.seen_by("[2001:db8:2::1]:8084"), None);
    // The host itself, containers of the same network and of another, the container by the host's own address.
    for at in ["127.0.0.1:8081", "[::1]:8082", "127.0.0.1:8080", "[::1]:8080", "198.51.3.1:8080"] {
        assert!(seen_from(host, at).is_some(), "{at}");
    }
    for from in ["friend", "stranger", "web"] {
        assert!(seen_in(&client, from, "198.51.3.1:8080").is_some(), "{from}");
    }
    assert!(seen_in(&client, "friend", "[2001:db8:3::1]:8080").is_some());
    assert_eq!(seen_in(&client, "stranger", "10.30.0.2:80"), None);
    // A network without IPv6 has none, not even of the link.
    let six = client.run(&["exec", "stranger", "ip", "-6", "-o", "addr", "show", "eth0"]);
    six.ok().prints("");

    // Somebody flushes all rules, or takes the bridge away.
    let reached = || near.seen_by("198.51.1.1:8080").is_some();
    let exposed = || near.seen_by("10.30.0.2:80").is_some();
    let flushed = Instant::now();
    host.run("nft", &["flush", "ruleset"]).ok();
    eventually("the rules are back", PATIENCE, || reached() && !exposed());
    assert!(flushed.elapsed() < Duration::from_secs(5), "{:?}", flushed.elapsed());
    let of = "{{index .Options \"com.docker.network.bridge.name\"}}{{slice .Id 0 12}}";
    let named = client.run(&["network", "inspect", "-f", of, "dual"]).ok();
    let bridge = format!("br-{}", &named.text()[named.text().len() - 12..]);
    host.run("ip", &["link", "del", &bridge]).ok();
    eventually("the bridge is back", PATIENCE, || {
        reached() && seen_in(&client, "friend", "10.30.0.2:80").is_some()
    });
    assert!(!exposed());

    // No address is left: said as Docker says it.
    client.run(&["network", "create", "--subnet", "10.31.0.0/30", "tiny"]).ok();
    let tiny = ["--network", "tiny", "busybox"];
    client.run(&[&["run", "-d", "--name", "only"], &tiny[..], &["sleep", "1000"]].concat()).ok();
    client
        .run(&[&["run", "--rm"], &tiny[..], &["true"]].concat())
        .exits(125)
        .says("no available IPv4 addresses on this network's address pools: tiny (");
}

/// Answers every question with the address that it came from.
const NAMES: &str = r#"
import socket, threading
def serve(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, 53))
    while True:
        question, asker = s.recvfrom(512)
        end = question.index(0, 12) + 5
        text = asker[0].encode()
        record = b"\xc0\x0c\0\x10\0\x01\0\0\0\0" + (len(text) + 1).to_bytes(2, "big") + bytes([len(text)]) + text
        s.sendto(question[:2] + b"\x84\0\0\x01\0\x01\0\0\0\0" + question[12:end] + record, asker)
threading.Thread(target=serve, args=(socket.AF_INET6, "::")).start()
serve(socket.AF_INET, "0.0.0.0")
"#;

#[test]
fn datagrams_of_other_hosts_keep_their_addresses() {
    need!(Root, Program("dig", "bind9-dnsutils"), Program("python3", "python3"));
    let daemon = Daemon::start();
    let (client, host) = (daemon.gantry(), daemon.host());
    let near = Neighbour::beside(host, "near", 1);
    make_dual(&client);
    let names = ["run", "-d", "--name", "names", "--network", "dual", "-p", "5300:53/udp"];
    client.run(&[&names[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let pid = client.run(&["inspect", "-f", "{{.State.Pid}}", "names"]).ok();
    // In the container's network; it ends with the container's host.
    let mut server = host.command("nsenter");
    server.args(["-t", pid.text(), "-n", "python3", "-c", NAMES]);
    let _server = Running::start(server, None);
    let ask = |from: &Host, at: &str| {
        let server = format!("@{at}");
        let question = [&server, "-p", "5300", "+time=1", "+tries=5", "+short", "who", "TXT"];
        from.run("dig", &question).text().trim_matches('"').to_owned()
    };
    eventually("it answers", PATIENCE, || ask(&near.0, "198.51.1.1") == "198.51.1.2");
    eventually("it answers on IPv6", PATIENCE, || ask(&near.0, "2001:db8:1::1") == "2001:db8:1::2");
    // The host itself keeps its address, too, but for that which is everybody's own.
    assert_eq!(ask(host, "198.51.1.1"), "198.51.1.1");
    assert_eq!(ask(host, "127.0.0.1"), "10.30.0.1");
    // Unpublished, the port is closed.
    client.run(&["rm", "-f", "names"]).ok();
    assert!(ask(&near.0, "198.51.1.1").contains("no servers could be reached"));
}

#[test]
fn modes_of_the_gateway_are_as_they_are_asked() {
    need!(Root, Program("curl", "curl"));
    let daemon = Daemon::start();
    let (client, host) = (daemon.gantry(), daemon.host());
    let near = Neighbour::beside(host, "near", 1);
    for (number, mode) in ["nat", "nat-unprotected", "routed"].iter().enumerate() {
        let (v4, v6) = (format!("10.4{number}.0.0/24"), format!("fd4{number}::/64"));
        let modes =
            ["4", "6"].map(|f| format!("com.docker.network.bridge.gateway_mode_ipv{f}={mode}"));
        let create = ["network", "create", "--ipv6", "--subnet", &v4, "--subnet", &v6];
        client.run(&[&create[..], &["-o", &modes[0], "-o", &modes[1], mode]].concat()).ok();
        serve(&client, &format!("on-{mode}"), &["--network", mode, "-p", "80"]);
        for (port, open) in [("80", *mode != "nat"), ("81", *mode == "nat-unprotected")] {
            for at in [format!("10.4{number}.0.2:{port}"), format!("[fd4{number}::2]:{port}")] {
                match open {
                    true => assert!(near.is_seen_by(&at).ends_with('2'), "{mode}: {at}"),
                    false => assert_eq!(near.seen_by(&at), None, "{mode}: {at}"),
                }
            }
        }
        // By the host's address where it is translated at all.
        let shown = client.run(&["port", &format!("on-{mode}"), "80"]).ok();
        let port =
            shown.stdout.lines().next().and_then(|line| line.rsplit(':').next()).unwrap_or("");
        let translated = near.seen_by(&format!("198.51.1.1:{port}"));
        assert_eq!(translated.is_some(), *mode != "routed", "{mode}: {shown}");
    }
    let mode = "com.docker.network.bridge.gateway_mode_ipv4=isolated";
    let create = ["network", "create", "--subnet", "10.49.0.0/24", "-o", mode];
    client
        .run(&[&create[..], &["outside"]].concat())
        .exits(1)
        .says("gateway mode 'isolated' can only be used for an internal network");
    client.run(&[&create[..], &["--internal", "alone"]].concat()).ok();
    serve(&client, "inside", &["--network", "alone"]);
    assert_eq!(near.seen_by("10.49.0.2:80"), None);
    assert_eq!(seen_from(host, "10.49.0.2:80"), None, "not even the host");
    host.run("ip", &["-o", "-4", "addr"]).ok().lacks("10.49.0.1");
    client.run(&["exec", "inside", "ip", "route"]).ok().lacks("default");
}

#[test]
fn the_hosts_own_rules_decide_about_published_ports_where_the_daemon_is_told_so() {
    need!(Root, Program("curl", "curl"), Program("nft", "nftables"));
    let flags = vec!["--publish-policy=host".to_owned()];
    let mut daemon = Daemon::with(Options { flags, ..Options::default() });
    let client = daemon.gantry();
    let near = Neighbour::beside(daemon.host(), "near", 1);
    serve(&client, "web", &["-p", "8080:80"]);
    let rules = "table inet closed { chain input { type filter hook input priority 0; policy drop;\n\
                 ct state established,related accept\niif lo accept\nmeta l4proto ipv6-icmp accept\n } \n}";
    let file = daemon.path("closed.nft");
    std::fs::write(&file, rules).unwrap();
    let file = file.display().to_string();
    let at = ["198.51.1.1:8080", "[2001:db8:1::1]:8080"];
    assert_eq!(near.seen_by(at[0]).as_deref(), Some("198.51.1.2"));
    // A container without IPv6 is served by the helper.
    near.is_seen_by(at[1]);
    daemon.host().run("nft", &["-f", &file]).ok();
    assert_eq!(at.map(|at| near.seen_by(at)), [None, None]);
    assert!(seen_from(daemon.host(), "127.0.0.1:8080").is_some());
    assert!(seen_in(&client, "web", "198.51.1.1:8080").is_some());
    let allow = "add rule inet closed input iifname near tcp dport 8080 accept";
    daemon.host().run("nft", &allow.split(' ').collect::<Vec<_>>()).ok();
    assert_eq!(near.seen_by(at[0]).as_deref(), Some("198.51.1.2"));
    // Nobody needs the daemon for that.
    daemon.kill9();
    assert_eq!(near.seen_by(at[0]).as_deref(), Some("198.51.1.2"));
    daemon.host().run("nft", &["flush", "chain", "inet", "closed", "input"]).ok();
    assert_eq!(near.seen_by(at[0]), None);
    daemon.up();
    assert_eq!(near.seen_by(at[0]), None);
    daemon.host().run("nft", &["delete", "table", "inet", "closed"]).ok();
    assert_eq!(near.seen_by(at[0]).as_deref(), Some("198.51.1.2"));
}

#[test]
fn the_default_bridges_ipv6_marks_and_direct_routes_are_as_the_daemon_is_told() {
    need!(Root, Program("curl", "curl"), Program("nft", "nftables"));
    let flags = [
        "--ipv6",
        "--bip=10.77.0.1/24",
        "--bip6=fd77::1/64",
        "--fixed-cidr-v6=fd77::100/120",
        "--ip-masq=false",
        "--allow-direct-routing",
        "--bridge-accept-fwmark=0x10/0xf0",
        "--network-control-plane-mtu=1400",
        "--userland-proxy=false",
        "--ip-forward-no-drop",
        "--firewall-backend=nftables",
    ];
    let flags = flags.map(str::to_owned).to_vec();
    let daemon = Daemon::with(Options { flags, ..Options::default() });
    let (client, host) = (daemon.gantry(), daemon.host());
    let near = Neighbour::beside(host, "near", 1);
    serve(&client, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:81"]);
    let six = client.run(&["exec", "web", "ip", "-6", "-o", "addr", "show", "eth0"]).ok();
    six.says("inet6 fd77::100/64");
    client.run(&["exec", "web", "ip", "-6", "route"]).ok().says("default via fd77::1 dev eth0");
    host.run("ip", &["-6", "-o", "addr"]).ok().says("fd77::1/64");
    host.run("nft", &["list", "ruleset"]).ok().lacks("did not forward");
    // Directly, what is published for others; with the mark, everything.
    assert_eq!(near.is_seen_by("10.77.0.2:80"), "198.51.1.2");
    assert_eq!(near.is_seen_by("[fd77::100]:80"), "2001:db8:1::2");
    assert_eq!(near.seen_by("10.77.0.2:81"), None);
    let rules = "table inet marks { chain prerouting { type filter hook prerouting priority -200;\n\
                 tcp dport 81 meta mark set 0x1f\n } \n}";
    let file = daemon.path("marks.nft");
    std::fs::write(&file, rules).unwrap();
    host.run("nft", &["-f", &file.display().to_string()]).ok();
    assert_eq!(near.seen_by("10.77.0.2:81").as_deref(), Some("198.51.1.2"));
    // Nothing is masqueraded: outside a container has its own address.
    for line in [
        "add table inet count",
        "add chain inet count out { type filter hook postrouting priority 300 ; }",
        "add rule inet count out oifname near ip saddr 10.77.0.2 tcp dport 7000 counter",
    ] {
        host.run("nft", &line.split(' ').collect::<Vec<_>>()).ok();
    }
    let mut server = near.0.command("busybox");
    server.args(["httpd", "-f", "-p", "7000", "-h", "/proc/self"]);
    let server = Running::start(server, None);
    let page = "http://198.51.1.2:7000/status";
    let ask = ["exec", "web", "timeout", "3", "wget", "-q", "-O", "/dev/null", page];
    eventually("it answers", PATIENCE, || client.run(&ask).code == 0);
    host.run("nft", &["list", "table", "inet", "count"]).ok().lacks("counter packets 0 ");
    drop(server);
}

#[test]
fn rules_and_forwarding_are_left_alone_where_the_daemon_is_told_so() {
    need!(Root, Program("nft", "nftables"));
    let flags = [
        "--bridge=theirs",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--default-gateway=10.66.0.254",
    ];
    let flags = flags.map(str::to_owned).to_vec();
    let daemon = Daemon::with(Options { flags, ..Options::default() });
    let (client, host) = (daemon.gantry(), daemon.host());
    let see = ["run", "--rm", "busybox", "ip", "route"];
    client
        .run(&see)
        .exits(125)
        .says("bridge device with non default name theirs must be created manually");
    for args in [
        &["link", "add", "theirs", "type", "bridge"][..],
        &["addr", "add", "10.66.0.1/24", "dev", "theirs"],
        &["link", "set", "theirs", "up"],
    ] {
        host.run("ip", args).ok();
    }
    let forwards = host.run("cat", &["/proc/sys/net/ipv4/ip_forward"]).ok();
    client
        .run(&see)
        .ok()
        .says("default via 10.66.0.254 dev eth0")
        .says("10.66.0.0/24 dev eth0 scope link  src 10.66.0.2");
    let of = "{{json .IPAM.Config}}";
    client
        .run(&["network", "inspect", "-f", of, "bridge"])
        .ok()
        .says(r#""Subnet":"10.66.0.0/24""#)
        .says(r#""Gateway":"10.66.0.1""#)
        .says(r#""DefaultGatewayIPv4":"10.66.0.254""#);
    host.run("nft", &["list", "ruleset"]).ok().prints("");
    host.run("cat", &["/proc/sys/net/ipv4/ip_forward"]).ok().prints(&forwards.stdout);
    client
        .run(&["run", "--rm", "-p", "8080:80", "busybox", "true"])
        .exits(125)
        .says("the daemon's option iptables is false");
    client
        .run(&["run", "--rm", "--network", "host", "busybox", "ip", "-o", "link"])
        .ok()
        .says("theirs");
}
