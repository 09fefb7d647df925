//! The daemon goes away and comes back; the containers do not notice.

use std::time::Duration;
use testkit::process::{PATIENCE, eventually};
use testkit::{Daemon, Leaks, need};

fn status(daemon: &Daemon, name: &str) -> String {
    daemon
        .gantry()
        .run(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name])
        .ok()
        .text()
        .to_owned()
}

#[test]
fn containers_survive_the_daemon_and_are_adopted() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    client.run(&["run", "-d", "--name", "chatty", "busybox", "sh", "-c", script]).ok();
    client.run(&["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 1; exit 44"]).ok();
    client.run(&["run", "-d", "--rm", "--name", "vanishes", "busybox", "sleep", "1"]).ok();
    client.run(&["create", "--name", "never", "busybox", "true"]).ok();
    client.run(&["run", "-d", "--name", "frozen", "busybox", "sleep", "1000"]).ok();
    client.run(&["pause", "frozen"]).ok();
    let pid = client.run(&["inspect", "-f", "{{.State.Pid}}", "chatty"]).ok().text().to_owned();
    let log = client.run(&["inspect", "-f", "{{.LogPath}}", "chatty"]).ok().text().to_owned();
    let logged = || std::fs::read_to_string(&log).unwrap().lines().count();
    daemon.kill9();
    let before = logged();
    std::thread::sleep(Duration::from_millis(1500));
    eventually("its log is written without a daemon", PATIENCE, || logged() > before + 20);
    let before = logged();
    daemon.up();
    eventually("and with the next one", PATIENCE, || logged() > before + 20);
    assert_eq!(status(&daemon, "chatty"), "running 0");
    assert_eq!(client.run(&["inspect", "-f", "{{.State.Pid}}", "chatty"]).ok().text(), pid);
    assert_eq!(status(&daemon, "ends"), "exited 44");
    assert_eq!(status(&daemon, "never"), "created 0");
    assert_eq!(status(&daemon, "frozen"), "paused 0");
    client.run(&["inspect", "vanishes"]).exits(1);
    client.run(&["exec", "chatty", "echo", "still here"]).ok().prints("still here\n");
    client.run(&["unpause", "frozen"]).ok();
    client.run(&["stop", "-t", "0", "chatty"]).ok();
    let logs = client.run(&["logs", "chatty"]).ok();
    let numbers: Vec<u32> = logs.stdout.lines().map(|l| l.parse().unwrap()).collect();
    assert!(numbers.len() > before + 20, "{} lines", numbers.len());
    assert!(
        numbers.iter().zip(1..).all(|(n, expected)| *n == expected),
        "lines are missing or doubled"
    );
    client.run(&["rm", "-f", "chatty", "ends", "never", "frozen"]).ok();
}

#[test]
fn a_stopped_daemon_leaves_its_containers_running() {
    need!(Root);
    let mut daemon = Daemon::start();
    daemon.gantry().run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
    daemon.stop();
    assert!(daemon.host().processes().iter().any(|(.., name)| name == "sleep"));
    daemon.up();
    assert_eq!(status(&daemon, "cc"), "running 0");
    daemon.gantry().run(&["rm", "-f", "cc"]).ok();
}

#[test]
fn waiting_and_following_clients_end_when_the_daemon_dies() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
    let clients = [
        client.start(&["wait", "cc"]),
        client.start(&["logs", "-f", "cc"]),
        client.start(&["attach", "cc"]),
    ];
    std::thread::sleep(Duration::from_millis(200));
    daemon.kill9();
    for one in clients {
        one.end(Duration::from_secs(10));
    }
    daemon.up();
    // What was attached and is gone holds nothing up.
    client.run(&["exec", "cc", "true"]).ok();
    client.run(&["rm", "-f", "cc"]).ok();
}

