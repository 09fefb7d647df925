//! A container's life, verb by verb.

use testkit::process::{PATIENCE, eventually};
use testkit::{Cli, Client, Daemon, need};

fn state(client: &Client, name: &str) -> String {
    client
        .run(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name])
        .ok()
        .text()
        .to_owned()
}

#[test]
fn verbs_move_a_container_through_its_states() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let verb = |args: &[&str]| client.run(args).ok();
        verb(&[
            "create",
            "--name",
            "cc",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo set; while :; do sleep 0.05; done",
        ]);
        assert_eq!(state(&client, "cc"), "created 0");
        verb(&["start", "cc"]).prints("cc\n");
        assert_eq!(state(&client, "cc"), "running 0");
        verb(&["start", "cc"]);
        verb(&["pause", "cc"]);
        assert_eq!(state(&client, "cc"), "paused 0");
        client.run(&["pause", "cc"]).exits(1).says("already paused");
        client.run(&["exec", "cc", "true"]).exits(1).says("paused");
        verb(&["unpause", "cc"]);
        // A shell needs a moment to set its trap.
        eventually("the trap is set", PATIENCE, || {
            client.run(&["logs", "cc"]).stdout.contains("set")
        });
        verb(&["stop", "cc"]);
        assert_eq!(state(&client, "cc"), "exited 9");
        verb(&["stop", "cc"]);
        verb(&["restart", "cc"]);
        assert_eq!(state(&client, "cc"), "running 0");
        verb(&["kill", "cc"]);
        verb(&["wait", "cc"]).prints("137\n");
        assert_eq!(state(&client, "cc"), "exited 137");
        verb(&["rename", "cc", "dd"]);
        client.run(&["inspect", "cc"]).exits(1);
        client.run(&["rm", "dd"]).ok().prints("dd\n");
        client.run(&["rm", "dd"]).exits(1).says("No such container: dd");
    }
}

#[test]
fn a_paused_container_can_be_removed_and_stopped() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    for end in [&["rm", "-f", "pp"][..], &["stop", "-t", "1", "pp"], &["kill", "pp"]] {
        client.run(&["run", "-d", "--name", "pp", "busybox", "sleep", "1000"]).ok();
        client.run(&["pause", "pp"]).ok();
        client.run(end).ok();
        client.run(&["rm", "-f", "pp"]).ok();
    }
}

#[test]
fn stop_waits_and_then_kills() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client
        .run(&[
            "run",
            "-d",
            "--name",
            "deaf",
            "busybox",
            "sh",
            "-c",
            "trap '' TERM; echo set; while :; do sleep 0.05; done",
        ])
        .ok();
    eventually("the trap is set", PATIENCE, || {
        client.run(&["logs", "deaf"]).stdout.contains("set")
    });
    let start = std::time::Instant::now();
    client.run(&["stop", "-t", "1", "deaf"]).ok();
    assert!((900..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(state(&client, "deaf"), "exited 137");
}

#[test]
fn the_image_says_which_signal_stops_it() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client
        .run(&[
            "run",
            "-d",
            "--name",
            "usr1",
            "full",
            "sh",
            "-c",
            "trap 'exit 21' USR1; echo set; while :; do sleep 0.05; done",
        ])
        .ok();
    eventually("the trap is set", PATIENCE, || {
        client.run(&["logs", "usr1"]).stdout.contains("set")
    });
    client.run(&["stop", "usr1"]).ok();
    assert_eq!(state(&client, "usr1"), "exited 21");
}

