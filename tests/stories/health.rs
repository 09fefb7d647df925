//! Health checks, limits that change, and figures of use: what is done to and told of a container that runs.

use std::path::Path;
use std::process::Command;
use testkit::process::{PATIENCE, Running, eventually};
use testkit::{Cli, Client, Daemon, need};

fn health(client: &Client, name: &str) -> String {
    client
        .run(&["inspect", "-f", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}", name])
        .ok()
        .text()
        .to_owned()
}

/// Its failures in a row while it has this status.
fn streak(client: &Client, name: &str, status: &str) -> Option<u32> {
    health(client, name).strip_prefix(status)?.strip_prefix(' ')?.parse().ok()
}

/// Starts a client whose output can be looked at as it comes.
fn start_into(client: &Client, file: &Path, args: &[&str]) -> Running {
    let it = client.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" >\"$0\""]).arg(file).arg(it.get_program()).args(it.get_args());
    client.environment(&mut shell);
    Running::start(shell, None)
}

#[test]
fn probes_tell_how_healthy_a_container_is() {
    need!(Root);
    let mut daemon = Daemon::start();
    // Followed from the beginning: of what is past the daemon keeps the last few hundred events.
    let told = daemon.path("told");
    let follow = ["events", "--filter", "container=cc", "--format", "{{.Action}}"];
    let following = start_into(&daemon.gantry(), &told, &follow);
    eventually("the subscription is there", PATIENCE, || {
        daemon.gantry().run(&["info", "-f", "{{.NEventsListener}}"]).ok().text() == "1"
    });
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |name: &str, flags: &[&str]| {
            let args =
                [&["run", "-d", "--name", name, "--health-interval", "200ms"], flags].concat();
            client.run(&[&args[..], &["busybox", "sleep", "1000"]].concat()).ok();
        };
        run("cc", &["--health-cmd", "echo probed; test ! -e /sick", "--health-retries", "2"]);
        eventually("it is healthy", PATIENCE, || health(&client, "cc") == "healthy 0");
        let log = client.run(&["inspect", "-f", "{{json (index .State.Health.Log 0)}}", "cc"]).ok();
        assert!(log.stdout.contains(r#""ExitCode":0,"Output":"probed\n"}"#), "{log}");
        let listed = |filter: &str| {
            client
                .run(&["ps", "--filter", filter, "--format", "{{.Names}} {{.Status}}"])
                .ok()
                .stdout
        };
        assert!(listed("health=healthy").contains("(healthy)"), "{}", listed("health=healthy"));
        assert_eq!(listed("health=unhealthy"), "");
        client.run(&["exec", "cc", "touch", "/sick"]).ok();
        eventually("it is unhealthy", PATIENCE, || health(&client, "cc").starts_with("unhealthy"));
        assert!(listed("health=unhealthy").contains("(unhealthy)"));
        client.run(&["exec", "cc", "rm", "/sick"]).ok();
        eventually("it is healthy again", PATIENCE, || health(&client, "cc") == "healthy 0");
        // Nobody probes what is frozen.
        client.run(&["pause", "cc"]).ok();
        assert_eq!(health(&client, "cc"), "unhealthy 0");
        client.run(&["unpause", "cc"]).ok();
        eventually("it is healthy again", PATIENCE, || health(&client, "cc") == "healthy 0");

        run(
            "slow",
            &[
                "--health-cmd",
                "echo part; sleep 9",
                "--health-timeout",
                "300ms",
                "--health-retries",
                "1",
            ],
        );
        eventually("a probe took too long", PATIENCE, || {
            streak(&client, "slow", "unhealthy").is_some_and(|streak| streak >= 1)
        });
        // Not all have come to write something in their time.
        eventually("what it had written is kept", PATIENCE, || {
            let log = ["inspect", "-f", "{{json .State.Health.Log}}", "slow"];
            client.run(&log).ok().stdout.contains(
                r#""ExitCode":-1,"Output":"Health check exceeded timeout (300ms): part\n"}"#,
            )
        });
        run(
            "young",
            &[
                "--health-cmd",
                "false",
                "--health-start-period",
                "1h",
                "--health-start-interval",
                "100ms",
            ],
        );
        run("loud", &["--health-cmd", "yes | head -c 9999; exit 1"]);
        eventually("it was probed", PATIENCE, || !health(&client, "loud").ends_with('0'));
        let format = "{{len (index .State.Health.Log 0).Output}}";
        assert_eq!(client.run(&["inspect", "-f", format, "loud"]).ok().text(), "4099");
        let format =
            "{{len .State.Health.Log}} {{.State.Health.Status}} {{.State.Health.FailingStreak}}";
        eventually("five results are kept", PATIENCE, || {
            client.run(&["inspect", "-f", format, "young"]).ok().text() == "5 starting 0"
        });
        client
            .run(&["run", "-d", "--name", "none", "--no-healthcheck", "busybox", "sleep", "1000"])
            .ok();
        assert_eq!(
            client.run(&["inspect", "-f", "{{.State.Health}}", "none"]).ok().text(),
            "<nil>"
        );
        client.run(&["stop", "-t", "0", "cc"]).ok();
        assert_eq!(health(&client, "cc"), "unhealthy 0");
        client.run(&["rm", "-f", "cc", "slow", "young", "loud", "none"]).ok();
    }
    for action in [
        "health_status: healthy",
        "health_status: unhealthy",
        "exec_die",
        "exec_create: /bin/sh -c echo probed; test ! -e /sick",
    ] {
        eventually(action, PATIENCE, || {
            std::fs::read_to_string(&told).unwrap().lines().any(|line| line == action)
        });
    }
    drop(following);

    // Over the daemon's death: nothing is probed meanwhile, and what was known is known again.
    let client = daemon.gantry();
    let script = "echo x >> /probes; test ! -e /sick";
    client
        .run(&[
            "run",
            "-d",
            "--name",
            "cc",
            "--health-interval",
            "300ms",
            "--health-retries",
            "99",
            "--health-cmd",
            script,
            "busybox",
            "sleep",
            "1000",
        ])
        .ok();
    eventually("it is healthy", PATIENCE, || health(&client, "cc") == "healthy 0");
    client.run(&["exec", "cc", "touch", "/sick"]).ok();
    let failed = || streak(&client, "cc", "healthy").unwrap();
    eventually("it fails", PATIENCE, || failed() >= 2);
    let shown = |format| client.run(&["inspect", "-f", format, "cc"]).ok().text().to_owned();
    let (id, pid) = (shown("{{.Id}}"), shown("{{.State.Pid}}"));
    let file = daemon.host().proc().join(pid).join("root/probes");
    let probes = || u32::try_from(std::fs::read_to_string(&file).unwrap().lines().count()).unwrap();
    daemon.kill9();
    let kept = daemon.exec_root().join("containers").join(id).join("health.json");
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    let kept = u32::try_from(kept["streak"].as_u64().unwrap()).unwrap();
    assert!(kept >= 2, "{kept}");
    let before = probes();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let after = probes();
    // The daemon may have asked for one when it died.
    assert!(after - before <= 1, "{before} {after}");
    daemon.up();
    // Nobody's result is forgotten, and none is counted but those of probes that were run since.
    let known = failed();
    let since = probes() - after;
    assert!(
        (kept..=kept + since).contains(&known),
        "{known}, but {kept} were kept and {since} run"
    );
    eventually("probing goes on", PATIENCE, || failed() > known);
    client.run(&["rm", "-f", "cc"]).ok();
}

#[test]
fn an_unhealthy_container_is_restarted_stopped_or_killed_when_asked_to() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let run = |name: &str, action: &str, more: &[&str]| {
        let flags = [
            "run",
            "-d",
            "--name",
            name,
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
            "--health-cmd",
            "test ! -e /sick",
            "--stop-timeout",
            "0",
            "--health-on-failure",
            action,
        ];
        client.run(&[&flags[..], more, &["busybox", "sleep", "1000"]].concat()).ok();
        client.run(&["exec", name, "touch", "/sick"]).ok();
    };
    let state = |name: &str| {
        client
            .run(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name])
            .ok()
            .text()
            .to_owned()
    };
    run("stops", "stop", &["--restart", "always"]);
    eventually("it is stopped", PATIENCE, || state("stops") == "exited 0");
    run("dies", "kill", &["--restart", "on-failure:2"]);
    eventually("it is killed, and its policy asked", PATIENCE, || state("dies") == "exited 2");
    let begin =
        client.run(&["inspect", "-f", "{{.State.StartedAt}}", "stops"]).ok().text().to_owned();
    run("rises", "restart", &[]);
    let started =
        || client.run(&["inspect", "-f", "{{.State.StartedAt}}", "rises"]).ok().text().to_owned();
    let first = started();
    assert_ne!(first, begin);
    eventually("it is started anew", PATIENCE, || started() != first);
    client
        .run(&["run", "--health-on-failure", "reboot", "busybox"])
        .exits(125)
        .says("use one of none");
    // From other clients it is an annotation.
    let docker = daemon.client(Cli::all()[0]);
    docker
        .run(&["create", "--annotation", "gantry.health-on-failure=reboot", "busybox"])
        .says("reboot");
    client.run(&["rm", "-f", "stops", "dies", "rises"]).ok();
}