#[test]
fn a_killed_shim_is_noticed() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    for while_dead in [false, true] {
        client.run(&["run", "-d", "--name", "cc", "busybox", "sleep", "1000"]).ok();
        let shims = daemon.host().processes();
        let shim =
            shims.iter().find(|(.., name)| name.starts_with("gantry-shim")).unwrap().0.to_string();
        if while_dead {
            daemon.kill9();
        }
        daemon.host().run("kill", &["-9", &shim]).ok();
        if while_dead {
            daemon.up();
        }
        eventually("the container is known to have ended", PATIENCE, || {
            status(&daemon, "cc").starts_with("exited")
        });
        eventually("its processes are ended", PATIENCE, || {
            !daemon.host().processes().iter().any(|(.., name)| name == "sleep")
        });
        client.run(&["rm", "cc"]).ok();
    }
    // Descriptors of a daemon that was started again are not compared with the old one's.
    daemon.restart();
    let differences: Vec<String> =
        leaks.differences(&daemon).into_iter().filter(|d| !d.contains(" descriptor ")).collect();
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn one_data_root_has_one_daemon() {
    need!(Root);
    let daemon = Daemon::start();
    let mut second = daemon.host().command(testkit::program("gantryd"));
    second
        .args(["-H", &format!("unix://{}", daemon.path("second.sock").display())])
        .args(["--data-root", &daemon.data_root().display().to_string()])
        .args(["--exec-root", &daemon.path("second").display().to_string()]);
    let output = testkit::process::run(second);
    assert_ne!(output.code, 0, "{output}");
    output.says("another daemon uses the data-root");
    daemon.gantry().run(&["run", "--rm", "busybox", "true"]).ok();
}

#[test]
fn a_changed_configuration_is_taken_over_without_a_restart() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    std::fs::write(daemon.config_file(), r#"{"labels": ["shelf=3"], "debug": true}"#).unwrap();
    testkit::process::send(daemon.pid(), rustix::process::Signal::HUP);
    eventually("the label is there", PATIENCE, || {
        client.run(&["info", "--format", "{{.Labels}}"]).ok().stdout.contains("shelf=3")
    });
    let filters = ["events", "--since", "0", "--until", &crate::a_moment_from_now()];
    let told = ["--filter", "type=daemon", "--filter", "event=reload", "--format", "{{json .}}"];
    let event = client.run(&[&filters[..], &told].concat()).ok().json();
    let attributes = &event["Actor"]["Attributes"];
    assert_eq!(
        (&attributes["labels"], &attributes["debug"]),
        (&"[\"shelf=3\"]".into(), &"true".into())
    );
    // A mistake in the file is not the end of a daemon that runs, but of one that starts.
    std::fs::write(daemon.config_file(), "{ nonsense").unwrap();
    testkit::process::send(daemon.pid(), rustix::process::Signal::HUP);
    eventually("the mistake is logged", PATIENCE, || daemon.log().contains("not reloaded"));
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    daemon.stop();
    daemon.launch(&[]);
    assert!(daemon.ends_within(Duration::from_secs(10)), "it started with a broken file");
}

#[test]
fn nothing_is_left_after_being_killed_in_the_middle() {
    need!(Root);
    let mut daemon = Daemon::start();
    daemon.gantry().run(&["run", "--rm", "busybox", "true"]).ok();
    daemon.restart();
    daemon.gantry().run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let mut random = testkit::seed::Random::new(7);
    for _ in 0..10 {
        let running = daemon.gantry().start(&[
            "run",
            "--rm",
            "--name",
            "victim",
            "busybox",
            "sh",
            "-c",
            "sleep 0.1",
        ]);
        std::thread::sleep(Duration::from_millis(random.below(150) as u64));
        daemon.kill9();
        running.end(PATIENCE);
        daemon.up();
        // Without --rm having taken it away: it can be removed.
        let gone = daemon.gantry().run(&["rm", "-f", "victim"]);
        let nobody = || daemon.gantry().run(&["ps", "-aq"]).ok().text().is_empty();
        if gone.stderr.contains("is already in progress") {
            eventually("--rm has taken it away", PATIENCE, nobody);
        }
        assert!(nobody(), "{gone}");
        daemon.gantry().run(&["run", "--rm", "--name", "victim", "busybox", "true"]).ok();
    }
    let differences: Vec<String> =
        leaks.differences(&daemon).into_iter().filter(|d| !d.contains(" descriptor ")).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
