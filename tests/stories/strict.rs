//! The security profile `strict`, by one flag and by one key of the daemon: what it takes away, what still works, what
//! contradicts it. `docs/security-profiles.md` has its lines.

use serde_json::Value;
use std::os::unix::fs::MetadataExt as _;
use testkit::{Cli, Client, Daemon, Options, need};

const STRICT: [&str; 2] = ["--security-opt", "profile=strict"];

fn run(client: &Client, flags: &[&str], script: &str) -> testkit::Output {
    client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
}

fn inspect(client: &Client, name: &str) -> Value {
    client.run(&["inspect", "-f", "{{json .HostConfig}}", name]).ok().json()
}

/// What a limit of the container's cgroup says, from inside: `FILE` on cgroup v1, `OTHER` on v2.
fn limit(client: &Client, name: &str, file: &str, other: &str) -> String {
    let script = format!("cat /sys/fs/cgroup/{file} 2>/dev/null || cat /sys/fs/cgroup/{other}");
    client.run(&["exec", name, "sh", "-c", &script]).ok().text().to_owned()
}

/// One line of `docs/security-profiles.md` after the other, from inside a running container.
fn looks_strict(client: &Client, name: &str) {
    let see = |script: &str| client.run(&["exec", name, "sh", "-c", script]);
    // Capabilities: eleven, none inherited; nothing gives back what is gone.
    let status = "grep -E 'Cap(Bnd|Inh|Amb)|NoNewPrivs|Seccomp:' /proc/1/status | tr -d '\\t'";
    see(status).ok().prints(
        "CapInh:0000000000000000\nCapBnd:00000000800405fb\nCapAmb:0000000000000000\nNoNewPrivs:1\nSeccomp:2\n",
    );
    see("grep CapBnd /proc/self/status").ok().says("00000000800405fb");
    // Calls: execution domains are not chosen, programs run all the same.
    see("linux64 true").says("Operation not permitted");
    // Hidden: contents gone, masks stay.
    for path in
        ["/proc/kallsyms", "/proc/modules", "/proc/kpagecount", "/proc/iomem", "/proc/interrupts"]
    {
        see(&format!("test ! -e {path} || test -z \"$(head -c 1 {path})\"")).ok();
    }
    see("ls -A /sys/dev/block /sys/kernel/debug /sys/kernel/tracing 2>/dev/null | grep -v : | grep -c .").prints("0\n");
    see("umount /proc/kallsyms").exits(1);
    // Nothing is written to the kernel's files.
    see("echo x >/proc/sys/kernel/core_pattern").exits(1);
    see("mkdir /sys/fs/cgroup/x").exits(1);
    // Nodes: none, not even of what may be opened; pipes are no nodes.
    see("mknod /tmp/null c 1 3").exits(1);
    see("mknod /dev/again c 1 3").exits(1);
    see(
        "rm -f /tmp/pipe; mknod /tmp/pipe p && echo x >/dev/null && head -c 1 /dev/zero >/dev/null",
    )
    .ok();
    see("cp /bin/busybox /dev/b && /dev/b true").says("ermission denied");
    see("cp /bin/busybox /dev/shm/b && /dev/shm/b true").says("ermission denied");
    // Limits.
    assert_eq!(limit(client, name, "pids/pids.max", "pids.max"), "512");
    assert_eq!(
        limit(client, name, "memory/memory.memsw.limit_in_bytes", "memory.swap.max")
            .trim_start_matches('0'),
        if std::path::Path::new("/sys/fs/cgroup/memory").exists() { "67108864" } else { "" }
    );
    see("ulimit -c; ulimit -Hc").ok().prints("0\n0\n");
    // Low ports need no capability.
    client
        .run(&[
            "exec",
            "-u",
            "1000",
            name,
            "sh",
            "-c",
            "nc -l -p 80 -w 60 & until netstat -ltn | grep -q :80; do kill -0 $! || exit 1; done; kill $!",
        ])
        .ok();
}

/// The flag, with every client.
#[test]
fn strict_takes_away_what_it_says() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        for name in ["one", "two"] {
            let run = [
                "run",
                "-d",
                "--name",
                name,
                "-m",
                "64m",
                "-v",
                "data:/data",
                "busybox",
                "sleep",
                "1000",
            ];
            client.run(&[&run[..2], &STRICT, &run[2..]].concat()).ok();
        }
        looks_strict(&client, "one");
        // Ids of its own, and files of volumes are the same.
        let root_of = |name: &str| -> u32 {
            let pid = client.run(&["inspect", "-f", "{{.State.Pid}}", name]).ok();
            std::fs::metadata(daemon.host().proc().join(pid.text())).unwrap().uid()
        };
        let (one, two) = (root_of("one"), root_of("two"));
        assert!(one >= 100_000 && two >= 100_000 && one.abs_diff(two) >= 65536, "{one} {two}");
        client.run(&["exec", "one", "sh", "-c", "echo shared >/data/file"]).ok();
        client.run(&["exec", "two", "cat", "/data/file"]).ok().prints("shared\n");
        let host = inspect(&client, "one");
        assert_eq!(host["SecurityOpt"].to_string(), r#"["profile=strict","no-new-privileges"]"#);
        assert_eq!(host["UsernsMode"], "auto");
        assert_eq!(host["PidsLimit"], 512);
        assert_eq!(host["MemorySwap"], 64 << 20);
        assert_eq!(host["MaskedPaths"].as_array().unwrap().len(), 23);
        assert_eq!(host["Ulimits"], serde_json::json!([{"Name": "core", "Hard": 0, "Soft": 0}]));
        client.run(&["exec", "--privileged", "one", "true"]).exits(1).says("profile strict");
        client.run(&["rm", "-f", "one", "two"]).ok();
        // Who is not root has no capability at all, nor has who joins as root; who names one gets it.
        let flags = |more: &[&'static str]| [&STRICT[..], more].concat();
        let caps = "grep -E 'CapBnd|CapEff' /proc/self/status | tr -d '\\t'";
        let none = "CapEff:0000000000000000\nCapBnd:0000000000000000\n";
        run(&client, &flags(&["-u", "1000"]), caps).ok().prints(none);
        let kill = "CapEff:0000000000000000\nCapBnd:0000000000000020\n";
        run(&client, &flags(&["-u", "1000", "--cap-add", "KILL"]), caps).ok().prints(kill);
        run(
            &client,
            &flags(&["--pids-limit", "7"]),
            "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null",
        )
        .prints("7\n");
        contradictions(&client);
        client.run(&["ps", "-aq"]).ok().prints("");
    }
    daemon.gantry().run(&["volume", "rm", "data"]).ok();
}

