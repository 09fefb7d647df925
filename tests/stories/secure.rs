//! Attacks by images, containers and flags, through the real clients (security design, 1.1 and 1.2). `docs/security.tsv`
//! says which test stands for which class.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;
use testkit::http::request;
use testkit::process::{PATIENCE, eventually};
use testkit::{Client, Daemon, Leaks, Options, images, need};

/// Loads an image like busybox with a changed tree and this configuration.
fn load(daemon: &Daemon, name: &str, config: &Value, change: impl FnOnce(&PathBuf)) {
    let client = daemon.gantry();
    let (tree, layer) = (daemon.path("tree"), daemon.path("layer.tar"));
    fs::create_dir(&tree).unwrap();
    client.run(&["create", "--name", "source", "busybox"]).ok();
    client.shell(&format!("docker export source | tar -x -C {}", tree.display())).ok();
    client.run(&["rm", "source"]).ok();
    change(&tree);
    images::tar(&tree, &layer);
    images::wrap(&layer, name, config, &daemon.path("image.tar"));
    daemon.load(&daemon.path("image.tar"));
    fs::remove_dir_all(&tree).unwrap();
}

fn see(client: &Client, flags: &[&str], image: &str, script: &str) -> testkit::Output {
    client.run(&[&["run", "--rm"], flags, &[image, "sh", "-c", script]].concat())
}

/// CVE-2022-4318 and its kin: no value has lines of its own in the files that are written for a container.
#[test]
fn no_value_brings_lines_of_its_own() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let script = "cat /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/resolv.conf";
    for flags in [
        &["-e", "HOME=x\nevil:x:0:0"][..],
        &["-u", "0\nevil:x:0:0"],
        &["-u", "evil\n:0"],
        &["--hostname", "h\nevil:x:0:0"],
        &["--domainname", "d\nevil:x:0:0"],
        &["--add-host", "name:127.0.0.1\nevil:x:0:0"],
        &["--add-host", "na\nevil:127.0.0.1"],
        &["--dns", "127.0.0.1\nevil"],
        &["--dns-search", "a\nevil"],
        &["--dns-option", "a\nevil"],
        &["--label", "a=b\nevil"],
        &["-w", "/tmp/a\nevil"],
    ] {
        let output = see(&client, flags, "busybox", script);
        let lines = output.stdout.lines().filter(|l| l.starts_with("evil")).count();
        assert_eq!(lines, 0, "{flags:?}: {output}");
    }
    client.run(&["ps", "-aq"]).ok().prints("");
}

/// CVE-2024-5154 and its kin: the places where files are mounted are links in the image, to the host's.
#[test]
fn links_in_place_of_mounted_files_stay_inside() {
    need!(Root);
    let daemon = Daemon::start();
    let canary = daemon.path("canary");
    fs::create_dir(&canary).unwrap();
    for name in ["hosts", "hostname", "resolv.conf", "mtab"] {
        fs::write(canary.join(name), "of the host").unwrap();
    }
    let up = PathBuf::from("../../../../../..").join(canary.strip_prefix("/").unwrap());
    load(&daemon, "links", &json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]}), |tree| {
        for (name, target) in
            [("hosts", &canary), ("hostname", &up), ("resolv.conf", &canary), ("mtab", &canary)]
        {
            let path = tree.join("etc").join(name);
            if path.symlink_metadata().is_ok() {
                fs::remove_file(&path).unwrap();
            }
            symlink(target.join(name), path).unwrap();
        }
    });
    let client = daemon.gantry();
    let script = "echo own >>/etc/hosts; cat /etc/hosts /etc/hostname";
    see(&client, &["--hostname", "boxed"], "links", script).ok().says("boxed").says("own");
    // While it does not run the same files are reached by copying.
    client.run(&["create", "--name", "cc", "links"]).ok();
    client.run(&["cp", "cc:/etc/hosts", "-"]).lacks("of the host");
    client.run(&["cp", "-L", "cc:/etc/mtab", "-"]).lacks("of the host");
    for name in ["hosts", "hostname", "resolv.conf", "mtab"] {
        assert_eq!(fs::read_to_string(canary.join(name)).unwrap(), "of the host", "{name}");
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 4);
}

/// CVE-2023-25809 and CVE-2022-0492: nothing of the cgroup hierarchies can be written to, by no detour.
#[test]
fn cgroups_cannot_be_written_to() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/x 2>/dev/null && echo made $d; \
                  for f in release_agent notify_on_release cgroup.procs; do test -e $d/$f && (echo 1 >$d/$f) 2>/dev/null \
                  && echo wrote $d/$f; done; done; \
                  mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted; \
                  for c in memory rdma pids cpu; do mkdir -p /tmp/$c; mount -t cgroup -o $c none /tmp/$c 2>/dev/null && echo \
                  mounted; unshare -UrmC mount -t cgroup -o $c none /tmp/$c 2>/dev/null && echo mounted $c; done; \
                  mount -t cgroup2 none /tmp 2>/dev/null && echo mounted; echo over";
    see(&client, &[], "busybox", script).ok().prints("over\n");
    // Who runs as another user has no more.
    see(&client, &["-u", "1000"], "busybox", script).ok().prints("over\n");
}

