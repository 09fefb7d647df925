//! Networks of users: made, joined, left and removed, also while containers run and across the daemon's death.

use testkit::daemon::Options;
use testkit::process::{Output, PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, Host, need};

/// What a container of the default network reads of its resolver and of hosts, the one that it calls `gate` among them.
fn resolver_and_hosts(client: &Client) -> Output {
    let gate = ["--add-host", "gate:host-gateway"];
    let read = ["busybox", "cat", "/etc/resolv.conf", "/etc/hosts"];
    client.run(&[&["run", "--rm"], &gate[..], &read].concat()).ok()
}

fn inspect(client: &Client, name: &str, template: &str) -> String {
    client.run(&["inspect", "-f", template, name]).ok().text().to_owned()
}

fn default_route(client: &Client, name: &str) -> String {
    let routes = client.run(&["exec", name, "ip", "route"]).ok();
    let default = routes.stdout.lines().find(|line| line.starts_with("default"));
    default.unwrap_or_default().trim().to_owned()
}

#[test]
fn networks_are_made_joined_left_and_removed() {
    need!(Root);
    let daemon = Daemon::start();
    for client in Cli::all().into_iter().map(|cli| daemon.client(cli)) {
        client.run(&["network", "create", "--subnet", "10.50.0.0/24", "front"]).ok();
        client.run(&["network", "create", "--internal", "back"]).ok();
        client
            .run(&["network", "create", "front"])
            .exits(1)
            .says("network with name front already exists");
        client
            .run(&["network", "create", "--subnet", "10.50.0.128/25", "third"])
            .exits(1)
            .says("Pool overlaps with other one on this address space");

        let run = ["run", "-d", "--name", "web", "--network", "front", "--ip", "10.50.0.9"];
        let more = ["--network-alias", "www", "-h", "shop", "busybox", "sleep", "1000"];
        client.run(&[&run[..], &more[..]].concat()).ok();
        let settings = inspect(&client, "web", "{{json .NetworkSettings.Networks}}");
        assert!(settings.contains(r#""IPAddress":"10.50.0.9""#), "{settings}");
        assert!(settings.contains(r#""Aliases":["www""#), "{settings}");
        client.run(&["exec", "web", "cat", "/etc/hosts"]).ok().says("10.50.0.9\tshop");
        client
            .run(&["run", "--rm", "--network", "front", "--ip", "10.50.0.9", "busybox", "true"])
            .exits(125)
            .says("Address already in use");

        // Another network of a running container: an internal one does not lead outside, the default one does.
        client.run(&["network", "connect", "back", "web"]).ok();
        assert_eq!(default_route(&client, "web"), "default via 10.50.0.1 dev eth0");
        client.run(&["network", "connect", "bridge", "web"]).ok();
        assert!(default_route(&client, "web").ends_with("dev eth2"));
        client
            .run(&["network", "rm", "back"])
            .exits(1)
            .says("error while removing network: network back id ")
            .says(" has active endpoints");
        client.run(&["network", "disconnect", "bridge", "web"]).ok();
        assert_eq!(default_route(&client, "web"), "default via 10.50.0.1 dev eth0");
        client.run(&["exec", "web", "ip", "link", "show", "eth2"]).exits(2);

        // Taken from all of them it has none, until it is started again.
        client.run(&["network", "disconnect", "front", "web"]).ok();
        client.run(&["network", "disconnect", "back", "web"]).ok();
        assert_eq!(inspect(&client, "web", "{{json .NetworkSettings.Networks}}"), "{}");
        assert_eq!(default_route(&client, "web"), "");
        client.run(&["restart", "-t", "0", "web"]).ok();
        assert!(
            inspect(&client, "web", "{{json .NetworkSettings.Networks}}").contains("\"front\"")
        );

        client.run(&["rm", "-f", "web"]).ok();
        client.run(&["network", "rm", "front"]).ok().prints("front\n");
        client.run(&["network", "prune", "-f"]).ok().says("back");
        client.run(&["network", "rm", "front"]).exits(1).says("network front not found");
        let left = client.run(&["network", "ls", "--format", "{{.Name}}"]).ok();
        assert_eq!(left.stdout, "bridge\nhost\nnone\n");
    }
}

#[test]
fn what_networks_cannot_do_is_said_as_docker_says_it() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["network", "create", "net"]).ok();
    for (name, network) in [("plain", "net"), ("on-host", "host"), ("alone", "none")] {
        client
            .run(&["run", "-d", "--name", name, "--network", network, "busybox", "sleep", "1000"])
            .ok();
    }
    let shares = "container sharing network namespace with another container or host cannot be connected to any other \
                  network";
    let of_host = "container cannot be disconnected from host network or connected to host network";
    let private = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
    for (args, text) in [
        (
            &["connect", "net", "plain"][..],
            "endpoint with name plain already exists in network net",
        ),
        (&["connect", "host", "plain"], of_host),
        (&["connect", "none", "plain"], private),
        (&["connect", "net", "alone"], private),
        (&["connect", "net", "on-host"], shares),
        (&["disconnect", "host", "on-host"], of_host),
        (&["disconnect", "bridge", "plain"], "is not connected to network bridge"),
        (&["connect", "nope", "plain"], "network nope not found"),
        (&["connect", "net", "nope"], "No such container: nope"),
        (
            &["connect", "--alias", "x", "bridge", "plain"],
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        (
            &["connect", "--ip", "10.0.0.9", "bridge", "plain"],
            "user specified IP address is supported on user defined networks only",
        ),
        (&["rm", "bridge"], "bridge is a pre-defined network and cannot be removed"),
        (&["create", "host"], "operation is not permitted on predefined host network"),
        (&["create", "-d", "nonsense", "x"], "plugin \"nonsense\" not found"),
        (&["create", "-d", "host", "x"], "only one instance of \"host\" network is allowed"),
        (
            &["create", "--config-from", "nope", "x"],
            "configuration network \"nope\" does not exist",
        ),
    ] {
        client.run(&[&["network"], args].concat()).exits(1).says(text);
    }
    for (flags, text) in [
        (
            &["--network", "net", "--ip", "10.9.8.7"][..],
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        ),
        (&["--network", "nope"], "network nope not found"),
    ] {
        let args = [&["run", "--rm"], flags, &["busybox", "true"]].concat();
        client.run(&args).exits(125).says(text);
    }
    // A refused connection leaves everything as it was.
    client.run(&["exec", "plain", "ip", "link", "show", "eth1"]).exits(2);
    assert!(!inspect(&client, "plain", "{{json .NetworkSettings.Networks}}").contains("bridge"));
}

#[test]
fn networks_and_who_is_on_them_outlive_the_daemon() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["network", "create", "one"]).ok();
    client.run(&["network", "create", "two"]).ok();
    client
        .run(&["run", "-d", "--name", "web", "--network", "one", "busybox", "sleep", "1000"])
        .ok();
    client.run(&["network", "connect", "two", "web"]).ok();
    let networks = "{{json .NetworkSettings.Networks}}";
    let before = inspect(&client, "web", networks);
    daemon.kill9();
    daemon.up();
    assert_eq!(inspect(&client, "web", networks), before);
    client.run(&["network", "rm", "two"]).exits(1).says("has active endpoints");
    client.run(&["network", "disconnect", "one", "web"]).ok();
    assert!(default_route(&client, "web").ends_with("dev eth1"));
    // Its neighbour comes to the same bridge and reaches it.
    let address =
        inspect(&client, "web", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let ping =
        ["run", "--rm", "--network", "two", "busybox", "ping", "-c", "1", "-W", "2", &address];
    client.run(&ping).ok();
    client.run(&["rm", "-f", "web"]).ok();
    for network in ["one", "two"] {
        eventually("the network is free", PATIENCE, || {
            client.run(&["network", "rm", network]).code == 0
        });
    }
    let links = daemon.host().run("ip", &["-o", "link"]).ok();
    assert!(!links.stdout.contains("br-"), "{links}");
}

/// A resolver of the field's asks, over both transports and with what resolvers put into their questions today.
#[test]
fn dig_is_answered_over_udp_and_tcp() {
    need!(Root, Program("dig", "bind9-dnsutils"));
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let subnets = ["--ipv6", "--subnet", "10.40.0.0/24", "--subnet", "fd40::/64"];
    client.run(&[&["network", "create"], &subnets[..], &["front"]].concat()).ok();
    let run = |name: &str, more: &[&str]| {
        let (first, end) = (["run", "-d", "--network", "front", "--name", name], ["sleep", "1000"]);
        client.run(&[&first[..], more, &["busybox"], &end].concat()).ok();
    };
    run("asker", &[]);
    run("one", &["--network-alias", "all", "--ip", "10.40.0.10", "--ip6", "fd40::10"]);
    run("two", &["--network-alias", "all", "--ip", "10.40.0.11", "--ip6", "fd40::11"]);
    let pid = inspect(&client, "asker", "{{.State.Pid}}");
    let dig = |question: &[&str]| {
        let fixed = ["-t", &pid, "-n", "dig", "@127.0.0.11", "+time=30", "+tries=1"];
        daemon.host().run("nsenter", &[&fixed[..], question].concat()).ok()
    };
    for transport in ["+notcp", "+tcp"] {
        let short = |question: &[&str]| {
            let answer = dig(&[question, &["+short", transport]].concat());
            let mut lines: Vec<String> = answer.text().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(short(&["one"]), ["10.40.0.10"]);
        assert_eq!(short(&["one", "AAAA"]), ["fd40::10"]);
        assert_eq!(short(&["all"]), ["10.40.0.10", "10.40.0.11"]);
        assert_eq!(short(&["-x", "10.40.0.11"]), ["two.front."]);
        assert_eq!(short(&["-x", "fd40::11"]), ["two.front."]);
        // There is such a name, and nothing of that kind.
        dig(&["one", "MX", transport]).says("status: NOERROR").says("ANSWER: 0");
        dig(&["one", "+bufsize=512", "+dnssec", transport])
            .says("status: NOERROR")
            .says("10.40.0.10");
        // Two questions on one connection, and a cookie that nobody asked for.
        dig(&["one", "two", "+cookie", "+keepopen", transport])
            .says("10.40.0.10")
            .says("10.40.0.11");
    }
}

#[test]
fn containers_know_each_other_by_name_also_while_the_daemon_is_dead() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    for network in ["front", "back"] {
        client.run(&["network", "create", network]).ok();
    }
    let run = |name: &str, more: &[&str]| {
        let end = ["busybox", "sleep", "1000"];
        client.run(&[&["run", "-d", "--name", name][..], more, &end].concat()).ok();
    };
    run("web", &["--network", "front", "--dns-search", "lan", "--dns-opt", "timeout:1"]);
    run("db", &["--network", "front", "--network-alias", "data", "-h", "store"]);
    client.run(&["network", "connect", "back", "db"]).ok();
    run("other", &["--network", "back"]);
    let file = client.run(&["exec", "web", "cat", "/etc/resolv.conf"]).ok();
    file.says("nameserver 127.0.0.11\nsearch lan\noptions timeout:1 ndots:0\n")
        .says("# Overrides: [search options]\n");

    let address = |name: &str| {
        let of = "{{with index .NetworkSettings.Networks \"front\"}}{{.IPAddress}}{{end}}";
        inspect(&client, name, of)
    };
    let db = address("db");
    let short = inspect(&client, "db", "{{.Id}}")[..12].to_owned();
    let ask = |from: &str, name: &str| client.run(&["exec", from, "nslookup", name, "127.0.0.11"]);
    for name in ["db", "data", "store", "DB", "db.front", &short] {
        ask("web", name).ok().says(&format!("Address: {db}\n"));
    }
    ask("web", &db).ok().says("db.front");
    ask("web", "host.docker.internal").ok();
    // Whom it shares no network with it does not know.
    ask("web", "other").exits(1);
    ask("db", "other").ok();

    // A new name counts at once, and the old one no more; a container that comes later to the network is known, too.
    client.run(&["rename", "db", "store2"]).ok();
    ask("web", "store2").ok();
    ask("web", "db").exits(1);
    run("late", &[]);
    client.run(&["exec", "late", "nslookup", "web"]).exits(1);
    client.run(&["network", "connect", "front", "late"]).ok();
    client.run(&["exec", "late", "nslookup", "web"]).ok();
    client.run(&["network", "disconnect", "front", "late"]).ok();
    ask("web", "late").exits(1);

    // Nobody needs the daemon for that.
    let pid = inspect(&client, "web", "{{.State.Pid}}");
    daemon.kill9();
    let in_web = ["-t", &pid, "-n", "busybox", "nslookup", "store2", "127.0.0.11"];
    let answer = daemon.host().run("nsenter", &in_web).ok();
    answer.says(&format!("Address: {db}\n"));
    daemon.up();
    ask("web", "store2").ok().says(&format!("Address: {db}\n"));
    run("again", &["--network", "front"]);
    ask("web", "again").ok();

    let names = client.run(&["ps", "-aq"]).ok();
    let all: Vec<&str> = names.stdout.lines().collect();
    client.run(&[&["rm", "-f"], &all[..]].concat()).ok();
    client.run(&["network", "prune", "-f"]).ok();
    // The helper is there for these networks alone.
    eventually("the helper has ended", PATIENCE, || {
        daemon
            .host()
            .processes()
            .iter()
            .all(|(_, state, name)| !name.starts_with("gantry-netd") || *state == 'Z')
    });
}

/// What a server at an address says its name is, asked from the host.
fn fetch(host: &Host, at: &str) -> testkit::process::Output {
    let page = format!("http://{at}/hostname");
    host.run("timeout", &["3", "busybox", "wget", "-q", "-O", "-", &page])
}

/// A server in a container's network that answers datagrams with what they say and who said it.
const ECHO: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 53))
while True:
    said, who = s.recvfrom(99)
    s.sendto(said + b' from ' + who[0].encode(), who)
