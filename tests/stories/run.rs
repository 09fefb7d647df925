//! Running a container to its end: streams, exit codes, limits, and nothing left behind.

use std::time::{Duration, Instant};
use testkit::process::{PATIENCE, Running};
use testkit::{Cli, Daemon, Leaks, need};

#[test]
fn the_bundled_image_greets_without_a_network() {
    need!(Root);
    let daemon = Daemon::with(testkit::Options { bare: true, ..testkit::Options::default() });
    for cli in Cli::all() {
        let output = daemon.client(cli).run(&["run", "--rm", "hello-world"]).ok();
        assert!(output.stdout.contains("Hello"), "{output}");
        assert!(
            output.stdout.lines().any(|l| l.trim_start().starts_with("1.")),
            "no numbered steps: {output}"
        );
    }
}

#[test]
fn exit_codes_tell_who_failed() {
    need!(Root);
    let daemon = Daemon::start();
    let cases: &[(&[&str], i32)] = &[
        (&["busybox", "true"], 0),
        (&["busybox", "false"], 1),
        (&["busybox", "sh", "-c", "exit 42"], 42),
        (&["busybox", "sh", "-c", "exit 255"], 255),
        (&["--no-such-flag", "busybox"], 125),
        (&["--network", "no-such-network", "busybox", "true"], 125),
        (&["busybox", "/etc/passwd"], 126),
        (&["busybox", "no-such-program"], 127),
        (&["--init", "busybox", "sh", "-c", "kill -TERM $$"], 143),
        (&["--init", "busybox", "sh", "-c", "kill -KILL $$"], 137),
        (&["--init", "busybox", "sh", "-c", "kill -SEGV $$"], 139),
    ];
    for cli in Cli::all() {
        let client = daemon.client(cli);
        for (args, code) in cases {
            client.run(&[&["run", "--rm"], *args].concat()).exits(*code);
        }
    }
    assert_eq!(
        daemon.gantry().run(&["ps", "-aq"]).ok().text(),
        "",
        "--rm removes those that never started, too"
    );
}

#[test]
fn streams_are_whole_and_apart() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        // 8 MB each way at once: more than every buffer between the client and the container.
        let input: Vec<u8> =
            (0..8 << 20_u32).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let input: Vec<u8> = input.iter().map(|b| b % 26 + b'a').collect();
        let output = client.run_with(&["run", "--rm", "-i", "busybox", "cat"], &input).ok();
        assert!(
            output.stdout.as_bytes() == input,
            "{cli:?}: {} bytes of {}",
            output.stdout.len(),
            input.len()
        );
        let both = "for i in 1 2 3; do echo out$i; echo err$i >&2; done; exit 6";
        let output = client.run(&["run", "--rm", "busybox", "sh", "-c", both]).exits(6);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("out1\nout2\nout3\n", "err1\nerr2\nerr3\n")
        );
        // The end of the client's input reaches the container, and only with -i is there an input.
        client.run_with(&["run", "--rm", "-i", "busybox", "wc", "-c"], b"12345").ok().prints("5\n");
        client.run_with(&["run", "--rm", "busybox", "wc", "-c"], b"12345").ok().prints("0\n");
    }
}

#[test]
fn nothing_is_left_of_a_container_that_was_removed() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    for round in 0..5 {
        client.run(&["run", "--rm", "-v", "/volume", "busybox", "touch", "/volume/x", "/y"]).ok();
        client
            .run(&["run", "--rm", "--network", "none", "--memory", "32m", "busybox", "true"])
            .ok();
        client.run(&["run", "--rm", "--network", "host", "-t", "busybox", "true"]).ok();
        client.run(&["run", "--rm", "busybox", "no-such-program"]).exits(127);
        client.run(&["create", "--name", "created", "busybox"]).ok();
        client.run(&["rm", "created"]).ok();
        client.run(&["run", "-d", "--name", "running", "busybox", "sleep", "1000"]).ok();
        client.run(&["exec", "running", "echo", &round.to_string()]).ok();
        client.run(&["rm", "-f", "running"]).ok();
        client.run(&["run", "-d", "--rm", "--name", "stopped", "busybox", "sleep", "1000"]).ok();
        client.run(&["stop", "-t", "0", "stopped"]).ok();
    }
    leaks.check(&daemon);
}

#[test]
fn fifty_at_once_all_run() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let all: Vec<Running> = (0..50)
        .map(|n| {
            client.start(&["run", "--rm", "busybox", "sh", "-c", &format!("echo {n}; exit {n}")])
        })
        .collect();
    for (n, running) in all.into_iter().enumerate() {
        running.end(PATIENCE).exits(i32::try_from(n).unwrap()).prints(&format!("{n}\n"));
    }
    leaks.check(&daemon);
}

#[test]
fn signals_to_the_client_reach_the_container() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let script = "trap 'echo caught; exit 11' TERM; echo ready; while :; do sleep 0.05; done";
        let name = format!("signalled-{cli:?}");
        let running =
            client.start(&["run", "--rm", "--name", &name, "busybox", "sh", "-c", script]);
        testkit::process::eventually("the container is ready", PATIENCE, || {
            client.run(&["logs", &name]).stdout.contains("ready")
        });
        running.signal(rustix::process::Signal::TERM);
        running.end(PATIENCE).exits(11).says("caught");
    }
}

