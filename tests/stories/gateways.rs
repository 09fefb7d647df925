//! Who reaches a network's containers, which rule says so, and what that changes on the host.

use testkit::process::{Output, PATIENCE, eventually};
use testkit::{Client, Daemon, Host, need};

const MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";

/// Another host, which has a route to all of the host's networks; the process whose network it is.
fn neighbour(host: &Host) -> String {
    let script = "unshare --net sleep 1000 >/dev/null 2>&1 & it=$!; own=$(readlink /proc/self/ns/net); \
                  until [ \"$(readlink /proc/$it/ns/net)\" != \"$own\" ]; do :; done; echo $it";
    let it = host.run("sh", &["-c", script]).ok().text().to_owned();
    for line in [
        &format!("ip link add wan type veth peer name eth0 netns {it}"),
        "ip addr add 198.51.100.1/24 dev wan",
        "ip link set wan up",
        &format!("nsenter -t {it} -n ip addr add 198.51.100.2/24 dev eth0"),
        &format!("nsenter -t {it} -n ip link set eth0 up"),
        &format!("nsenter -t {it} -n ip route add default via 198.51.100.1"),
    ] {
        host.run("sh", &["-c", line]).ok();
    }
    it
}

/// What the other host gets there.
fn fetch(host: &Host, neighbour: &str, at: &str) -> Output {
    let page = format!("http://{at}/hostname");
    let wget = ["timeout", "2", "busybox", "wget", "-q", "-O", "-", &page];
    host.run("nsenter", &[&["-t", neighbour, "-n", "--"][..], &wget].concat())
}

fn decisions(client: &Client, asked: &str) -> String {
    let format = "{{.About}}|{{.From}}|{{.Allowed}}";
    client.run(&["network", "explain", "--format", format, asked]).ok().stdout
}

