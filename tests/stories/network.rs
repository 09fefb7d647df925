//! The default bridge, none and host.

use testkit::process::{PATIENCE, eventually};
use testkit::{Client, Daemon, Host, need};

fn address(client: &Client, name: &str) -> String {
    client.run(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name]).ok().text().to_owned()
}

#[test]
fn containers_reach_each_other_the_gateway_and_the_host() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let page = "mkdir /www; echo page of $(hostname) >/www/index.html; httpd -f -p 80 -h /www";
    for name in ["aa", "bb"] {
        client.run(&["run", "-d", "--name", name, "-h", name, "busybox", "sh", "-c", page]).ok();
    }
    let (a, b) = (address(&client, "aa"), address(&client, "bb"));
    assert_ne!(a, b);
    let get = |from: &str, to: &str| {
        client.run(&["exec", from, "wget", "-q", "-O", "-", &format!("http://{to}/")])
    };
    eventually("a serves", PATIENCE, || get("bb", &a).code == 0);
    get("bb", &a).ok().prints("page of aa\n");
    eventually("b serves", PATIENCE, || get("aa", &b).code == 0);
    get("aa", &b).ok().prints("page of bb\n");
    let gateway = client.run(&["inspect", "-f", "{{.NetworkSettings.Gateway}}", "aa"]).ok();
    client.run(&["exec", "aa", "ping", "-c", "1", "-W", "2", gateway.text()]).ok();
    // From the host into the container, by its address.
    daemon
        .host()
        .run("busybox", &["wget", "-q", "-O", "-", &format!("http://{a}/")])
        .ok()
        .prints("page of aa\n");
    // An address is given back, and not at once to someone else: nobody talks to a stranger by mistake.
    client.run(&["rm", "-f", "aa"]).ok();
    client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
    assert_ne!(address(&client, "cc"), b);
}

#[test]
fn containers_reach_the_outside_by_the_hosts_address() {
    need!(Root);
    let daemon = Daemon::start();
    let outside = Host::start();
    let first = outside.first().to_string();
    let inside = |args: &[&str]| daemon.host().run("ip", args).ok();
    // The daemon's host and a neighbour of it, on a wire.
    testkit::process::must(
        "nsenter",
        &[
            "--target",
            &daemon.host().first().to_string(),
            "--net",
            "--",
            "ip",
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            &first,
        ],
    );
    inside(&["addr", "add", "198.51.100.1/24", "dev", "wire"]);
    inside(&["link", "set", "wire", "up"]);
    outside.run("ip", &["addr", "add", "198.51.100.2/24", "dev", "wire"]).ok();
    outside.run("ip", &["link", "set", "wire", "up"]).ok();
    let mut server = outside.command("busybox");
    server.args(["nc", "-l", "-p", "7000", "-e", "sh", "-c", "read line; echo answer"]);
    let server = testkit::process::Running::start(server, None);
    let client = daemon.gantry();
    let ask = "echo question | nc -w 5 198.51.100.2 7000";
    let script = format!(
        "i=0; until {ask} | grep answer; do i=$((i+1)); [ $i -lt 50 ] || exit 1; sleep 0.1; done"
    );
    client.run(&["run", "--rm", "busybox", "sh", "-c", &script]).ok().says("answer");
    drop(server);
    // The neighbour has no route to the container: only masquerading can have brought the answer back.
    let routes = outside.run("ip", &["route"]).ok();
    assert!(!routes.stdout.contains("172."), "{routes}");
    client.run(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", ask]).lacks("answer");
}

#[test]
fn none_and_host_are_what_they_say() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client
        .run(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"])
        .ok()
        .prints("lo\n");
    client.run(&["run", "--rm", "--network", "none", "busybox", "ip", "route"]).ok().prints("");
    let own = daemon.host().run("readlink", &["/proc/self/ns/net"]).ok();
    let host = client
        .run(&["run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"])
        .ok();
    assert_eq!(own.text(), host.text());
    let bridge = client.run(&["run", "--rm", "busybox", "readlink", "/proc/self/ns/net"]).ok();
    assert_ne!(own.text(), bridge.text());
}