";

/// Says a word to a port over UDP from the host; the answer counts that comes from the address that was asked.
const SAY: &str = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b'hello')
print(s.recv(99).decode())
";

#[test]
fn published_ports_lead_to_their_container_also_while_the_daemon_is_dead() {
    need!(Root, Program("python3", "python3"));
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["network", "create", "front"]).ok();
    for address in ["198.51.100.1/24", "2001:db8::1/64"] {
        daemon.host().run("ip", &["addr", "add", address, "dev", "lo"]).ok();
    }
    let serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];
    let ports = ["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "5353:53/udp", "--expose", "99"];
    let web = ["run", "-d", "--name", "web", "-h", "web", "--network", "front"];
    client.run(&[&web[..], &ports, &serve].concat()).ok();
    let shown = client.run(&["port", "web"]).ok();
    shown
        .says("80/tcp -> 0.0.0.0:8080\n")
        .says("80/tcp -> [::]:8080\n")
        .says("80/tcp -> 127.0.0.1:8081\n")
        .says("53/udp -> 0.0.0.0:5353\n")
        .says("53/udp -> [::]:5353\n");
    let listed = inspect(&client, "web", "{{json .NetworkSettings.Ports}}");
    assert!(listed.contains(r#""99/tcp":null"#), "{listed}");
    for (filter, found) in [("publish=8080", true), ("publish=80", false), ("expose=80", true)] {
        let found_now = !client.run(&["ps", "-q", "--filter", filter]).ok().text().is_empty();
        assert_eq!(found_now, found, "{filter}");
    }

    let host = daemon.host();
    let get = |at: &str| fetch(host, at);
    eventually("it serves", PATIENCE, || get("127.0.0.1:8080").code == 0);
    let reached = [
        "127.0.0.1:8080",
        "127.0.0.1:8081",
        "198.51.100.1:8080",
        "[::1]:8080",
        "[2001:db8::1]:8080",
    ];
    for at in reached {
        get(at).ok().prints("web\n");
    }
    assert_ne!(get("198.51.100.1:8081").code, 0, "published on loopback alone");
    // Over UDP the same, to a container that has no IPv6.
    let mut echo = host.command("nsenter");
    let pid = inspect(&client, "web", "{{.State.Pid}}");
    echo.args(["-t", &pid, "-n", "python3", "-c", ECHO]);
    let echo = testkit::process::Running::start(echo, None);
    let say = |host: &Host, at: &str| host.run("python3", &["-c", SAY, at, "5353"]);
    eventually("it answers", PATIENCE, || say(host, "198.51.100.1").code == 0);
    let gateway = inspect(&client, "web", "{{.NetworkSettings.Networks.front.Gateway}}");
    for at in ["127.0.0.1", "::1", "2001:db8::1"] {
        say(host, at).ok().prints(&format!("hello from {gateway}\n"));
    }
    say(host, "198.51.100.1").ok().prints("hello from 198.51.100.1\n");
    // From another network, and from itself, by the host's address.
    for from in [&["run", "--rm", "busybox"][..], &["exec", "web"]] {
        let wget = ["wget", "-q", "-O", "-", "http://198.51.100.1:8080/hostname"];
        client.run(&[from, &wget[..]].concat()).ok().prints("web\n");
    }

    // What is taken is taken, and says by whom.
    client
        .run(&["run", "-d", "--name", "second", "-p", "8080:80", "busybox", "true"])
        .exits(125)
        .says("driver failed programming external connectivity on endpoint second (")
        .says("Bind for 0.0.0.0:8080 failed: port is already allocated");
    let mut listener = host.command("busybox");
    listener.args(["nc", "-l", "-p", "8090"]);
    let listener = testkit::process::Running::start(listener, None);
    eventually("it listens", PATIENCE, || {
        host.run("busybox", &["netstat", "-ltn"]).stdout.contains(":8090 ")
    });
    client
        .run(&["run", "--rm", "-p", "8090:80", "busybox", "true"])
        .exits(125)
        .says("address already in use");
    drop(listener);
    // Any port will do, and of a range the next one.
    for name in ["r1", "r2"] {
        client
            .run(&["run", "-d", "--name", name, "-p", "9000-9001:80", "busybox", "sleep", "1000"])
            .ok();
    }
    client.run(&["port", "r2", "80"]).ok().says("0.0.0.0:9001\n");
    client.run(&["run", "--rm", "-p", "9000-9001:80", "busybox", "true"]).exits(125);

    // Another way out takes the ports along.
    client.run(&["network", "create", "a-first"]).ok();
    client.run(&["network", "connect", "a-first", "web"]).ok();
    get("127.0.0.1:8080").ok().prints("web\n");
    client.run(&["network", "disconnect", "a-first", "web"]).ok();

    daemon.kill9();
    let host = daemon.host();
    let get = |at: &str| fetch(host, at);
    for at in reached {
        get(at).ok().prints("web\n");
    }
    say(host, "::1").ok().prints(&format!("hello from {gateway}\n"));
    daemon.up();
    say(daemon.host(), "::1").ok().prints(&format!("hello from {gateway}\n"));
    // It would keep the network alive.
    drop(echo);
    for at in reached {
        fetch(daemon.host(), at).ok().prints("web\n");
    }
    // Ended, it is not reached, and its port is free.
    client.run(&["rm", "-f", "web", "r1", "r2"]).ok();
    client.run(&["run", "--rm", "-p", "8080:80", "-p", "9000-9001:80-81", "busybox", "true"]).ok();
}

#[test]
fn the_daemons_options_about_networks_are_obeyed() {
    need!(Root);
    let flags = [
        "--bip=10.88.0.1/24",
        "--fixed-cidr=10.88.0.128/25",
        "--mtu=1400",
        "--icc=false",
        "--dns=10.0.0.53",
        "--dns-search=corp",
        "--dns-opt=timeout:2",
        "--ip=127.0.0.1",
        "--default-network-opt=bridge=com.docker.network.driver.mtu=1300",
        "--default-address-pool=base=10.200.0.0/16,size=24",
        "--host-gateway-ip=10.1.2.3",
    ];
    let daemon =
        Daemon::with(Options { flags: flags.map(str::to_owned).to_vec(), ..Options::default() });
    let client = daemon.gantry();
    resolver_and_hosts(&client)
        .says("nameserver 10.0.0.53\nsearch corp\noptions timeout:2\n")
        .says("10.1.2.3\tgate\n")
        .says("10.88.0.128\t");
    for name in ["one", "two"] {
        let port = if name == "one" { "8080:80" } else { "8081:80" };
        client.run(&["run", "-d", "--name", name, "-p", port, "busybox", "sleep", "1000"]).ok();
    }
    client.run(&["port", "one"]).ok().prints("80/tcp -> 127.0.0.1:8080\n");
    client.run(&["exec", "one", "cat", "/sys/class/net/eth0/mtu"]).ok().prints("1400\n");
    let two = inspect(&client, "two", "{{.NetworkSettings.IPAddress}}");
    client.run(&["exec", "one", "ping", "-c", "1", "-W", "1", &two]).exits(1);
    client.run(&["exec", "one", "ping", "-c", "1", "-W", "1", "10.88.0.1"]).ok();
    client.run(&["network", "create", "own"]).ok();
    let of =
        "{{(index .IPAM.Config 0).Subnet}} {{index .Options \"com.docker.network.driver.mtu\"}}";
    client.run(&["network", "inspect", "-f", of, "own"]).ok().prints("10.200.0.0/24 1300\n");
}

/// What only the file has, or has in a form of its own; and the helper, which outlives the daemon, asks whom the new one was
/// told of.
#[test]
fn the_configuration_file_says_the_same_of_networks_and_more() {
    need!(Root);
    let mut daemon = Daemon::start();
    daemon.gantry().run(&["network", "create", "own"]).ok();
    let lookup = ["run", "--rm", "--network", "own", "busybox", "nslookup", "far.example."];
    daemon.gantry().run(&lookup);
    daemon.stop();
    let servers = daemon.path("servers");
    std::fs::write(&servers, "nameserver 127.0.0.1\nsearch far\n").unwrap();
    let said = serde_json::json!({
        "resolv-conf": servers,
        "host-gateway-ips": ["10.1.2.3", "fd00::3"],
        "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}],
        "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1300"}},
    });
    std::fs::write(daemon.config_file(), said.to_string()).unwrap();
    daemon.up();
    let client = daemon.gantry();
    resolver_and_hosts(&client)
        .says("search far\n")
        .says(&format!("# Based on host file: '{}' (legacy)\n", servers.display()))
        .says("10.1.2.3\tgate\nfd00::3\tgate\n");
    client.run(&["network", "create", "new"]).ok();
    let of =
        "{{(index .IPAM.Config 0).Subnet}} {{index .Options \"com.docker.network.driver.mtu\"}}";
    client.run(&["network", "inspect", "-f", of, "new"]).ok().prints("10.200.0.0/24 1300\n");
    let network = daemon.host().network();
    let (bound, ready) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        network.enter();
        let socket = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        bound.send(()).unwrap();
        let mut query = [0; 512];
        let length = socket.recv(&mut query).expect("a query comes to the file's server");
        query[..length].windows(11).any(|bytes| bytes == b"far\x07example")
    });
    ready.recv().unwrap();
    client.run(&lookup);
    assert!(server.join().unwrap());
}