#[test]
fn a_networks_gateway_mode_decides_who_gets_in_and_the_rule_can_be_asked_for() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    let other = neighbour(daemon.host());
    let off = "echo 0 > /proc/sys/net/ipv4/ip_forward";
    daemon.host().run("sh", &["-c", off]).ok();
    let forwarding = || daemon.host().run("cat", &["/proc/sys/net/ipv4/ip_forward"]).ok().stdout;
    assert_eq!(forwarding(), "0\n");
    let host = daemon.host();
    let others = need::find("iptables").is_some();
    if others {
        // As ufw and Docker have it.
        host.run("iptables", &["-P", "FORWARD", "DROP"]).ok();
    }
    let serve = "httpd -p 80 -h /etc; httpd -f -p 81 -h /etc";
    for (mode, subnet, flags) in [
        ("nat", "10.61.0.0/24", &[][..]),
        ("nat-unprotected", "10.62.0.0/24", &[]),
        ("routed", "10.63.0.0/24", &[]),
        ("isolated", "10.64.0.0/24", &["--internal"]),
    ] {
        let option = format!("{MODE}={mode}");
        let create = ["network", "create", "--subnet", subnet, "-o", &option];
        client.run(&[&create[..], flags, &[mode]].concat()).ok();
        let publish: &[&str] = if mode == "nat" { &["-p", "8001:80"] } else { &["-p", "80"] };
        let run = ["run", "-d", "--name", mode, "-h", mode, "--network", mode];
        client.run(&[&run[..], publish, &["busybox", "sh", "-c", serve]].concat()).ok();
    }
    client.run(&["network", "create", "--internal", "--subnet", "10.65.0.0/24", "inner"]).ok();
    let inner = ["run", "-d", "--name", "inner", "-h", "inner", "--network", "inner"];
    client.run(&[&inner[..], &["-p", "8002:80", "busybox", "sh", "-c", serve]].concat()).ok();

    let get = |at: &str| fetch(daemon.host(), &other, at);
    for at in ["198.51.100.1:8001", "10.62.0.2:80", "10.62.0.2:81", "10.63.0.2:80"] {
        eventually("it serves", PATIENCE, || get(at).code == 0);
    }
    for (at, reached) in [
        ("10.61.0.2:80", false),
        ("10.62.0.2:80", true),
        ("10.63.0.2:80", true),
        ("10.63.0.2:81", false),
        ("10.64.0.2:80", false),
        ("10.65.0.2:80", false),
        ("198.51.100.1:8002", false),
    ] {
        assert_eq!(get(at).code == 0, reached, "{at}");
    }
    // Nothing leaves an internal network either; the host is no gateway of an isolated one.
    for name in ["inner", "isolated"] {
        client.run(&["exec", name, "ip", "route"]).ok().lacks("default");
        client.run(&["exec", name, "ping", "-c", "1", "-W", "1", "198.51.100.2"]).exits(1);
    }
    client.run(&["exec", "isolated", "ping", "-c", "1", "-W", "1", "10.64.0.1"]).exits(1);
    client.run(&["exec", "inner", "ping", "-c", "1", "-W", "1", "10.65.0.1"]).ok();

    // All of this can be asked for.
    let port = decisions(&client, "8001");
    for line in [
        "port 8001/tcp|the host|yes\n",
        "port 8001/tcp|other hosts|yes\n",
        "port 8001/tcp|other containers|yes\n",
        "port 8001/tcp|other containers|no\n",
    ] {
        assert!(port.contains(line), "{line}{port}");
    }
    let table = client.run(&["network", "explain", "8001/tcp"]).ok();
    table
        .says("WHAT")
        .says(", chain ports, map any4")
        .says("leads to 10.61.0.2:80")
        .says("set internal");
    assert_eq!(decisions(&client, "9999/udp"), "port 9999/udp|everybody|no\n");
    for (name, reached) in [("nat", "no"), ("nat-unprotected", "yes"), ("routed", "yes")] {
        let told = decisions(&client, name);
        assert!(told.contains(&format!("on {name}|other hosts|{reached}\n")), "{told}");
        assert!(told.contains(&format!("on {name}|the host|yes\n")), "{told}");
    }
    let inner = client.run(&["network", "explain", "--format", "json", "inner"]).ok();
    assert!(inner.stdout.contains(r#""Allowed":"no","From":"other hosts""#), "{inner}");
    client.run(&["network", "explain", "nope"]).exits(1).says("No such container: nope");
    client.run(&["network", "explain", "1/icmp"]).exits(1).says("invalid proto: icmp");

    // How full it is is told to whoever asks for more.
    let status = ["network", "inspect", "--verbose", "-f", "{{json .Status}}", "nat"];
    let full = r#"{"IPAM":{"Subnets":{"10.61.0.0/24":{"IPsInUse":4,"DynamicIPsAvailable":252}}}}"#;
    client.run(&status).ok().prints(&format!("{full}\n"));
    assert!(!client.run(&["network", "inspect", "nat"]).ok().stdout.contains("IPsInUse"));

    // What only the host's owner can change is told with the commands that do.
    if need::find("iptables-legacy").is_some()
        && host.run("iptables-legacy", &["-P", "FORWARD", "DROP"]).code == 0
    {
        assert_ne!(get("198.51.100.1:8001").code, 0);
        let info = client.run(&["info"]).ok().says("WARNING: rules of iptables-legacy are loaded");
        let all = format!("{}{}", info.stdout, info.stderr);
        let (_, commands) = all.split_once("To let them through: ").unwrap();
        let line = commands.lines().next().unwrap();
        line.split("; ").for_each(|command| drop(host.run("sh", &["-c", command]).ok()));
        get("198.51.100.1:8001").ok().prints("nat\n");
    }

    // What was changed of the host's own is listed, and undone.
    let info = client.run(&["info"]).ok();
    let info = info.says("Host Changes").says("sysctl net.ipv4.ip_forward=1 (was 0)");
    if others {
        info.says("chain FORWARD of table ip filter: a jump to chain GANTRY");
        host.run("iptables", &["-S", "FORWARD"]).ok().says("-j GANTRY");
    }
    assert_eq!(forwarding(), "1\n");
    client.run(&["rm", "-f", "nat", "nat-unprotected", "routed", "isolated", "inner"]).ok();
    daemon.stop();
    let mut cleanup = daemon.host().command(testkit::program("gantryd"));
    cleanup
        .arg("--data-root")
        .arg(daemon.data_root())
        .arg("--exec-root")
        .arg(daemon.exec_root())
        .arg("--config-file")
        .arg(daemon.config_file())
        .arg("--cleanup");
    testkit::process::run(cleanup).ok();
    let host = daemon.host();
    assert_eq!(host.run("cat", &["/proc/sys/net/ipv4/ip_forward"]).ok().stdout, "0\n");
    host.run("ip", &["link"]).ok().lacks("br-");
    if others {
        host.run("iptables", &["-S", "FORWARD"]).ok().says("-P FORWARD DROP").lacks("GANTRY");
    }
    daemon.up();
    daemon.gantry().run(&["network", "rm", "nat", "nat-unprotected", "routed"]).ok();
}

#[test]
fn an_endpoint_has_settings_a_name_and_a_priority_of_its_own() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["network", "create", "a-net"]).ok();
    client.run(&["network", "create", "b-net"]).ok();
    let sysctls = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1";
    let first = format!(
        "name=a-net,\"driver-opt={sysctls},net.ipv4.conf.IFNAME.forwarding=0\",\
         driver-opt=com.docker.network.endpoint.ifname=lan0"
    );
    let run = ["run", "-d", "--name", "it", "--network", &first];
    let second = ["--network", "name=b-net,gw-priority=1", "busybox", "sleep", "1000"];
    client.run(&[&run[..], &second].concat()).ok();
    let read = |of: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{of}/log_martians");
        client.run(&["exec", "it", "cat", &path]).ok().stdout
    };
    assert_eq!((read("lan0").as_str(), read("eth0").as_str()), ("1\n", "0\n"));
    client
        .run(&["exec", "it", "cat", "/proc/sys/net/ipv4/conf/lan0/forwarding"])
        .ok()
        .prints("0\n");
    client.run(&["exec", "it", "ip", "route"]).ok().says("default via 172.19.0.1 dev eth0");
    for bad in ["net.ipv4.conf.all.forwarding=1", "kernel.hostname=x"] {
        let option = format!("name=a-net,driver-opt=com.docker.network.endpoint.sysctls={bad}");
        client
            .run(&["run", "--rm", "--network", &option, "busybox", "true"])
            .exits(125)
            .says("unrecognised network interface sysctl");
    }
    client.run(&["rm", "-f", "it"]).ok();
}
