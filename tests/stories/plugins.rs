//! Networks and addresses by plugins: a vendor's program beside the daemon that makes links and gives addresses.

use serde_json::json;
use testkit::daemon::Options;
use testkit::plugin::{Manner, make_room};
use testkit::process::{PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, Host, Plugin, need};

/// A daemon that never ran without room for plugins, and a plugin beside it.
fn daemon(options: Options) -> (Daemon, Plugin) {
    let daemon = Daemon::with(options);
    make_room(daemon.host());
    let plugin = Plugin::start(daemon.host(), "vendor");
    (daemon, plugin)
}

fn inspect(client: &Client, name: &str, template: &str) -> String {
    client.run(&["inspect", "-f", template, name]).ok().text().to_owned()
}

fn links(host: &Host) -> String {
    host.run("ip", &["-o", "link"]).ok().stdout
}

fn start(client: &Client, name: &str, network: &str) {
    let run = ["run", "-d", "--name", name, "--network", network, "busybox", "sleep", "1000"];
    client.run(&run).ok();
}

/// Ends the container that was started last, behind the daemon's back.
fn end_the_last(host: &Host) {
    let sleeps = host.processes().into_iter().filter(|(_, _, name)| name == "sleep");
    let (pid, ..) = sleeps.max().unwrap();
    host.run("sh", &["-c", &format!("kill -9 {pid}")]).ok();
}

