//! Legacy links: one container of the default network knows another there by a further name.

use testkit::daemon::Options;
use testkit::process::{PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, need};

fn linked(client: &Client, name: &str) -> String {
    client.run(&["inspect", "-f", "{{json .HostConfig.Links}}", name]).ok().text().to_owned()
}

/// The address and the names of the line that begins with `alias`.
fn host(client: &Client, of: &str, alias: &str) -> Option<(String, String)> {
    let hosts = client.run(&["exec", of, "cat", "/etc/hosts"]);
    let line = hosts.stdout.lines().find(|line| line.contains(&format!("\t{alias} ")))?;
    line.split_once('\t').map(|(address, names)| (address.to_owned(), names.to_owned()))
}

fn address(client: &Client, name: &str) -> String {
    client.run(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name]).ok().text().to_owned()
}

#[test]
fn a_link_tells_where_another_container_is_and_follows_it() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    let db = ["--name", "db", "-h", "store", "-e", "SECRET=s", "--expose", "80"];
    client.run(&[&["run", "-d"], &db[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let web = ["--name", "web", "--link", "db:my-db", "--link", "db", "-e", "DB_NAME=mine"];
    client.run(&[&["run", "-d"], &web[..], &["busybox", "sleep", "1000"]].concat()).ok();

    let at = address(&client, "db");
    let names = |alias: &str| host(&client, "web", alias).unwrap();
    assert_eq!(names("my-db"), (at.clone(), "my-db store db".to_owned()));
    assert_eq!(names("db"), (at.clone(), "db store".to_owned()));
    let env = client.run(&["exec", "web", "env"]).ok();
    for line in [
        format!("MY_DB_PORT=tcp://{at}:80"),
        format!("MY_DB_PORT_80_TCP_ADDR={at}"),
        "MY_DB_ENV_SECRET=s".into(),
        "MY_DB_NAME=/web/my-db".into(),
        "DB_NAME=mine".into(),
    ] {
        assert!(env.stdout.lines().any(|l| l == line), "{line}\n{env}");
    }
    let first = client.run(&["exec", "web", "cat", "/proc/1/environ"]).ok();
    assert!(first.stdout.contains("MY_DB_PORT_80_TCP_PROTO=tcp"), "{first}");

    // The link is a name, too.
    assert_eq!(linked(&client, "web"), r#"["/db:/web/my-db","/db:/web/db"]"#);
    client.run(&["inspect", "-f", "{{.Name}}", "web/my-db"]).ok().prints("/db\n");
    for client in Cli::all().into_iter().map(|cli| daemon.client(cli)) {
        client.run(&["ps", "--format", "{{.Names}}"]).ok().prints("web\ndb\n");
        let names = client.run(&["ps", "--no-trunc", "--format", "{{.Names}}"]).ok();
        assert_eq!(names.stdout, "web\ndb,web/db,web/my-db\n");
    }

    // It comes back with another address: the line follows it, and nothing else in the file changes.
    client.run(&["exec", "web", "sh", "-c", "echo '10.0.0.1\tmine' >> /etc/hosts"]).ok();
    client.run(&["stop", "-t", "0", "db"]).ok();
    let down = "Cannot link to a non running container: /db AS /web/my-db";
    client.run(&["exec", "web", "true"]).exits(1).says(down);
    client.run(&["run", "-d", "--name", "thief", "busybox", "sleep", "1000"]).ok();
    client.run(&["start", "db"]).ok();
    let moved = address(&client, "db");
    eventually("the link follows", PATIENCE, || {
        host(&client, "web", "my-db").is_some_and(|(address, _)| address == moved)
    });
    client.run(&["exec", "web", "cat", "/etc/hosts"]).ok().says("10.0.0.1\tmine");
    client.run(&["exec", "web", "env"]).ok().says(&format!("MY_DB_PORT=tcp://{moved}:80"));

    // Names change, the daemon dies: the links are the same.
    client.run(&["rename", "db", "base"]).ok();
    client.run(&["rename", "web", "shop"]).ok();
    daemon.kill9();
    daemon.up();
    assert_eq!(linked(&client, "shop"), r#"["/base:/shop/my-db","/base:/shop/db"]"#);
    client.run(&["restart", "-t", "0", "shop"]).ok();
    assert_eq!(host(&client, "shop", "my-db").unwrap().1, "my-db store base");
    client.run(&["stop", "-t", "0", "base"]).ok();
    client
        .run(&["restart", "-t", "0", "shop"])
        .exits(1)
        .says("Cannot link to a non running container: /base AS /shop/my-db");
    client.run(&["start", "base", "shop"]).ok();

    // A link is taken away.
    let conflict = "Conflict, cannot remove the default link name of the container";
    client.run(&["rm", "--link", "shop"]).exits(1).says(conflict);
    client.run(&["rm", "--link", "shop/no"]).exits(1).says("No such container: shop/no");
    client.run(&["rm", "--link", "/shop/db"]).ok();
    assert_eq!(linked(&client, "shop"), r#"["/base:/shop/my-db"]"#);
    assert_eq!(host(&client, "shop", "db"), None);
    assert!(host(&client, "shop", "my-db").is_some());
    client.run(&["inspect", "shop/db"]).exits(1);

    // Whoever was linked to one that is gone does not start, until the link is gone as well.
    client.run(&["rm", "-f", "base"]).ok();
    client.run(&["restart", "-t", "0", "shop"]).exits(1).says(" AS /shop/my-db");
    client.run(&["rm", "--link", "shop/my-db"]).ok();
    client.run(&["start", "shop"]).ok();
    assert_eq!(linked(&client, "shop"), "null");
}

#[test]
fn what_cannot_be_linked_is_said_as_docker_says_it() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let run = |flags: &[&str]| {
        client.run(&[&["run", "-d"], flags, &["busybox", "sleep", "1000"]].concat()).ok()
    };
    client.run(&["network", "create", "net"]).ok();
    run(&["--name", "plain"]);
    run(&["--name", "elsewhere", "--network", "net"]);
    run(&["--name", "on-host", "--network", "host"]);
    run(&["--name", "within", "--network", "container:plain"]);
    client.run(&["create", "--name", "idle", "busybox"]).ok();
    for (flags, text) in [
        (&["--link", "no:x"][..], "could not get container for no: No such container: no"),
        (&["--link", ":x"], "could not get container for : invalid name or ID supplied: \"\""),
        (&["--link", "a:b:c"], "bad format for links: a:b:c"),
        (&["--link", "plain:a b"], "invalid alias"),
        (
            &["--link", "elsewhere:x"],
            "Cannot link to /elsewhere, as it does not belong to the default network",
        ),
        (
            &["--link", "idle:x", "--name", "new"],
            "Cannot link to a non running container: /idle AS /new/x",
        ),
        (
            &["--link", "on-host:x"],
            "conflicting options: host type networking can't be used with links",
        ),
        (
            &["--link", "plain:x", "--network", "host"],
            "conflicting options: host type networking can't be used with links",
        ),
        (
            &["--link", "plain:x", "--network", "container:plain"],
            "conflicting options: container type network can't be used with links",
        ),
    ] {
        client.run(&[&["run", "--rm"], flags, &["busybox", "true"]].concat()).exits(125).says(text);
    }
    // Another's network is meant by the link to whoever shares it; without a network it says nothing.
    let hosts = ["busybox", "cat", "/etc/hosts"];
    let within = client.run(&[&["run", "--rm", "--link", "within:x"], &hosts[..]].concat()).ok();
    assert!(within.stdout.contains(&format!("{}\tx ", address(&client, "plain"))), "{within}");
    let none = ["run", "--rm", "--network", "none", "--link", "plain:x"];
    client.run(&[&none[..], &hosts].concat()).ok().lacks("\tx ");
    // On a network of users it is one more name, for this one container.
    let net = ["run", "--rm", "--network", "net", "--link", "elsewhere:zz", "busybox"];
    client.run(&[&net[..], &["ping", "-c", "1", "-W", "2", "zz"]].concat()).ok();
}

#[test]
fn policies_start_first_whom_others_are_linked_to() {
    need!(Root);
    let flags = vec!["--live-restore=false".into()];
    let mut daemon = Daemon::with(Options { flags, ..Options::default() });
    let client = daemon.gantry();
    let run = ["run", "-d", "--restart", "always", "--stop-timeout", "0"];
    let end = ["busybox", "sleep", "1000"];
    client.run(&[&run[..], &["--name", "z-db"], &end].concat()).ok();
    client.run(&[&run[..], &["--name", "web", "--link", "z-db:db"], &end].concat()).ok();
    daemon.stop();
    daemon.up();
    let client = daemon.gantry();
    eventually("both run", PATIENCE, || {
        client.run(&["ps", "-q", "--filter", "status=running"]).ok().stdout.lines().count() == 2
    });
    assert_eq!(host(&client, "web", "db").unwrap().0, address(&client, "z-db"));
}

/// A question to a container's port and its answer.
fn asks(client: &Client, from: &str, at: &str) -> bool {
    let ask = format!("echo hi | nc -w 1 {at}");
    client.run(&["exec", from, "sh", "-c", &ask]).stdout == "hi\n"
}

#[test]
fn where_neighbours_are_kept_apart_a_link_opens_the_exposed_ports() {
    need!(Root);
    let mut daemon =
        Daemon::with(Options { flags: vec!["--icc=false".into()], ..Options::default() });
    let client = daemon.gantry();
    let serve = "nc -ll -p 80 -e cat & nc -ll -p 81 -e cat & exec sleep 1000";
    let run = |flags: &[&str]| {
        client.run(&[&["run", "-d"], flags, &["busybox", "sh", "-c", serve]].concat()).ok()
    };
    run(&["--name", "db", "--expose", "80"]);
    run(&["--name", "web", "--link", "db", "--expose", "80"]);
    run(&["--name", "other"]);
    let is_open = |client: &Client| {
        eventually("the link is open", PATIENCE, || asks(client, "web", "db 80"));
    };
    let check = |client: &Client| {
        let (db, web, other) =
            (address(client, "db"), address(client, "web"), address(client, "other"));
        for (from, to) in [
            ("web", format!("{db} 81")),
            ("db", format!("{web} 80")),
            ("other", format!("{db} 80")),
            ("other", format!("{web} 80")),
            ("web", format!("{other} 80")),
        ] {
            assert!(!asks(client, from, &to), "{from} to {to}");
        }
        client.run(&["exec", "web", "ping", "-c", "1", "-W", "1", "db"]).exits(1);
    };
    is_open(&client);
    // Each side's next run, and the next daemon's.
    client.run(&["restart", "-t", "0", "db"]).ok();
    is_open(&client);
    client.run(&["restart", "-t", "0", "web"]).ok();
    is_open(&client);
    daemon.kill9();
    daemon.up();
    let client = daemon.gantry();
    is_open(&client);
    check(&client);
    // Not for ever.
    client.run(&["rm", "--link", "web/db"]).ok();
    let db = address(&client, "db");
    assert!(!asks(&client, "web", &format!("{db} 80")));
    client.run(&["exec", "web", "ping", "-c", "1", "-W", "1", "172.17.0.1"]).ok();
}