/// CVE-2026-53488, CVE-2026-57231 and the class "image content is data": labels and variables of an image steer nothing,
/// and nothing is filled in from the daemon's surroundings.
#[test]
fn an_images_configuration_is_data() {
    need!(Root);
    let env = ["SECRETX", "HOSTGLOB1"].map(|name| (name.to_owned(), "of-the-host".to_owned()));
    let daemon = Daemon::with(Options { env: env.to_vec(), ..Options::default() });
    let client = daemon.gantry();
    let marker = daemon.path("marker").display().to_string();
    let run = format!("binary:///bin/sh?-c=touch%20{marker}");
    let labels = json!({
        "containerd.io/restart.loguri": run, "containerd.io/restart.policy": "always",
        "io.containerd.image/x": run, "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.compose.project": "p", "com.docker.volume.anonymous": "",
        "io.podman.annotations.privileged": "TRUE", "org.gantry.privileged": "true",
        "run.oci.hooks.stdout": marker, "module.wasm.image/variant": "compat",
    });
    let config = json!({
        "Cmd": ["env"], "Labels": labels, "Privileged": true, "HostConfig": {"Privileged": true},
        "Env": ["PATH=/bin", "SECRETX", "HOSTGLOB*", "*", "=x", "LD_PRELOAD=/evil.so",
                "LD_LIBRARY_PATH=/", "GANTRY_FAILPOINTS=container.start.before-exec=kill"],
    });
    load(&daemon, "evil", &config, |tree| fs::write(tree.join("evil.so"), "no library").unwrap());
    let output = client.run(&["run", "--name", "cc", "evil"]).ok();
    output.lacks("of-the-host").lacks("HOSTGLOB");
    let steered = |name: &str| {
        let text = client.run(&["inspect", "-f", "{{json .HostConfig}}", name]).ok();
        text.json()
    };
    client.run(&["create", "--name", "plain", "busybox"]).ok();
    assert_eq!(steered("cc"), steered("plain"));
    let logs = client.run(&["inspect", "-f", "{{.LogPath}} {{.RestartCount}}", "cc"]).ok();
    assert!(logs.text().contains("json.log 0"), "{logs}");
    // Neither by a session nor by what is done for it is the library loaded or the variable obeyed.
    client.run(&["run", "-d", "--name", "runs", "evil", "sleep", "1000"]).ok();
    client.run(&["exec", "runs", "true"]).ok().lacks("evil.so");
    client.run(&["top", "runs"]).ok();
    client.run(&["cp", "runs:/evil.so", "-"]).ok();
    assert!(!PathBuf::from(&marker).exists());
    client.run(&["rm", "-f", "runs", "cc", "plain"]).ok();
}

/// CVE-2020-15257: a container in the host's network namespace finds no socket of ours without a place in the file
/// system, and cannot reach those that have one.
#[test]
fn no_socket_can_be_reached_from_the_hosts_network() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"]).ok();
    let script = "awk 'NF > 7 { print $8 }' /proc/net/unix";
    let sockets = see(&client, &["--network", "host"], "busybox", script).ok();
    assert!(sockets.stdout.lines().all(|name| !name.starts_with('@')), "{sockets}");
    assert!(sockets.stdout.lines().any(|name| name.ends_with("gantryd.sock")), "{sockets}");
    for name in sockets.stdout.lines() {
        let script = format!("ls -d {name} && echo there");
        see(&client, &["--network", "host"], "busybox", &script).lacks("there");
    }
}