#[test]
fn logs_are_complete_and_can_be_cut() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client
            .run(&[
                "run",
                "--name",
                "ll",
                "busybox",
                "sh",
                "-c",
                "seq 1 20000; echo end >&2; printf unfinished",
            ])
            .ok();
        let all = client.run(&["logs", "ll"]).ok();
        let expected: String =
            (1..=20000).map(|n| format!("{n}\n")).collect::<String>() + "unfinished";
        assert!(all.stdout == expected, "{} bytes of {}", all.stdout.len(), expected.len());
        assert_eq!(all.stderr, "end\n");
        let lines = |flags: &[&str]| {
            client.run(&[&["logs"], flags, &["ll"]].concat()).ok().stdout.lines().count()
        };
        assert_eq!(
            lines(&["--tail", "100"]) + 1,
            100,
            "one of the last hundred is on standard error"
        );
        assert_eq!(lines(&["--tail", "all"]), 20001);
        assert_eq!(lines(&["--since", "1h"]), 20001);
        assert_eq!(lines(&["--until", "1h"]), 0);
        let stamped = client.run(&["logs", "-t", "--tail", "1", "ll"]).ok();
        let (stamp, rest) = stamped.stdout.split_once(' ').unwrap();
        assert!(stamp.ends_with('Z') && stamp.len() == 30 && rest == "unfinished", "{stamped}");
        client.run(&["rm", "ll"]).ok();
    }
}

#[test]
fn followed_logs_end_with_the_container() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let name = format!("followed-{cli:?}");
        let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done";
        client.run(&["run", "-d", "--name", &name, "busybox", "sh", "-c", script]).ok();
        let followers: Vec<_> = (0..3).map(|_| client.start(&["logs", "-f", &name])).collect();
        for follower in followers {
            follower.end(PATIENCE).ok().prints("1\n2\n3\n4\n5\n");
        }
    }
}

#[test]
fn wait_tells_the_code_to_everyone() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "-d", "--name", "ww", "busybox", "sh", "-c", "sleep 0.5; exit 77"]).ok();
    let waiting: Vec<_> =
        Cli::all().into_iter().map(|cli| daemon.client(cli).start(&["wait", "ww"])).collect();
    for one in waiting {
        one.end(PATIENCE).ok().prints("77\n");
    }
    client.run(&["wait", "ww"]).ok().prints("77\n");
}

#[test]
fn attach_joins_a_running_container() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let name = format!("attached-{cli:?}");
        client
            .run(&[
                "run",
                "-d",
                "-i",
                "--name",
                &name,
                "busybox",
                "sh",
                "-c",
                "read a; echo got $a; exit 8",
            ])
            .ok();
        client.run_with(&["attach", &name], b"word\n").exits(8).says("got word");
        client.run(&["create", "-i", "--name", &format!("{name}-2"), "busybox", "cat"]).ok();
        client
            .run_with(&["start", "-ai", &format!("{name}-2")], b"through\n")
            .ok()
            .prints("through\n");
    }
}

#[test]
fn exec_adds_processes() {
    need!(Root);
    let daemon = Daemon::start();
    daemon.gantry().run(&["run", "-d", "--name", "ee", "full", "sleep", "1000"]).ok();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let exec = |args: &[&str]| client.run(&[&["exec"], args].concat());
        exec(&["ee", "sh", "-c", "id -un; pwd; echo $FOO"]).ok().prints("tester\n/work\nimage\n");
        exec(&[
            "-u",
            "root",
            "-w",
            "/",
            "-e",
            "FOO=exec",
            "ee",
            "sh",
            "-c",
            "id -un; pwd; echo $FOO",
        ])
        .ok()
        .prints("root\n/\nexec\n");
        exec(&["ee", "sh", "-c", "exit 33"]).exits(33);
        // Docker 26.1 too: 127 is for `run`.
        exec(&["ee", "no-such-program"]).exits(126);
        client.run_with(&["exec", "-i", "ee", "cat"], b"typed").ok().prints("typed");
        exec(&["-d", "-u", "root", "ee", "sh", "-c", "echo done >/detached"]).ok();
        eventually("the detached process has run", PATIENCE, || {
            exec(&["ee", "cat", "/detached"]).stdout == "done\n"
        });
        exec(&["-u", "root", "ee", "rm", "/detached"]).ok();
        // Confined like the container: same cgroup, same capabilities bound.
        exec(&["-u", "root", "ee", "grep", "CapBnd", "/proc/self/status"])
            .ok()
            .says("00000000a80425fb");
        exec(&["--privileged", "-u", "root", "ee", "grep", "CapEff", "/proc/self/status"])
            .ok()
            .lacks("00000000a80425fb");
    }
    // Processes of exec end with the container, and whoever waits for them is told.
    let running = daemon.gantry().start(&["exec", "ee", "sleep", "1000"]);
    eventually("the process runs", PATIENCE, || {
        daemon.host().processes().iter().filter(|(.., name)| name == "sleep").count() == 2
    });
    daemon.gantry().run(&["kill", "ee"]).ok();
    running.end(PATIENCE).exits(137);
}

