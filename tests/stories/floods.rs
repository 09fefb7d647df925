//! Containers that take all they can get, and runtimes that die halfway: everybody else goes on, and what is told of the
//! end is right (reliability design, 3.2).

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::process::{PATIENCE, eventually};
use testkit::{Client, Daemon, Leaks, Options, need};

/// The actions of these events of a container, in their order.
fn actions(client: &Client, name: &str, event: &str) -> Vec<String> {
    let until = super::a_moment_from_now();
    let (container, event) = (format!("container={name}"), format!("event={event}"));
    let words = ["events", "--since", "1", "--until", &until, "--format", "{{.Action}}"];
    let filters = ["--filter", &container, "--filter", &event];
    let output = client.run(&[&words[..], &filters].concat()).ok();
    output.stdout.lines().map(str::to_owned).collect()
}

/// Bytes of all files in a folder that were found: one that is renamed meanwhile may be missed, or met by both names.
fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok()).map(|meta| (meta.ino(), meta.len()));
    sizes.collect::<HashMap<_, _>>().into_values().sum()
}

#[test]
fn without_a_word_a_container_has_a_limit_of_processes_and_a_bomb_ends_there() {
    need!(Root);
    let daemon = Daemon::start();
    for cli in testkit::Cli::all() {
        let client = daemon.client(cli);
        let limit = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max";
        let see = |flags: &[&str]| {
            client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", limit]].concat()).ok()
        };
        see(&[]).prints("4096\n");
        see(&["--pids-limit", "-1"]).prints("max\n");
        // A session is limited as its container is.
        client
            .run(&[
                "run",
                "-d",
                "--name",
                "cc",
                "--ulimit",
                "nofile=50:60",
                "busybox",
                "sleep",
                "1000",
            ])
            .ok();
        client
            .run(&["exec", "cc", "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c"])
            .ok()
            .prints("50\n60\n0\n");
        client.run(&["rm", "-f", "cc"]).ok();
    }
    drop(daemon);
    // The same bomb with fewer, as the machine has other things to do.
    let flags = vec!["--default-pids-limit=200".to_owned()];
    let daemon = Daemon::with(Options { flags, ..Options::default() });
    let client = daemon.gantry();
    client.run(&["run", "-d", "--name", "bystander", "busybox", "sleep", "1000"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let bomb = "b() { b | b & }; b; sleep 1000";
    client.run(&["run", "-d", "--name", "bomb", "busybox", "sh", "-c", bomb]).ok();
    let begun = Instant::now();
    client.run(&["exec", "bystander", "echo", "fine"]).ok().prints("fine\n");
    client.run(&["run", "--rm", "busybox", "echo", "fine"]).ok().prints("fine\n");
    client.run(&["stop", "-t", "0", "bomb"]).ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    client.run(&["inspect", "-f", "{{.State.ExitCode}}", "bomb"]).ok().prints("137\n");
    client.run(&["rm", "bomb"]).ok();
    leaks.check(&daemon);
}

#[test]
fn an_end_for_lack_of_memory_is_told_once() {
    need!(Root);
    let daemon = Daemon::start();
    for (cli, name) in testkit::Cli::all().into_iter().zip(["one", "two", "three"]) {
        let client = daemon.client(cli);
        let hungry = ["run", "--name", name, "-m", "16m", "--memory-swap", "16m", "busybox"];
        client.run(&[&hungry[..], &["tail", "/dev/zero"]].concat()).exits(137);
        let told = client.run(&["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", name]);
        told.ok().prints("true 137\n");
        assert_eq!(actions(&client, name, "oom"), ["oom"]);
        assert_eq!(actions(&client, name, "die"), ["die"]);
        client.run(&["rm", name]).ok();
    }
}

#[test]
fn floods_of_logs_are_bounded_and_hold_nobody_up() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let names = ["one", "two", "three", "four"];
    for name in names {
        let bounds = ["--log-opt", "max-size=1m", "--log-opt", "max-file=3"];
        let run = [&["run", "-d", "--name", name], &bounds[..], &["busybox", "yes", name]].concat();
        client.run(&run).ok();
    }
    // A reader that does not read is no brake: its pipe is full at once.
    let mut reader = std::process::Command::new(testkit::program("gantry"))
        .args(["-H", &format!("unix://{}", daemon.socket().display()), "logs", "-f", "one"])
        .env("HOME", daemon.home())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let rotated = |name: &str| {
        let path = client.run(&["inspect", "-f", "{{.LogPath}}", name]).ok();
        Path::new(path.text()).parent().unwrap().to_owned()
    };
    let folders = names.map(rotated);
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        for folder in &folders {
            let size = size(folder);
            assert!(size <= 4 << 20, "{}: {size}", folder.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Everybody wrote more than is kept, what is kept is whole, and the daemon answers.
    for (name, folder) in names.iter().zip(&folders) {
        eventually("it wrote more than one file", PATIENCE, || size(folder) > 1 << 20);
        client.run(&["logs", "--tail", "3", name]).ok().prints(&format!("{name}\n").repeat(3));
    }
    let begun = Instant::now();
    client.run(&["run", "--rm", "busybox", "echo", "fine"]).ok().prints("fine\n");
    client.run(&[&["rm", "-f"], &names[..]].concat()).ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    reader.kill().unwrap();
    reader.wait().unwrap();
    leaks.check(&daemon);
}

/// Another runtime's program that dies where its first word says: nothing half made stays.
#[test]
fn a_runtime_that_dies_midway_leaves_nothing() {
    need!(Root, Program("runc", "runc"));
    let folder = tempfile::tempdir().unwrap();
    let mut flags = Vec::new();
    for verb in ["create", "start", "delete"] {
        // Before it did anything, and after.
        for (when, script) in [("before", "kill -9 $$"), ("after", "runc \"$@\"; kill -9 $$")] {
            let path = folder.path().join(format!("{when}-{verb}"));
            let text = format!(
                "#!/bin/sh\nfor word; do case \"$word\" in {verb}) {script};; esac; done\nexec runc \"$@\"\n"
            );
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            flags.push(format!("--add-runtime={when}-{verb}={}", path.display()));
        }
    }
    let daemon = Daemon::with(Options { flags, ..Options::default() });
    let client = daemon.gantry();
    client.run(&["run", "--rm", "--runtime", "runc", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    for when in ["before", "after"] {
        for verb in ["create", "start"] {
            let runtime = format!("{when}-{verb}");
            let run = ["run", "--name", "victim", "--runtime", &runtime, "busybox", "true"];
            client.run(&run).exits(125);
            let told = client.run(&["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "victim"]);
            assert_eq!(told.ok().text(), "created 0", "{runtime}");
            client.run(&["rm", "victim"]).ok();
            let gone = || !daemon.host().processes().iter().any(|(.., name)| name.contains("runc"));
            eventually("no process of it is left", PATIENCE, gone);
        }
        // An end that is not tidied up is an end all the same.
        let runtime = format!("{when}-delete");
        client
            .run(&["run", "--rm", "--runtime", &runtime, "busybox", "sh", "-c", "exit 7"])
            .exits(7);
    }
    leaks.check(&daemon);
}