#[test]
fn memory_is_limited_and_the_kill_is_told() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    // One process that asks for all of it at once: one that grows to its limit slowly spends its time on reading its
    // own program from the disk again and again.
    let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    client
        .run(&[&["run", "--name", "hungry", "--memory", "32m", "busybox"], &hungry[..]].concat())
        .exits(137)
        .lacks("records out");
    client.run(&["inspect", "-f", "{{.State.OOMKilled}}", "hungry"]).ok().prints("true\n");
    let events = client.run(&[
        "events",
        "--since",
        "0",
        "--until",
        &crate::a_moment_from_now(),
        "--filter",
        "container=hungry",
        "--format",
        "{{.Action}}",
    ]);
    assert!(events.ok().stdout.lines().any(|l| l == "oom"));
    client.run(&["run", "--name", "modest", "--memory", "64m", "busybox", "true"]).ok();
    client.run(&["inspect", "-f", "{{.State.OOMKilled}}", "modest"]).ok().prints("false\n");
}

#[test]
fn a_fork_bomb_is_a_matter_of_its_container() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client
        .run(&[
            "run",
            "-d",
            "--name",
            "bomb",
            "--pids-limit",
            "30",
            "busybox",
            "sh",
            "-c",
            "b() { b | b & b; }; b; sleep 100",
        ])
        .ok();
    // The others and the daemon go on.
    let start = Instant::now();
    client.run(&["run", "--rm", "busybox", "echo", "fine"]).ok().prints("fine\n");
    assert!(start.elapsed() < Duration::from_secs(10));
    client.run(&["rm", "-f", "bomb"]).ok();
    let limited = "i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done; wait; echo unlimited";
    client
        .run(&["run", "--rm", "--pids-limit", "10", "busybox", "sh", "-c", limited])
        .says("can't fork");
}

#[test]
fn cpu_time_is_limited() {
    need!(Root);
    let daemon = Daemon::start();
    let busy = "read a b </proc/uptime; end=$((${a%.*}+3)); while read a b </proc/uptime; [ ${a%.*} -lt $end ]; do :; done; \
                awk '{print $14+$15}' /proc/1/stat";
    let ticks =
        daemon.gantry().run(&["run", "--rm", "--cpus", "0.1", "busybox", "sh", "-c", busy]).ok();
    // About three seconds of a tenth of a processor, in hundredths of a second; other load makes it less.
    let ticks: u32 = ticks.text().parse().unwrap();
    assert!(ticks < 100, "{ticks} ticks");
}

#[test]
fn what_is_not_there_yet_is_refused_not_ignored() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        for (flags, code) in [
            (&["--link", "nobody"][..], 125),
            (&["--device", "/dev/no-such-device"], 127),
            (&["--runtime", "no-such-runtime"], 125),
        ] {
            let output =
                client.run(&[&["run", "--rm"], flags, &["busybox", "true"]].concat()).exits(code);
            assert!(!output.stderr.trim().is_empty(), "{output}");
        }
    }
    assert_eq!(daemon.gantry().run(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn mounts_are_as_asked() {
    need!(Root);
    let daemon = Daemon::start();
    let folder = daemon.path("shared");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "outside\n").unwrap();
    let shared = folder.display().to_string();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |flags: &[&str], script: &str| {
            client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
        };
        run(&["-v", &format!("{shared}:/mnt")], "cat /mnt/file; echo inside >/mnt/new")
            .ok()
            .prints("outside\n");
        assert_eq!(std::fs::read_to_string(folder.join("new")).unwrap(), "inside\n");
        run(&["-v", &format!("{shared}:/mnt:ro")], "echo x >/mnt/file")
            .exits(1)
            .says("Read-only file system");
        let readonly = format!("type=bind,src={shared},dst=/mnt,readonly");
        run(&["--mount", &readonly], "echo x >/mnt/file").exits(1).says("Read-only file system");
        run(&["--tmpfs", "/scratch:size=1m"], "dd if=/dev/zero of=/scratch/x bs=1M count=2 2>&1")
            .exits(1)
            .says("No space left");
        run(&["--mount", "type=tmpfs,dst=/scratch"], "grep /scratch /proc/mounts")
            .ok()
            .says("tmpfs");
        run(&["--read-only"], "touch /x").exits(1).says("Read-only file system");
        // A link in the image must not lead a mount out of the container.
        run(&["-v", &format!("{shared}:/var/run/x")], "cat /var/run/x/file")
            .ok()
            .prints("outside\n");
    }
}

#[test]
fn an_init_reaps_and_forwards() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let orphan = "(sleep 0.1 & ) ; sleep 0.5; ps -o stat,args | grep -c '^Z'; exit 3";
    client.run(&["run", "--rm", "--init", "busybox", "sh", "-c", orphan]).exits(3).prints("0\n");
    client.run(&["run", "-d", "--init", "--name", "tamed", "busybox", "sleep", "1000"]).ok();
    let start = Instant::now();
    client.run(&["stop", "-t", "20", "tamed"]).ok();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "sleep as pid 1 ignores SIGTERM; with an init it gets it"
    );
    client.run(&["wait", "tamed"]).ok().prints("143\n");
}
