//! Restart policies: what ends is started again, until somebody does not want it any more.

use std::time::{Duration, Instant};
use testkit::daemon::Options;
use testkit::process::{Output, PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, need};

fn show(client: &Client, format: &str, name: &str) -> String {
    client.run(&["inspect", "-f", format, name]).ok().text().to_owned()
}

fn state(client: &Client, name: &str) -> String {
    show(client, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", name)
}

/// Waits until it is between two runs for long enough to be asked things.
fn between_runs(client: &Client, name: &str) {
    eventually("its policy waits", PATIENCE, || {
        let at = show(client, "{{.State.Restarting}} {{.RestartCount}}", name);
        at.starts_with("true")
            && at.split(' ').nth(1).is_some_and(|n| n.parse::<u32>().unwrap() > 3)
    });
}

/// What a command answers between two runs, the same two when it was asked and when it had answered.
fn asked_between_runs(client: &Client, name: &str, verb: &[&str]) -> Output {
    let at = || show(client, "{{.State.Restarting}} {{.RestartCount}}", name);
    let mut answer = None;
    // Each time there is twice as long to ask.
    eventually("it is asked between two runs", PATIENCE, || {
        between_runs(client, name);
        let before = at();
        let output = client.run(verb);
        if before.starts_with("true") && at() == before {
            answer = Some(output);
        } else if verb[0] == "pause" {
            // The run that began meanwhile may be what was paused.
            client.run(&["unpause", name]);
        }
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn policies_start_a_container_again() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        // Twice more, then it is given up; the time between doubles from a tenth of a second.
        let begin = Instant::now();
        let policy = "on-failure:2";
        let output = client.run(&[
            "run",
            "--name",
            "fails",
            "--restart",
            policy,
            "busybox",
            "sh",
            "-c",
            "echo x; exit 3",
        ]);
        output.exits(3).prints("x\n");
        eventually("it is given up", PATIENCE, || state(&client, "fails") == "exited 3 2");
        assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
        client.run(&["logs", "fails"]).ok().prints("x\nx\nx\n");
        // Its user starts it: all is forgotten, and `start -a` shows one run and its code.
        client.run(&["start", "-a", "fails"]).exits(3).prints("x\n");
        eventually("it is given up again", PATIENCE, || state(&client, "fails") == "exited 3 2");

        client
            .run(&["run", "-d", "--name", "rises", "--restart", "always", "busybox", "false"])
            .ok();
        let shown = ["ps", "--format", "{{.Names}} {{.Status}}"];
        let shown = asked_between_runs(&client, "rises", &shown).ok();
        assert!(shown.stdout.contains("rises Restarting (1) "), "{shown}");
        for (verb, says) in [
            (&["pause", "rises"][..], "is restarting, wait until the container is running"),
            (&["exec", "rises", "true"], "is restarting, wait until the container is running"),
            (&["attach", "rises"], "You cannot attach to a restarting container"),
            (&["rm", "rises"], "is restarting: stop the container before removing or force remove"),
        ] {
            asked_between_runs(&client, "rises", verb).exits(1).says(says);
        }
        client.run(&["start", "rises"]).ok();
        // Whoever waits hears of the next end; whoever stops it ends it for good.
        client.run(&["wait", "rises"]).ok().prints("1\n");
        client.run(&["stop", "rises"]).ok();
        assert!(state(&client, "rises").starts_with("exited 1 "));
        // Killed between two runs, so there is none that the signal could have ended.
        eventually("it is killed between two runs", PATIENCE, || {
            client.run(&["start", "rises"]).ok();
            between_runs(&client, "rises");
            let before = show(&client, "{{.State.Restarting}} {{.RestartCount}}", "rises");
            let killed = client.run(&["kill", "rises"]);
            let after = state(&client, "rises");
            let count = after.rsplit(' ').next().unwrap();
            let between = before == format!("true {count}");
            if between {
                killed.ok();
                assert!(after.starts_with("exited 1 "), "{after}");
            }
            between
        });
        client.run(&["restart", "rises"]).ok();
        between_runs(&client, "rises");
        client.run(&["update", "--restart", "no", "rises"]).ok();
        eventually("its new policy holds", PATIENCE, || {
            state(&client, "rises").starts_with("exited")
        });
        client.run(&["rm", "-f", "fails", "rises"]).ok();
    }
}

#[test]
fn a_stopped_container_stays_down_and_what_fails_to_start_is_not_tried_again() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let script = "trap 'exit 4' HUP; echo set; while :; do sleep 0.05; done";
    client
        .run(&["run", "-d", "--name", "cc", "--restart", "always", "busybox", "sh", "-c", script])
        .ok();
    eventually("the trap is set", PATIENCE, || client.run(&["logs", "cc"]).stdout.contains("set"));
    // Any signal is its user's wish, as with Docker.
    client.run(&["kill", "-s", "HUP", "cc"]).ok();
    eventually("it ended", PATIENCE, || state(&client, "cc") == "exited 4 0");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(state(&client, "cc"), "exited 4 0");
    let missing =
        client.run(&["run", "-d", "--name", "mm", "--restart", "always", "busybox", "/missing"]);
    missing.exits(127);
    assert_eq!(state(&client, "mm"), "created 127 0");
    client
        .run(&["run", "--rm", "--restart", "always", "busybox", "true"])
        .exits(125)
        .says("conflicting options: cannot specify both --restart and --rm");
    client.run(&["rm", "cc", "mm"]).ok();
}

#[test]
fn policies_hold_over_the_daemons_death() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    let run = |name: &str, policy: &str, script: &str| {
        client
            .run(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script])
            .ok();
    };
    run("ends", "always", "sleep 1");
    run("limited", "on-failure:1", "sleep 1; exit 5");
    run("stopped", "unless-stopped", "sleep 1000");
    run("killed", "always", "sleep 1000");
    run("loops", "always", "exit 6");
    client
        .run(&["create", "--name", "never", "--restart", "always", "busybox", "sleep", "1000"])
        .ok();
    client.run(&["stop", "-t", "0", "stopped"]).ok();
    client.run(&["kill", "killed"]).ok();
    between_runs(&client, "loops");
    let count = |name: &str| -> u32 { show(&client, "{{.RestartCount}}", name).parse().unwrap() };
    let (looped, ended) = (count("loops"), count("ends"));
    daemon.kill9();
    std::thread::sleep(Duration::from_millis(1500));
    daemon.up();
    // What ended meanwhile is judged by when it ended; what its user had stopped comes back as Docker brings it.
    eventually("what ended is up again", PATIENCE, || count("ends") > ended);
    eventually("the limit is counted on", PATIENCE, || state(&client, "limited") == "exited 5 1");
    assert_eq!(state(&client, "stopped"), "exited 137 0");
    eventually("`always` begins anew", PATIENCE, || state(&client, "killed") == "running 0 0");
    assert_eq!(state(&client, "never"), "created 0 0");
    eventually("the loop goes on", PATIENCE, || count("loops") > looped);
    client.run(&["rm", "-f", "ends", "limited", "stopped", "killed", "loops", "never"]).ok();
}