#[test]
fn limits_change_while_a_container_runs() {
    need!(Root);
    let mut daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["run", "-d", "--name", "cc", "-m", "64m", "busybox", "sleep", "1000"]).ok();
        client.run(&["create", "--name", "dd", "busybox", "sleep", "1000"]).ok();
        client
            .run(&["update", "cc"])
            .exits(1)
            .says("you must provide one or more flags when using this command");
        client.run(&["update", "--memory", "100m", "--memory-reservation", "20m", "--cpus", "0.5", "--cpu-shares", "512",
            "--cpuset-cpus", "0", "--pids-limit", "33", "cc", "dd"]).exits(1).prints("cc\n").says(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time");
        let read = |file: &str| {
            client
                .run(&[
                    "exec",
                    "cc",
                    "sh",
                    "-c",
                    &format!("cat /sys/fs/cgroup/{file} 2>/dev/null || cat /sys/fs/cgroup/{file}"),
                ])
                .stdout
        };
        if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
            assert_eq!(read("memory/memory.limit_in_bytes"), "104857600\n");
            assert_eq!(read("memory/memory.memsw.limit_in_bytes"), "134217728\n");
            assert_eq!(read("pids/pids.max"), "33\n");
            assert_eq!(read("cpu/cpu.cfs_quota_us"), "50000\n");
            assert_eq!(read("cpu/cpu.shares"), "512\n");
            assert_eq!(read("cpuset/cpuset.cpus"), "0\n");
        } else {
            assert_eq!(read("memory.max"), "104857600\n");
            assert_eq!(read("pids.max"), "33\n");
        }
        client
            .run(&["update", "--cpu-quota", "5000", "cc"])
            .exits(1)
            .says("CPU Quota cannot be updated as NanoCPUs has already been set");
        client
            .run(&["update", "--memory", "4b", "cc"])
            .exits(1)
            .says("Minimum memory limit allowed is 6MB");
        client.run(&["update", "--restart", "foo", "cc"]).exits(1).says("unknown policy 'foo'");
        client
            .run(&[
                "update",
                "--memory",
                "64m",
                "--memory-swap",
                "-1",
                "--restart",
                "on-failure:3",
                "dd",
            ])
            .ok()
            .prints("dd\n");
        let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
        assert_eq!(
            client.run(&["inspect", "-f", format, "dd"]).ok().text(),
            "67108864 -1 on-failure:3"
        );
        client.run(&["rm", "-f", "cc", "dd"]).ok();
    }
    // What was changed is so for the next daemon, too.
    let client = daemon.gantry();
    client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
    client.run(&["update", "--pids-limit", "44", "cc"]).ok();
    daemon.kill9();
    daemon.up();
    assert_eq!(client.run(&["inspect", "-f", "{{.HostConfig.PidsLimit}}", "cc"]).ok().text(), "44");
    client.run(&["run", "--rm", "-d", "--name", "rr", "busybox", "sleep", "1000"]).ok();
    client
        .run(&["update", "--restart", "always", "rr"])
        .exits(1)
        .says("because AutoRemove is enabled");
    client.run(&["rm", "-f", "cc", "rr"]).ok();
}