/// CVE-2016-3697, CVE-2024-40635, CVE-2026-46680, CVE-2026-30892: whoever is not root by name or number does not become
/// root by what a number wraps to, or by what the image's passwd says of it.
#[test]
fn nobody_becomes_root_by_a_number() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let users = [
        "2147483648",
        "4294967295",
        "4294967296",
        "-1",
        "99999999999999999999",
        "1000:4294967296",
        "1000:",
        ":1000",
        "1000x",
        "0x3e8",
        " 1000",
        "1000 ",
        "+0",
        "00x",
        "1000:1000:0",
        "0:0:0",
    ];
    load(&daemon, "wraps", &json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]}), |tree| {
        let line =
            |name: &&str| format!("{}:x:0:0::/:/bin/sh\n", name.split(':').next().unwrap_or(""));
        let lines: String = users.iter().map(line).collect();
        fs::write(tree.join("etc/passwd"), format!("{lines}1000:x:0:0::/:/bin/sh\n")).unwrap();
        fs::write(tree.join("etc/group"), "1000:x:0:\n4294967296:x:0:\n").unwrap();
    });
    client.run(&["run", "-d", "--name", "cc", "wraps", "sleep", "1000"]).ok();
    for user in users {
        let flag = format!("--user={user}");
        let ran = see(&client, &[&flag], "wraps", "id -u");
        let added = client.run(&["exec", &flag, "cc", "id", "-u"]);
        for output in [ran, added] {
            // A group alone is a group of root, as with Docker; a name that the image gives to root is root.
            let asked_for_root =
                matches!(user, ":1000" | "0x3e8" | "1000x" | "00x" | "+0" | " 1000" | "1000 ");
            assert!(asked_for_root || output.code != 0 || output.text() != "0", "{user}: {output}");
            assert!(output.code != 0 || output.stderr.is_empty(), "{user}: {output}");
        }
    }
    see(&client, &["-u", "1000"], "wraps", "id -u; id -g").ok().prints("1000\n0\n");
    client.run(&["exec", "-u", "1000", "cc", "id", "-u"]).ok().prints("1000\n");
}

/// CVE-2018-20699: what is said of processors is not counted up to a number of the user's choice.
#[test]
fn numbers_are_checked_before_they_cost_anything() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    for flags in [
        ["--cpuset-cpus", "0-2147483647"],
        ["--cpuset-cpus", "0-18446744073709551615"],
        ["--cpuset-mems", "0-2147483647"],
        ["--cpuset-cpus", "4294967296"],
        ["--memory", "99999999999999999999"],
        ["--pids-limit", "99999999999999999999"],
        ["--ulimit", "nofile=99999999999999999999"],
        ["--shm-size", "99999999999999999999"],
    ] {
        let (worked, held) = (ticks(daemon.pid()), rss(daemon.pid(), "RssAnon"));
        let output = client.run(&[&["create"], &flags[..], &["busybox"]].concat());
        assert!(matches!(output.code, 1 | 125), "{flags:?}: {output}");
        let (worked, more) =
            (ticks(daemon.pid()) - worked, rss(daemon.pid(), "RssAnon").saturating_sub(held));
        assert!(worked < 100 && more < 16 << 10, "{flags:?}: {worked} ticks, {more} kB");
    }
    client.run(&["ps", "-aq"]).ok().prints("");
}

/// Processor time so far, in hundredths of a second.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn rss(pid: i32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// CVE-2022-31030, CVE-2022-23471, CVE-2025-64329 and their kin: sessions that are left, sizes that nobody has, output
/// that nobody reads cost no memory and no descriptor.
#[test]
fn abandoned_clients_cost_nothing() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    need!(Root);
    let daemon = Daemon::start();
    let (client, socket) = (daemon.gantry(), daemon.socket());
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    client.run(&["run", "-d", "-i", "--name", "cc", "busybox", "sleep", "1000"]).ok();
    client.run(&["exec", "cc", "true"]).ok();
    let before = rss(daemon.pid(), "RssAnon");
    let hijack = |path: &str, body: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let head = format!(
            "POST /v1.45{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[9..], b"101", "{path}");
        stream
    };
    for _ in 0..300 {
        drop(hijack("/containers/cc/attach?stream=1&stdin=1&stdout=1", ""));
    }
    let new_exec = |cmd: &str| {
        let body = format!(r#"{{"Cmd":{cmd},"AttachStdout":true,"Tty":true}}"#);
        let answer = request(&socket, "POST", "/v1.45/containers/cc/exec", Some(&body)).is(201);
        answer.json()["Id"].as_str().unwrap().to_owned()
    };
    // Endless output that is never read, and left again.
    for _ in 0..5 {
        let id = new_exec(r#"["timeout","3","yes"]"#);
        let stream = hijack(&format!("/exec/{id}/start"), r#"{"Tty":true}"#);
        std::thread::sleep(Duration::from_millis(200));
        drop(stream);
    }
    let dead = new_exec(r#"["true"]"#);
    drop(hijack(&format!("/exec/{dead}/start"), r#"{"Tty":true}"#));
    for n in 0..300 {
        let path = format!("/v1.45/exec/{dead}/resize?h={n}&w=10");
        let status = request(&socket, "POST", &path, None).status;
        assert!(matches!(status, 200 | 404 | 409 | 500 | 201), "{status}");
    }
    eventually("the sessions have ended", PATIENCE, || {
        client.run(&["inspect", "-f", "{{.ExecIDs}}", "cc"]).ok().text() == "[]"
    });
    eventually("the memory is given back", PATIENCE, || {
        rss(daemon.pid(), "RssAnon") < before + (16 << 10)
    });
    client.run(&["rm", "-f", "cc"]).ok();
    leaks.check(&daemon);
}