#[test]
fn a_plugins_network_serves_containers() {
    need!(Root);
    let (daemon, plugin) = daemon(Options::default());
    for client in Cli::all().into_iter().map(|cli| daemon.client(cli)) {
        client
            .run(&["network", "create", "-d", "nosuch", "front"])
            .exits(1)
            .says("plugin \"nosuch\" not found");
        client
            .run(&["network", "create", "-d", "../vendor", "front"])
            .exits(1)
            .says("plugin \"../vendor\" not found");
        let create = ["network", "create", "-d", "vendor", "--subnet", "10.60.0.0/24"];
        client.run(&[&create[..], &["-o", "colour=blue", "--label", "a=b", "front"]].concat()).ok();
        let questions = plugin.questions();
        let (_, asked) =
            questions.iter().find(|(m, _)| m == "NetworkDriver.CreateNetwork").unwrap();
        assert_eq!(asked["Options"]["com.docker.network.generic"], json!({"colour": "blue"}));
        assert_eq!(
            asked["IPv4Data"],
            json!([{"AddressSpace": "LocalDefault", "Pool": "10.60.0.0/24", "Gateway": "10.60.0.1/24"}])
        );
        assert_eq!(inspect(&client, "front", "{{.Driver}} {{.Scope}}"), "vendor local");
        let info = client.run(&["info", "-f", "{{json .Plugins.Network}}"]).ok();
        info.says(r#"["bridge","host","ipvlan","macvlan","null","vendor"]"#);

        // A container has the plugin's link, with its name, address, gateway and routes, and is known by its name.
        client
            .run(&[
                "run",
                "-d",
                "--name",
                "web",
                "--network",
                "front",
                "-p",
                "8080:80",
                "busybox",
                "sleep",
                "1000",
            ])
            .ok();
        let calls = plugin.calls();
        assert_eq!(
            calls,
            ["CreateEndpoint", "Join", "ProgramExternalConnectivity", "EndpointOperInfo"]
                .map(|call| format!("NetworkDriver.{call}"))
        );
        let inside = client.run(&["exec", "web", "ip", "address"]).ok();
        inside.says(": plug0@").says("10.60.0.2/24").says("02:11:22:33:44:");
        client
            .run(&["exec", "web", "ip", "route"])
            .ok()
            .says("default via 10.60.0.1 dev plug0")
            .says("10.99.0.0/16 dev plug0");
        assert_eq!(
            inspect(
                &client,
                "web",
                "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}"
            ),
            "10.60.0.2 10.60.0.1"
        );
        client
            .run(&[
                "run",
                "--rm",
                "--network",
                "front",
                "busybox",
                "ping",
                "-c",
                "1",
                "-W",
                "2",
                "web",
            ])
            .ok()
            .says("10.60.0.2");
        client.run(&["network", "rm", "front"]).exits(1).says("has active endpoints");

        // Another network comes and goes while it runs.
        client.run(&["network", "create", "back"]).ok();
        client.run(&["network", "connect", "back", "web"]).ok();
        client.run(&["network", "disconnect", "front", "web"]).ok();
        client.run(&["exec", "web", "ip", "link", "show", "plug0"]).exits(2);
        client.run(&["network", "connect", "--ip", "10.60.0.50", "front", "web"]).ok();
        client.run(&["exec", "web", "ip", "address", "show", "plug0"]).ok().says("10.60.0.50/24");
        client.run(&["network", "disconnect", "back", "web"]).ok();
        client.run(&["exec", "web", "ip", "route"]).ok().says("default via 10.60.0.1");

        client.run(&["rm", "-f", "web"]).ok();
        eventually("the plugin is told", PATIENCE, || plugin.keeps() == [1, 0, 0, 0]);
        client.run(&["network", "rm", "front", "back"]).ok();
        assert_eq!(plugin.keeps(), [0; 4]);
        assert!(!links(daemon.host()).contains(": p"), "{}", links(daemon.host()));
        plugin.calls();
    }
}

#[test]
fn containers_go_on_when_daemon_and_plugin_die() {
    need!(Root);
    let (mut daemon, plugin) = daemon(Options::default());
    let client = daemon.gantry();
    client.run(&["network", "create", "-d", "vendor", "--subnet", "10.61.0.0/24", "front"]).ok();
    for name in ["stays", "goes"] {
        start(&client, name, "front");
    }
    plugin.calls();
    daemon.kill9();
    plugin.stop();
    // One ends while nobody looks.
    end_the_last(daemon.host());
    daemon.up();
    let client = daemon.gantry();
    assert_eq!(inspect(&client, "stays", "{{.State.Running}}"), "true");
    client.run(&["exec", "stays", "ping", "-c", "1", "-W", "2", "10.61.0.1"]).ok();
    // Others are not kept waiting, and what needs the plugin says so.
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    client
        .run(&["start", "goes"])
        .exits(1)
        .says(
            "failed to create endpoint goes on network front: plugin \"vendor\": Plugin.Activate: ",
        )
        .says("Connection refused");
    assert_eq!(plugin.keeps(), [1, 2, 0, 0]);
    // When it is there again it takes back what it should have.
    plugin.start_again();
    client.run(&["start", "goes"]).ok();
    eventually("the plugin has taken back", PATIENCE, || plugin.keeps() == [1, 2, 0, 0]);
    let calls = plugin.calls();
    assert!(!calls.iter().any(|c| c.ends_with("CreateNetwork")), "{calls:?}");
    client.run(&["exec", "goes", "ping", "-c", "1", "-W", "2", "stays"]).ok();
    client.run(&["rm", "-f", "stays", "goes"]).ok();
    eventually("the plugin is told", PATIENCE, || plugin.keeps() == [1, 0, 0, 0]);
    // A network whose plugin is dead can be removed; the plugin is asked to forget it at the next start.
    plugin.stop();
    client.run(&["network", "rm", "front"]).ok();
    plugin.start_again();
    daemon.restart();
    eventually("the plugin has forgotten it", PATIENCE, || plugin.keeps() == [0; 4]);
}

#[test]
fn a_plugin_gives_addresses() {
    need!(Root);
    let (mut daemon, plugin) = daemon(Options::default());
    for client in Cli::all().into_iter().map(|cli| daemon.client(cli)) {
        client
            .run(&["network", "create", "--ipam-driver", "nosuch", "n"])
            .exits(1)
            .says("plugin \"nosuch\" not found");
        client
            .run(&["network", "create", "--ipam-driver", "null", "n"])
            .exits(1)
            .says("ipv4 pool is empty");
        client
            .run(&["network", "create", "--ipam-driver", "vendor", "--ipam-opt", "o=1", "n"])
            .ok();
        assert_eq!(
            inspect(&client, "n", "{{json .IPAM}}"),
            r#"{"Driver":"vendor","Options":{"o":"1"},"Config":[{"Subnet":"10.77.0.0/24","Gateway":"10.77.0.1"}]}"#
        );
        let questions = plugin.questions();
        let asked = |method: &str| {
            let found = questions.iter().rev().find(|(m, _)| m == method);
            found.map(|(_, question)| question.clone()).unwrap_or_default()
        };
        assert_eq!(
            asked("IpamDriver.RequestPool"),
            json!({"AddressSpace": "here", "Pool": "", "SubPool": "", "Options": {"o": "1"}, "V6": false})
        );
        assert_eq!(
            asked("IpamDriver.RequestAddress"),
            json!({"PoolID": "pool/10.77.0.0/24", "Address": "", "Options": {"RequestAddressType": "com.docker.network.gateway"}})
        );
        start(&client, "web", "n");
        client.run(&["exec", "web", "ip", "address", "show", "eth0"]).ok().says("10.77.0.2/24");
        let questions = plugin.questions();
        let mac = &questions[0].1["Options"]["com.docker.network.endpoint.macaddress"];
        assert_eq!(
            mac.as_str(),
            Some(&*inspect(
                &client,
                "web",
                "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}"
            ))
        );
        client.run(&["rm", "-f", "web"]).ok();
        eventually("the address is free", PATIENCE, || plugin.addresses().len() == 1);
        client.run(&["network", "rm", "n"]).ok();
        eventually("the pool is free", PATIENCE, || plugin.keeps() == [0; 4]);

        // Both by the plugin, with all wishes; and a network whose addresses nobody gives.
        let wishes =
            ["--subnet", "10.78.0.0/24", "--ip-range", "10.78.0.128/25", "--gateway", "10.78.0.9"];
        let create = [
            "network",
            "create",
            "-d",
            "vendor",
            "--ipam-driver",
            "vendor",
            "--aux-address",
            "h=10.78.0.20",
        ];
        client.run(&[&create[..], &wishes[..], &["n"]].concat()).ok();
        let run =
            ["run", "--rm", "--network", "n", "--ip", "10.78.0.44", "busybox", "ip", "address"];
        client.run(&run).ok().says("10.78.0.44/24");
        client.run(&["network", "rm", "n"]).ok();
        eventually("all is free", PATIENCE, || plugin.keeps() == [0; 4]);
        client.run(&["network", "create", "-d", "vendor", "--ipam-driver", "null", "n"]).ok();
        assert_eq!(inspect(&client, "n", "{{json .IPAM.Config}}"), r#"[{"Subnet":"0.0.0.0/0"}]"#);
        client.run(&["run", "--rm", "--network", "n", "busybox", "ip", "link"]).ok().says("plug0");
        client.run(&["network", "rm", "n"]).ok();
        plugin.calls();
    }

    // A plugin that forgot everything is told again when the daemon starts; what nobody has any more is not.
    let client = daemon.gantry();
    client.run(&["network", "create", "--ipam-driver", "vendor", "n"]).ok();
    for name in ["stays", "goes"] {
        start(&client, name, "n");
    }
    let before = plugin.addresses();
    daemon.kill9();
    end_the_last(daemon.host());
    plugin.forget_addresses();
    daemon.up();
    let client = daemon.gantry();
    eventually("it is told of gateway and container", PATIENCE, || {
        plugin.addresses() == before[..2]
    });
    start(&client, "new", "n");
    client.run(&["exec", "new", "ping", "-c", "1", "-W", "2", "stays"]).ok();
    client.run(&["rm", "-f", "stays", "goes", "new"]).ok();

    // What is not taken from it is given back to it.
    plugin.also("IpamDriver.RequestAddress", json!({"Address": "10.99.0.9/24"}));
    client
        .run(&["run", "--rm", "--network", "n", "busybox", "true"])
        .exits(125)
        .says("its answer \"10.99.0.9/24\" is no address of its pool");
    let given_back = |(method, question): &(String, serde_json::Value)| {
        method == "IpamDriver.ReleaseAddress" && question["Address"] == "10.99.0.9"
    };
    assert!(plugin.questions().iter().any(given_back), "{:?}", plugin.questions());
    plugin.also("IpamDriver.RequestAddress", json!({}));
    client.run(&["network", "rm", "n"]).ok();
    plugin.forget_addresses();
    plugin.also("IpamDriver.RequestPool", json!({"Pool": "fd00::/64"}));
    client
        .run(&["network", "create", "--ipam-driver", "vendor", "n"])
        .exits(1)
        .says("its pool fd00::/64 is not of the family that was asked for");
    eventually("all is free", PATIENCE, || plugin.keeps() == [0; 4]);
}

#[test]
fn a_plugin_that_misbehaves_harms_nobody_else() {
    need!(Root);
    let (daemon, plugin) = daemon(Options::default());
    let client = daemon.gantry();
    let host = daemon.host();
    client.run(&["network", "create", "-d", "vendor", "n"]).ok();
    let call = "NetworkDriver.Join";
    let join = |members: serde_json::Value| Manner::Body(members.to_string());
    let named = |name: &str| join(json!({"InterfaceName": {"SrcName": name, "DstPrefix": "eth"}}));
    host.run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "far"]).ok();
    host.run("ip", &["link", "set", "uplink", "up"]).ok();
    host.run("ip", &["addr", "add", "192.0.2.2/24", "dev", "uplink"]).ok();
    host.run("ip", &["route", "add", "default", "via", "192.0.2.1"]).ok();
    let before = links(host);
    for (manner, says) in [
        (Manner::Status(500, r#"{"Err":"out of links"}"#.into()), "out of links"),
        (Manner::Status(500, "<html>".into()), "status 500: <html>"),
        (Manner::Body("{".into()), "its answer cannot be read: "),
        (Manner::Body(r#"{"InterfaceName":7}"#.into()), "its answer cannot be read: "),
        (Manner::Body(r#"{"Err":"no"}"#.into()), "no"),
        (Manner::Endless, "its answer is larger than 1048576 bytes"),
        (Manner::HangUp, "its answer ends in its head"),
        (named("../../etc"), "which is no name of a link"),
        (named("nothere"), "which is not on the host"),
        (named("lo"), "which is the host's loopback"),
        (named("uplink"), "which is the host's way out"),
        (
            join(json!({"InterfaceName": {"SrcName": "x", "DstPrefix": "a/b"}})),
            "is no name of a link",
        ),
        (join(json!({"Gateway": "here"})), "\"here\" is no gateway"),
        (join(json!({"StaticRoutes": [{"Destination": "x"}]})), "it gave a route to \"x\""),
    ] {
        plugin.answers(call, manner.clone());
        let failed = client.run(&["run", "--rm", "--network", "n", "busybox", "true"]).exits(125);
        failed.says(says).says("on network n: ").lacks("panicked");
        eventually("it is asked to take back", PATIENCE, || plugin.keeps() == [1, 0, 0, 0]);
    }
    plugin.answers(
        "NetworkDriver.CreateEndpoint",
        Manner::Body(r#"{"Interface":{"Address":"10.1.1.1/8"}}"#.into()),
    );
    client
        .run(&["run", "--rm", "--network", "n", "busybox", "true"])
        .exits(125)
        .says("driver modified interface address: endpoint interface IP present (");
    plugin.answers("NetworkDriver.CreateEndpoint", Manner::Well);

    // One that says nothing is waited for only by who asked it, and not for long.
    plugin.answers(call, Manner::Silent);
    let began = std::time::Instant::now();
    let waiting = client.start(&["run", "--rm", "--network", "n", "busybox", "true"]);
    eventually("it is asked", PATIENCE, || plugin.calls().iter().any(|c| c == call));
    client.run(&["network", "create", "other"]).ok();
    client.run(&["run", "--rm", "--network", "other", "busybox", "true"]).ok();
    client.run(&["network", "rm", "other"]).ok();
    client.run(&["info"]).ok();
    assert!(began.elapsed().as_secs() < 25, "others were kept waiting");
    let failed = waiting.end(std::time::Duration::from_secs(60));
    failed.exits(125).says("plugin \"vendor\": NetworkDriver.Join: no answer within 30 seconds");
    plugin.answers(call, Manner::Well);
    client.run(&["run", "--rm", "--network", "n", "busybox", "true"]).ok();
    eventually("all was taken back", PATIENCE, || plugin.keeps() == [1, 0, 0, 0]);
    client.run(&["network", "rm", "n"]).ok();
    // All but the network's own bridge.
    let left = links(host).lines().count();
    assert_eq!(left + 1, before.lines().count(), "{}", links(host));
}