#[test]
fn what_a_container_uses_is_shown() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client
            .run(&[
                "run",
                "-d",
                "--name",
                "busy",
                "-m",
                "64m",
                "busybox",
                "sh",
                "-c",
                "while :; do :; done",
            ])
            .ok();
        client.run(&["create", "--name", "idle", "busybox", "true"]).ok();
        let shown = client.run(&["stats", "--no-stream"]).ok();
        let lines: Vec<&str> = shown.stdout.lines().collect();
        assert!(lines[0].starts_with("CONTAINER ID   NAME"), "{shown}");
        assert_eq!(lines.len(), 2, "{shown}");
        let format = "{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}} {{.NetIO}}";
        let all = client.run(&["stats", "--no-stream", "-a", "--format", format]).ok();
        let line =
            |name: &str| all.stdout.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        assert_eq!(line("idle"), "idle 0B / 0B 0 0.00% 0B / 0B");
        let busy = line("busy");
        assert!(busy.contains(" / 64MiB 1 "), "{busy}");
        let percent: f64 = busy.split(' ').nth(5).unwrap().trim_end_matches('%').parse().unwrap();
        assert!(percent > 1.0, "{busy}");
        client
            .run(&["stats", "--no-stream", "missing"])
            .exits(1)
            .says("No such container: missing");
        // Live: shown again and again, until the user has seen enough.
        let shown = daemon.path("live");
        let format = ["stats", "--format", "{{.Name}}:{{.PIDs}}", "busy"];
        let live = start_into(&client, &shown, &format);
        eventually("it is shown again", PATIENCE, || {
            let shown = std::fs::read_to_string(&shown).unwrap_or_default();
            shown.matches("busy:1").count() >= 2
        });
        drop(live);
        client.run(&["rm", "-f", "busy", "idle"]).ok();
    }
}
