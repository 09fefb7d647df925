//! Things that happen at the same time, and supervisors that die: the daemon that runs notices and puts it right.

use std::path::Path;
use std::time::{Duration, Instant};
use testkit::http::request;
use testkit::process::{PATIENCE, Running, eventually};
use testkit::seed::Random;
use testkit::{Client, Daemon, Leaks, failpoints, need};

/// The statuses of the same request, sent by so many at once.
fn at_once(socket: &Path, count: usize, method: &str, path: &str) -> Vec<u16> {
    let path = format!("/v1.45{path}");
    let barrier = std::sync::Barrier::new(count);
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            request(socket, method, &path, None).status
        };
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    statuses
}

fn shims(daemon: &Daemon) -> Vec<i32> {
    let all = daemon.host().processes().into_iter();
    all.filter(|(_, state, name)| name.starts_with("gantry-shim") && !matches!(state, 'Z' | 'X'))
        .map(|(pid, ..)| pid)
        .collect()
}

fn state(client: &Client, name: &str) -> String {
    let format = "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}";
    client.run(&["inspect", "-f", format, name]).ok().text().to_owned()
}

/// Differences but for descriptors, which are another daemon's after a restart.
fn left(leaks: &Leaks, daemon: &Daemon) -> Vec<String> {
    leaks.differences(daemon).into_iter().filter(|d| !d.contains(" descriptor ")).collect()
}