#[test]
fn without_a_default_network_containers_have_none() {
    need!(Root);
    let flags = vec!["--bridge=none".to_owned()];
    let daemon = Daemon::with(Options { flags, ..Options::default() });
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "ls", "/sys/class/net"]).ok().prints("lo\n");
    client.run(&["network", "ls", "--format", "{{.Name}}"]).ok().prints("host\nnone\n");
    client.run(&["network", "create", "own"]).ok();
    client
        .run(&["run", "--rm", "--network", "own", "busybox", "ls", "/sys/class/net"])
        .ok()
        .says("eth0");
}

#[test]
fn addresses_are_as_asked() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let subnets = ["--ipv6", "--subnet", "10.60.0.0/24", "--subnet", "fd00:60::/64"];
    client.run(&[&["network", "create"], &subnets[..], &["both"]].concat()).ok();
    client.run(&["network", "create", "--ipv4=false", "--ipv6", "six"]).ok();
    let asked = [
        "--network",
        "both",
        "--ip6",
        "fd00:60::99",
        "--mac-address",
        "02:42:ac:99:00:09",
        "--link-local-ip",
        "169.254.7.7",
        "-P",
        "--expose",
        "80",
    ];
    let end = ["busybox", "sleep", "1000"];
    client.run(&[&["run", "-d", "--name", "asked"], &asked[..], &end].concat()).ok();
    client
        .run(&["exec", "asked", "ip", "addr", "show", "eth0"])
        .ok()
        .says("02:42:ac:99:00:09")
        .says("inet 10.60.0.2/24")
        .says("inet 169.254.7.7/")
        .says("inet6 fd00:60::99/64");
    client
        .run(&["exec", "asked", "ip", "-6", "route"])
        .ok()
        .says("default via fd00:60::1 dev eth0");
    let port = client.run(&["port", "asked", "80"]).ok();
    let (v4, v6) = (port.stdout.lines().next(), port.stdout.lines().nth(1));
    let number = |line: Option<&str>| line.and_then(|l| l.rsplit(':').next().map(str::to_owned));
    assert!(
        number(v4).is_some_and(|n| n.parse::<u16>().is_ok()) && number(v4) == number(v6),
        "{port}"
    );
    // One family alone, and neighbours that find each other in it.
    for name in ["s1", "s2"] {
        client
            .run(&["run", "-d", "--name", name, "--network", "six", "busybox", "sleep", "1000"])
            .ok();
    }
    client.run(&["exec", "s1", "ip", "-4", "-o", "addr", "show", "eth0"]).ok().prints("");
    client.run(&["exec", "s1", "ping", "-6", "-c", "1", "-W", "3", "s2"]).ok();
}