#[test]
fn lists_are_filtered_and_formatted() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let up = ["--name", "up", "--label", "k=v", "--expose", "80-81", "busybox", "sleep", "1000"];
    client.run(&[&["run", "-d"], &up[..]].concat()).ok();
    client.run(&["run", "--name", "down", "--expose", "80", "entry"]).ok();
    client.run(&["create", "--name", "new", "--label", "k=w", "busybox"]).ok();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let names = |args: &[&str]| {
            let output = client.run(&[&["ps", "--format", "{{.Names}}"], args].concat()).ok();
            let mut names: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(&[]), "up");
        assert_eq!(names(&["-a"]), "down new up");
        assert_eq!(names(&["-n", "1"]), "new");
        assert_eq!(names(&["-a", "--filter", "status=created"]), "new");
        assert_eq!(names(&["-a", "--filter", "label=k"]), "new up");
        assert_eq!(names(&["-a", "--filter", "label=k=v"]), "up");
        assert_eq!(names(&["-a", "--filter", "exited=0"]), "down");
        assert_eq!(names(&["-a", "--filter", "name=^u"]), "up");
        assert_eq!(names(&["-a", "--filter", "ancestor=entry"]), "down");
        assert_eq!(names(&["-a", "--filter", "before=down"]), "up");
        assert_eq!(names(&["-a", "--filter", "since=down"]), "new");
        assert_eq!(names(&["-a", "--filter", "expose=80"]), "up");
        assert_eq!(names(&["-a", "--filter", "expose=70-90/tcp"]), "up");
        assert_eq!(names(&["-a", "--filter", "expose=80/udp"]), "");
    }
}

#[test]
fn events_tell_a_life() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let listening = client.start(&[
        "events",
        "--filter",
        "type=container",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ]);
    eventually("the subscription is there", PATIENCE, || {
        client.run(&["info", "-f", "{{.NEventsListener}}"]).ok().text() == "1"
    });
    client.run(&["run", "--name", "story", "busybox", "sh", "-c", "exit 5"]).exits(5);
    client.run(&["start", "story"]).ok();
    client.run(&["wait", "story"]).ok();
    client.run(&["rm", "story"]).ok();
    let past = client
        .run(&[
            "events",
            "--since",
            "0",
            "--until",
            &crate::a_moment_from_now(),
            "--filter",
            "container=story",
            "--format",
            "{{.Action}}",
        ])
        .ok();
    let actions: Vec<&str> = past.stdout.lines().collect();
    assert_eq!(actions, ["create", "attach", "start", "die", "start", "die", "destroy"], "{past}");
    for cli in Cli::all() {
        let code = [
            "events",
            "--since",
            "0",
            "--until",
            &crate::a_moment_from_now(),
            "--filter",
            "event=die",
            "--filter",
            "container=story",
            "--format",
            "{{.Actor.Attributes.exitCode}}",
        ];
        assert_eq!(daemon.client(cli).run(&code).ok().stdout.lines().next(), Some("5"));
    }
    listening.signal(rustix::process::Signal::INT);
    let heard = listening.end(PATIENCE);
    assert!(
        heard.stdout.contains("create story\n") && heard.stdout.contains("destroy story\n"),
        "{heard}"
    );
}

#[test]
fn the_daemon_tells_about_itself() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in Cli::all() {
        let client = daemon.client(cli);
        client.run(&["version"]).ok().says("Server");
        let info = client.run(&["info", "--format", "{{json .}}"]).ok().json();
        assert_eq!(info["DockerRootDir"], daemon.data_root().display().to_string());
        assert_eq!(info["OSType"], "linux");
        assert!(info["SecurityOptions"].to_string().contains("seccomp"), "{info}");
    }
}