/// What takes a protection away is refused, and nothing is left of it.
fn contradictions(client: &Client) {
    for (flags, what) in [
        (&["--privileged"][..], "privileged mode"),
        (&["--userns", "host"], "the host's user namespace"),
        (&["--network", "host"], "the host's network namespace"),
        (&["--pid", "host"], "the host's PID namespace"),
        (&["--ipc", "host"], "the host's IPC namespace"),
        (&["--uts", "host"], "the host's UTS namespace"),
        (&["--cgroupns", "host"], "the host's cgroup namespace"),
        (&["--security-opt", "seccomp=unconfined"], "seccomp=unconfined"),
        (&["--security-opt", "systempaths=unconfined"], "systempaths=unconfined"),
        (&["--security-opt", "no-new-privileges=false"], "no-new-privileges=false"),
        (&["--security-opt", "writable-cgroups=true"], "writable-cgroups=true"),
    ] {
        let text = format!("conflicting options: {what} and the security profile strict");
        run(client, &[&STRICT[..], flags].concat(), "true").exits(125).says(&text);
    }
    run(client, &["--security-opt", "profile=paranoid"], "true")
        .exits(125)
        .says("invalid security profile \"paranoid\": there are \"default\" and \"strict\"");
}

/// The daemon's key: every container that does not say is strict, over restarts, and the daemon says so.
#[test]
fn a_strict_daemon_makes_strict_containers() {
    need!(Root);
    let mut daemon = Daemon::with(Options { bare: true, ..Options::default() });
    daemon.stop();
    let key = r#"{"security-profile": "strict", "default-cap-drop": ["MKNOD", "net_raw"]}"#;
    std::fs::write(daemon.config_file(), key).unwrap();
    daemon.up();
    daemon.load(&testkit::images::archive());
    let mode = std::fs::metadata(daemon.socket()).unwrap();
    assert_eq!((mode.mode() & 0o777, mode.gid()), (0o660, 0));
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client
            .run(&["info"])
            .ok()
            .says("profile\n   Profile: strict")
            .says("no-new-privileges")
            .says("userns");
        client.run(&["run", "-d", "--name", "kept", "-m", "64m", "busybox", "sleep", "1000"]).ok();
        looks_strict(&client, "kept");
        run(&client, &["--privileged"], "true")
            .exits(125)
            .says("say --security-opt profile=default");
        let plain = ["--security-opt", "profile=default"];
        // As every container of a daemon that is not strict, without what this one drops.
        let status = "grep -E 'CapBnd|NoNewPrivs' /proc/1/status | tr -d '\\t'; cat /proc/1/uid_map | tr -s ' '";
        run(&client, &plain, status)
            .ok()
            .prints("CapBnd:00000000a00405fb\nNoNewPrivs:0\n 0 0 4294967295\n");
        run(&client, &[&plain[..], &["--privileged"]].concat(), "mount -t tmpfs none /tmp").ok();
        // Another profile at the next start of the daemon is not this container's.
        daemon.kill9();
        std::fs::write(daemon.config_file(), "{}").unwrap();
        daemon.up();
        looks_strict(&client, "kept");
        client.run(&["restart", "-t", "0", "kept"]).ok();
        looks_strict(&client, "kept");
        run(&client, &[], status).ok().says("CapBnd:00000000a80425fb\nNoNewPrivs:0");
        client.run(&["rm", "-f", "kept"]).ok();
        daemon.stop();
        std::fs::write(daemon.config_file(), key).unwrap();
        daemon.up();
    }
    // What contradicts it is refused before anything starts.
    for (flags, what) in [
        (&["--seccomp-profile=unconfined"][..], "seccomp-profile=unconfined"),
        (&["--default-cgroupns-mode=host"], "default-cgroupns-mode=host"),
        (&["-H", "tcp://127.0.0.1:0", "--tls=false"], "a tcp host without --tlsverify"),
    ] {
        let program = testkit::program("gantryd").display().to_string();
        let args = [&["--security-profile=strict"], flags].concat();
        let output = daemon.host().run(&program, &args);
        output.exits(1).says(&format!("conflicting options: {what} and security-profile=strict"));
    }
    let program = testkit::program("gantryd").display().to_string();
    daemon
        .host()
        .run(&program, &["--security-profile=loose"])
        .exits(1)
        .says("invalid security profile");
    daemon.host().run(&program, &["--default-cap-drop=FLY"]).exits(1).says("unknown capability");
}