#[test]
fn of_many_that_ask_the_same_one_does_it() {
    need!(Root);
    let daemon = Daemon::start();
    let (client, socket) = (daemon.gantry(), daemon.socket());
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    client.run(&["create", "--name", "one", "busybox", "sleep", "1000"]).ok();
    let one_of = |first: u16, others: u16| [&[first][..], &[others; 7]].concat();
    assert_eq!(at_once(&socket, 8, "POST", "/containers/one/start"), one_of(204, 304));
    assert_eq!(shims(&daemon).len(), 1);
    assert_eq!(at_once(&socket, 8, "POST", "/containers/one/restart?t=0"), [204; 8]);
    assert_eq!(at_once(&socket, 8, "POST", "/containers/one/pause"), one_of(204, 409));
    assert_eq!(at_once(&socket, 8, "POST", "/containers/one/unpause"), one_of(204, 409));
    // All want it down and it is: whoever came in time waits for the end, whoever came later finds it so.
    let stopped = at_once(&socket, 8, "POST", "/containers/one/stop?t=0");
    assert!(stopped[0] == 204 && stopped.iter().all(|s| matches!(s, 204 | 304)), "{stopped:?}");
    client.run(&["start", "one"]).ok();
    let killed = at_once(&socket, 8, "POST", "/containers/one/kill");
    assert!(killed[0] == 204 && killed.iter().all(|s| matches!(s, 204 | 409)), "{killed:?}");
    client.run(&["start", "one"]).ok();
    let removed = at_once(&socket, 8, "DELETE", "/containers/one?force=1");
    assert!(
        removed[0] == 204 && removed[1..].iter().all(|s| matches!(s, 404 | 409)),
        "{removed:?}"
    );
    // A name that was taken back and forth is free again.
    client.run(&["create", "--name", "one", "busybox"]).ok();
    let socket = &socket;
    let renamed: Vec<u16> = std::thread::scope(|scope| {
        let to = |n: usize| {
            move || {
                let path = format!("/v1.45/containers/one/rename?name=two{n}");
                request(socket, "POST", &path, None).status
            }
        };
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(to(n))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(renamed.contains(&204), "{renamed:?}");
    let names = client.run(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    client.run(&["rm", names.text()]).ok();
    for name in ["one", "two0", "two1", "two2", "two3", "two4", "two5", "two6", "two7"] {
        client.run(&["create", "--name", name, "busybox"]).ok();
        client.run(&["rm", name]).ok();
    }
    leaks.check(&daemon);
}

#[test]
fn whoever_removes_or_kills_while_it_starts_is_obeyed() {
    need!(Root);
    let daemon = Daemon::start();
    let (client, socket) = (daemon.gantry(), daemon.socket());
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let mut random = Random::new(11);
    for round in 0..12 {
        client.run(&["create", "--name", "victim", "busybox", "sleep", "1000"]).ok();
        let starting = {
            let socket = socket.clone();
            let ask = move || request(&socket, "POST", "/v1.45/containers/victim/start", None);
            std::thread::spawn(move || ask().status)
        };
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        let (method, path) = match round % 3 {
            0 => ("DELETE", "/v1.45/containers/victim?force=1"),
            1 => ("POST", "/v1.45/containers/victim/kill"),
            _ => ("POST", "/v1.45/containers/victim/stop?t=0"),
        };
        let other = request(&socket, method, path, None);
        let started = starting.join().unwrap();
        assert!(matches!(started, 204 | 404 | 409), "{started}");
        assert!(matches!(other.status, 204 | 304 | 409), "{other:?}");
        if round % 3 == 0 {
            client.run(&["inspect", "victim"]).exits(1);
        } else if other.status == 204 {
            assert!(state(&client, "victim").starts_with("exited 137"), "{round}");
        }
        client.run(&["rm", "-f", "victim"]).ok();
    }
    leaks.check(&daemon);
}

#[test]
fn sessions_end_with_their_container() {
    need!(Root);
    let daemon = Daemon::start();
    let (client, socket) = (daemon.gantry(), daemon.socket());
    // The container does not go when it is asked to; sessions are still let in until it is killed.
    let deaf = ["run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; sleep 1000"];
    for how in ["stop", "kill", "shim"] {
        client.run(&deaf).ok();
        let session = client.start(&["exec", "deaf", "sleep", "1000"]);
        eventually("it runs", PATIENCE, || {
            let ids = client.run(&["inspect", "-f", "{{.ExecIDs}}", "deaf"]).ok();
            ids.text().len() > 60
        });
        let ids = client.run(&["inspect", "-f", "{{index .ExecIDs 0}}", "deaf"]).ok();
        let session_id = ids.text().to_owned();
        match how {
            "stop" => {
                let stopping = client.start(&["stop", "-t", "1000", "deaf"]);
                client.run(&["exec", "deaf", "echo", "still"]).ok().prints("still\n");
                client.run(&["kill", "deaf"]).ok();
                stopping.end(PATIENCE).ok();
            }
            "kill" => drop(client.run(&["kill", "deaf"]).ok()),
            _ => {
                let shim = shims(&daemon)[0].to_string();
                daemon.host().run("kill", &["-9", &shim]).ok();
            }
        }
        let begun = Instant::now();
        assert_eq!(session.end(PATIENCE).code, 137, "{how}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{how}: {:?}", begun.elapsed());
        eventually("the container has ended", PATIENCE, || {
            state(&client, "deaf").starts_with("exited 137")
        });
        let exec = request(&socket, "GET", &format!("/v1.45/exec/{session_id}/json"), None);
        let exec = exec.is(200).json();
        assert_eq!((&exec["Running"], &exec["ExitCode"]), (&false.into(), &137.into()), "{how}");
        client.run(&["rm", "deaf"]).ok();
    }
}

#[test]
fn a_shim_that_dies_at_any_step_leaves_nothing_to_a_daemon_that_goes_on() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let points: Vec<String> =
        failpoints::all().into_iter().filter(|p| p.starts_with("shim.")).collect();
    assert!(points.len() >= 4, "{points:?}");
    for point in points {
        daemon.stop();
        daemon.up_with(&[("GANTRY_FAILPOINTS".to_owned(), format!("{point}=kill"))]);
        let run = ["run", "--name", "victim", "-v", "/volume", "busybox", "sh", "-c", "exit 7"];
        let output = client.run(&run);
        let told = state(&client, "victim");
        if point.starts_with("shim.create.") {
            output.exits(125).says("shim ended unexpectedly");
            assert!(told.starts_with("created 128 "), "{point}: {told}");
        } else if point == "shim.exit.before-record" {
            output.exits(137);
            assert!(told.contains("shim was killed"), "{point}: {told}");
        } else {
            // What was recorded counts.
            output.exits(7);
        }
        let until = super::a_moment_from_now();
        let id = client.run(&["inspect", "-f", "container={{.Id}}", "victim"]).ok();
        let events = ["events", "--since", "1", "--until", &until, "--format", "{{.Action}}"];
        let filter = ["--filter", "event=die", "--filter", id.text()];
        let events = client.run(&[&events[..], &filter].concat());
        let died = usize::from(!point.starts_with("shim.create."));
        assert_eq!(events.ok().stdout.lines().count(), died, "{point}");
        client.run(&["rm", "-v", "victim"]).ok();
        let differences = left(&leaks, &daemon);
        assert!(differences.is_empty(), "{point}:\n{}", differences.join("\n"));
    }
}

#[test]
fn a_shim_that_dies_at_any_moment_is_noticed_at_once() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    client.run(&["run", "-d", "--name", "bystander", "busybox", "sleep", "1000"]).ok();
    let bystander = shims(&daemon);
    let leaks = Leaks::snapshot(&daemon);
    let mut random = Random::new(5);
    for round in 0..12 {
        let words = ["run", "-d", "--name", "victim", "busybox", "sleep", "1000"];
        let running: Running = client.start(&words);
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        // Its children have its name, too, until they execute something; it was there first.
        let found = || shims(&daemon).into_iter().filter(|pid| !bystander.contains(pid)).min();
        eventually("there is a shim", PATIENCE, || found().is_some());
        let shim = found().unwrap_or_default();
        daemon.host().run("kill", &["-9", &shim.to_string()]);
        let output = running.end(PATIENCE);
        assert!(matches!(output.code, 0 | 125), "{round}: {output}");
        let begun = Instant::now();
        eventually("it is known to have ended", PATIENCE, || {
            let told = state(&client, "victim");
            told.starts_with("exited 137") || told.starts_with("created ")
        });
        assert!(begun.elapsed() < Duration::from_secs(5), "{round}: {:?}", begun.elapsed());
        // Its name, its address and its place among cgroups are free at once.
        client.run(&["start", "victim"]).ok();
        client.run(&["rm", "-f", "victim"]).ok();
        eventually("its shim is gone", PATIENCE, || shims(&daemon) == bystander);
    }
    // Nor does a container that stands still go on without one.
    client.run(&["run", "-d", "--name", "victim", "busybox", "sleep", "1000"]).ok();
    client.run(&["pause", "victim"]).ok();
    let shim = shims(&daemon).into_iter().find(|pid| !bystander.contains(pid)).unwrap();
    daemon.host().run("kill", &["-9", &shim.to_string()]).ok();
    eventually("the paused one has ended", PATIENCE, || {
        state(&client, "victim").starts_with("exited 137")
    });
    client.run(&["rm", "victim"]).ok();
    leaks.check(&daemon);
}

#[test]
fn a_shim_that_hangs_is_ended_with_its_container() {
    need!(Root);
    let mut daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    for name in ["own", "adopted"] {
        client.run(&["run", "-d", "--name", name, "busybox", "sleep", "1000"]).ok();
    }
    // One that this daemon did not start itself.
    daemon.restart();
    client.run(&["rm", "-f", "own"]).ok();
    client.run(&["run", "-d", "--name", "own", "busybox", "sleep", "1000"]).ok();
    for shim in shims(&daemon) {
        daemon.host().run("kill", &["-STOP", &shim.to_string()]).ok();
    }
    let begun = Instant::now();
    let removing = ["own", "adopted"].map(|name| client.start(&["rm", "-f", name]));
    for one in removing {
        one.end(PATIENCE).ok();
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // What the machine's first process has not waited for yet has ended.
    let lives = |(_, state, name): &(i32, char, String)| name == "sleep" && *state != 'Z';
    assert!(!daemon.host().processes().iter().any(lives));
    let differences = left(&leaks, &daemon);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