#[test]
fn without_live_restore_containers_stop_with_the_daemon_and_come_back() {
    need!(Root);
    let flags = ["--live-restore=false", "--shutdown-timeout=8"];
    let mut daemon = Daemon::with(Options {
        flags: flags.iter().map(|f| (*f).to_owned()).collect(),
        ..Options::default()
    });
    let client = daemon.gantry();
    let script = "trap 'echo bye; exit 9' TERM; echo set; while :; do sleep 0.05; done";
    for (name, policy) in [("plain", "no"), ("back", "unless-stopped")] {
        client
            .run(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script])
            .ok();
        eventually("the trap is set", PATIENCE, || {
            client.run(&["logs", name]).stdout.contains("set")
        });
    }
    assert_eq!(client.run(&["info", "-f", "{{.LiveRestoreEnabled}}"]).ok().text(), "false");
    daemon.stop();
    let shims = || -> Vec<char> {
        let all = daemon.host().processes().into_iter();
        all.filter(|(.., name)| name.starts_with("gantry-shim")).map(|(_, s, _)| s).collect()
    };
    let left = shims();
    assert!(left.iter().all(|state| matches!(state, 'Z' | 'X')), "{left:?}");
    // Their parent is gone: the host's first process hears of their end a moment later.
    eventually("they are reaped", PATIENCE, || shims().is_empty());
    daemon.up();
    assert_eq!(state(&client, "plain"), "exited 9 0");
    client.run(&["logs", "plain"]).ok().prints("set\nbye\n");
    eventually("its policy brings it back", PATIENCE, || state(&client, "back") == "running 0 0");
    client.run(&["rm", "-f", "plain", "back"]).ok();
}
