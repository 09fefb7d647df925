//! User namespaces: root inside who is nobody outside, on the same images and volumes as everybody else.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use testkit::{Cli, Client, Daemon, need};

/// The host's name for user 0 of a running container.
fn root_of(client: &Client, name: &str) -> u32 {
    let map = client.run(&["exec", name, "cat", "/proc/self/uid_map"]).ok().text().to_owned();
    let fields: Vec<u32> = map.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!((fields.len(), fields[0]), (3, 0), "{map}");
    fields[1]
}

fn pid_of(client: &Client, name: &str) -> String {
    client.run(&["inspect", "-f", "{{.State.Pid}}", name]).ok().text().to_owned()
}

/// The owner of the processes, as the host sees it.
fn user_of_process(daemon: &Daemon, pid: &str) -> u32 {
    std::fs::metadata(daemon.host().proc().join(pid)).unwrap().uid()
}

#[test]
fn each_container_has_ids_of_its_own() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    let host = daemon.path("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "host").unwrap();
    let bind = format!("{}:/bind", host.display());
    let run = |name: &str| {
        client
            .run(&[
                "run",
                "-d",
                "--name",
                name,
                "--userns=auto",
                "-v",
                "data:/vol",
                "-v",
                &bind,
                "--tmpfs",
                "/scratch",
                "--init",
                "busybox",
                "sleep",
                "1000",
            ])
            .ok();
    };
    run("one");
    run("two");
    let (one, two) = (root_of(&client, "one"), root_of(&client, "two"));
    assert!(one.abs_diff(two) >= 65536, "{one} {two}");
    assert_eq!(user_of_process(&daemon, &pid_of(&client, "one")), one);
    client.run(&["inspect", "-f", "{{.HostConfig.UsernsMode}}", "one"]).ok().prints("auto\n");

    // Root of its own files, of volumes and of what we mount; nobody to the host's.
    let see = |script: &str| client.run(&["exec", "one", "sh", "-c", script]);
    see("id -u; stat -c %u:%g / /etc/passwd /etc/hosts /vol /scratch /dev/shm")
        .ok()
        .prints("0\n0:0\n0:0\n0:0\n0:0\n0:0\n0:0\n");
    see("stat -c %u:%g /bind/file; cat /bind/file").ok().prints("65534:65534\nhost");
    see("echo x >/bind/file").exits(1);
    see("echo x >/bind/new").exits(1);
    see("echo text >/new && echo more >/vol/new && chown 7:8 /new /vol/new && mkdir /dir").ok();
    see("cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net")
        .ok()
        .prints("0\neth0\nlo\n");
    see("echo >/dev/null && echo out >/dev/stdout").ok().prints("out\n");
    see("hostname other; mount -t tmpfs none /mnt").exits(1);
    client.run(&["exec", "-t", "one", "tty"]).ok().says("/dev/pts/");
    client.run(&["exec", "-u", "tester", "one", "sh", "-c", "id -u; echo e >/dev/stderr"]).ok();

    // On disk nothing is shifted: another container, with other ids or none, sees the same owners.
    client.run(&["exec", "two", "stat", "-c", "%u:%g", "/vol/new"]).ok().prints("7:8\n");
    client
        .run(&["run", "--rm", "-v", "data:/vol", "busybox", "stat", "-c", "%u:%g", "/vol/new"])
        .ok()
        .prints("7:8\n");
    let upper = upper_of(&client, "one");
    let (file, dir) =
        (upper.join("new").metadata().unwrap(), upper.join("dir").metadata().unwrap());
    assert_eq!((file.uid(), file.gid(), dir.uid()), (7, 8, 0));

    // Copying in and out of the running container, and what is made of it.
    let source = daemon.path("copied");
    std::fs::write(&source, "copied").unwrap();
    let source = source.display().to_string();
    let packed = format!(
        "tar c -C {} --owner=5 --group=6 copied | docker cp - one:/",
        daemon.path("").display()
    );
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.shell(&packed).ok();
        client.run(&["cp", &source, "one:/vol/copied"]).ok();
        see("stat -c %u:%g /copied; cat /vol/copied").ok().prints("5:6\ncopied");
        client.shell("docker cp one:/new - | tar tvn --numeric-owner").ok().says("7/8");
        client
            .shell("docker export one | tar tvn --numeric-owner new copied")
            .ok()
            .says("7/8")
            .says("5/6");
        see("rm /copied /vol/copied").ok();
    }
    client.run(&["diff", "one"]).ok().says("A /new");
    client.run(&["commit", "one", "made"]).ok();
    client.run(&["run", "--rm", "made", "stat", "-c", "%u:%g", "/new"]).ok().prints("7:8\n");
    client
        .run(&["run", "--rm", "--userns=auto", "made", "stat", "-c", "%u:%g", "/new"])
        .ok()
        .prints("7:8\n");

    // Others share its namespaces, and with them its users.
    let share = |flags: &[&str]| {
        client.run(
            &[&["run", "--rm", "--userns=auto"], flags, &["busybox", "cat", "/proc/self/uid_map"]]
                .concat(),
        )
    };
    share(&["--network=container:one"]).ok().says(&one.to_string());
    share(&["--network=container:one", "--pid=container:one"]).ok().says(&one.to_string());
    // With another container's processes, and so its users, goes a network of its own, or none.
    let interfaces = |network: &str| {
        let script = "ls /sys/class/net; cat /proc/self/uid_map; ip route; kill -0 1 && echo seen";
        let flags = ["run", "--rm", "--userns=auto", "--pid=container:one", network];
        client.run(&[&flags[..], &["busybox", "sh", "-c", script]].concat()).ok()
    };
    let bridged = interfaces("--network=bridge");
    bridged.says("eth0\nlo\n").says(&one.to_string()).says("default via").says("seen");
    let none = interfaces("--network=none");
    assert!(none.text().starts_with("lo\n") && none.text().ends_with("seen"), "{none:?}");
    client.run(&["run", "-d", "--name", "plain", "busybox", "sleep", "1000"]).ok();
    client
        .run(&["run", "--rm", "--userns=auto", "--network=container:plain", "busybox", "true"])
        .exits(125)
        .says("has no user namespace that could be shared");

    // What only the host's root may have. Docker's words.
    for (flags, text) in [
        (
            "--privileged",
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            "--network=host",
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        ("--pid=host", "cannot share the host PID namespace when user namespaces are enabled"),
    ] {
        client
            .run(&["run", "--rm", "--userns=auto", flags, "busybox", "true"])
            .exits(125)
            .says(text);
    }

    // Kept when the daemon starts anew, over a stop and a start, and given back with the container.
    daemon.kill9();
    daemon.up();
    assert_eq!(root_of(&client, "one"), one);
    client.run(&["restart", "-t", "0", "one"]).ok();
    assert_eq!(root_of(&client, "one"), one);
    client.run(&["stop", "-t", "0", "two"]).ok();
    run("three");
    assert!(![one, two].contains(&root_of(&client, "three")));
    client.run(&["start", "two"]).ok();
    assert_eq!(root_of(&client, "two"), two);
    client.run(&["exec", "two", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:1"]).exits(1);

    // Ids are used again as late as possible, but they are free: a daemon that starts begins where it began.
    client.run(&["rm", "-f", "one"]).ok();
    daemon.kill9();
    daemon.up();
    run("four");
    assert_eq!(root_of(&client, "four"), one);
}

/// The writable layer of a container on disk.
fn upper_of(client: &Client, name: &str) -> PathBuf {
    client.run(&["inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name]).ok().text().trim().into()
}

#[test]
fn a_daemon_may_remap_all() {
    need!(Root);
    let mut daemon = Daemon::start();
    daemon.stop();
    let file = daemon.config_file();
    let set = |value: &str| {
        std::fs::write(&file, format!("{{\"userns-remap\":\"{value}\"}}")).unwrap();
    };
    set("default");
    daemon.launch(&[]);
    daemon.wait_end(std::time::Duration::from_secs(10));
    let log = daemon.log();
    assert!(log.contains("no subuid ranges found for user"), "{log}");
    assert!(log.contains("add the line dockremap:100000:65536 to /etc/subuid"), "{log}");

    // Only this host's own view of the files is changed.
    let ids = daemon.path("ids");
    std::fs::write(&ids, "dockremap:300000:65536\n").unwrap();
    for file in ["/etc/subuid", "/etc/subgid"] {
        daemon.host().run("mount", &["--bind", &ids.display().to_string(), file]).ok();
    }
    daemon.up();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["info", "-f", "{{.SecurityOptions}}"]).ok().says("name=userns");
        client
            .run(&["run", "-d", "--name", "mapped", "-v", "/vol", "busybox", "sleep", "1000"])
            .ok();
        assert_eq!(root_of(&client, "mapped"), 300_000);
        assert_eq!(user_of_process(&daemon, &pid_of(&client, "mapped")), 300_000);
        client
            .run(&["exec", "mapped", "sh", "-c", "stat -c %u / /vol && touch /vol/x"])
            .ok()
            .prints("0\n0\n");
        client.run(&["run", "--rm", "--network=container:mapped", "busybox", "hostname"]).ok();
        client
            .run(&["run", "--rm", "--ipc=container:mapped", "busybox", "true"])
            .exits(125)
            .says("non-shareable IPC");
        client.run(&["run", "--rm", "--pid=container:mapped", "busybox", "true"]).ok();
        client
            .run(&["run", "--rm", "--userns=host", "busybox", "cat", "/proc/self/uid_map"])
            .ok()
            .says("4294967295");
        client
            .run(&[
                "run",
                "--rm",
                "--privileged",
                "--userns=host",
                "--pid=host",
                "--network=host",
                "busybox",
                "true",
            ])
            .ok();
        client
            .run(&["run", "--rm", "--privileged", "busybox", "true"])
            .exits(125)
            .says("privileged mode is incompatible with user namespaces.");
        client
            .run(&["run", "--rm", "--userns=foo", "busybox", "true"])
            .exits(125)
            .says("invalid USER mode");
        client.run(&["rm", "-f", "mapped"]).ok();
    }
    let client = daemon.gantry();
    client.run(&["run", "-d", "--name", "kept", "busybox", "sleep", "1000"]).ok();
    // A container keeps what it was made with; new ones have what the daemon says now.
    daemon.stop();
    set("auto");
    daemon.up();
    client.run(&["restart", "-t", "0", "kept"]).ok();
    assert_eq!(root_of(&client, "kept"), 300_000);
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["run", "-d", "--name", "own", "busybox", "sleep", "1000"]).ok();
        assert!(root_of(&client, "own") >= 0x7000_0000);
        client.run(&["rm", "-f", "own"]).ok();
    }
}
