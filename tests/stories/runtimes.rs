//! Containers that other OCI runtimes run: `--runtime runc`, `--runtime crun`, and those that a daemon is told of.

use rustix::process::Signal;
use std::path::PathBuf;
use testkit::process::{PATIENCE, Running, eventually, send};
use testkit::{Cli, Client, Daemon, Host, Leaks, Options, need, reference};

/// The runtimes of this machine: `runc` of the system and `crun` of the system or of the reference.
fn runtimes(test: &str) -> Vec<(&'static str, PathBuf)> {
    let crun = Some(reference::programs().join("crun")).filter(|path| path.exists());
    let found = [("runc", need::find("runc")), ("crun", need::find("crun").or(crun))];
    let mut all = Vec::new();
    for (name, path) in found {
        match path {
            Some(path) => all.push((name, path)),
            None => need::skip(test, &format!("needs {name} (Debian's package {name})")),
        }
    }
    all
}

fn told_of(runtimes: &[(&str, PathBuf)]) -> Options {
    let flag = |(name, path): &(&str, PathBuf)| {
        vec!["--add-runtime".to_owned(), format!("{name}={}", path.display())]
    };
    let mut flags: Vec<String> =
        runtimes.iter().filter(|(name, _)| *name != "runc").flat_map(flag).collect();
    flags.extend(["--add-runtime".to_owned(), "gone=/nonexistent/runtime".to_owned()]);
    Options { flags, ..Options::default() }
}

fn inspect(client: &Client, name: &str, format: &str) -> String {
    client.run(&["inspect", "-f", format, name]).ok().text().to_owned()
}

#[test]
fn containers_run_with_other_runtimes() {
    need!(Root);
    let runtimes = runtimes("containers_run_with_other_runtimes");
    let mut daemon = Daemon::with(told_of(&runtimes));
    daemon.gantry().run(&["run", "--rm", "busybox", "true"]).ok();
    let names: Vec<&str> = runtimes.iter().map(|(name, _)| *name).collect();
    for name in &names {
        daemon.gantry().run(&["run", "--rm", "--runtime", name, "busybox", "true"]).ok();
    }
    let leaks = Leaks::snapshot(&daemon);
    // Each client at each runtime for what is short, and one of them for what takes its time.
    let clients: Vec<Cli> = [Some(Cli::Gantry), Cli::docker()].into_iter().flatten().collect();
    for (number, name) in names.iter().enumerate() {
        for cli in &clients {
            short_runs(&daemon.client(*cli), name);
        }
        long_run(&mut daemon, clients[number % clients.len()], name);
    }
    let client = daemon.gantry();
    for name in &names {
        let shown = client.run(&["info", "-f", "{{json .Runtimes}}"]).ok();
        assert!(shown.stdout.contains(&format!("\"{name}\":{{\"path\":\"/")), "{shown}");
    }
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |name: &str| client.run(&["run", "--rm", "--runtime", name, "busybox", "true"]);
        let unknown = run("nope");
        assert_eq!(unknown.code, 125, "{unknown}");
        assert!(unknown.stderr.contains("unknown or invalid runtime name: nope"), "{unknown}");
        let gone = run("gone");
        assert_eq!(gone.code, 127, "{gone}");
        let why =
            "OCI runtime create failed: fork/exec /nonexistent/runtime: no such file or directory";
        assert!(gone.stderr.contains(why), "{gone}");
    }
    leaks.check(&daemon);
}

/// Containers that end by themselves.
fn short_runs(client: &Client, runtime: &str) {
    let run = |args: &[&str]| client.run(&[&["run", "--rm", "--runtime", runtime], args].concat());
    let said = run(&["busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (3, "out\n", "err\n"));
    let ids = [
        "-u",
        "tester",
        "--group-add",
        "daemon",
        "busybox",
        "sh",
        "-c",
        "id -u; id -G; echo $HOME",
    ];
    assert_eq!(run(&ids).ok().stdout, "1000\n1000 1 10 29\n/home/tester\n", "{runtime}");
    let nobody = run(&["-u", "nobodyhere", "busybox", "true"]);
    assert!(nobody.stderr.contains("unable to find user nobodyhere"), "{nobody}");
    for (program, code) in [("nosuch", 127), ("/nosuch", 127), ("/etc", 126)] {
        let failed = run(&["busybox", program]);
        // crun has words of its own for what is no file; Docker's clients know no better either.
        let code = if (runtime, program) == ("crun", "/etc") { 125 } else { code };
        assert_eq!(failed.code, code, "{runtime}: {failed}");
    }
    let terminal = run(&["-t", "busybox", "sh", "-c", "test -t 1 && echo terminal"]).ok();
    assert_eq!(terminal.stdout, "terminal\r\n");
    let input = ["run", "--rm", "-i", "--runtime", runtime, "busybox", "cat"];
    assert_eq!(client.run_with(&input, b"typed").ok().stdout, "typed");
    let alone = run(&["--network", "none", "busybox", "ip", "-o", "link"]).ok();
    assert!(alone.stdout.contains("LOOPBACK,UP"), "{alone}");
    let confined =
        ["busybox", "sh", "-c", "grep -E 'Seccomp:|CapEff|NoNewPrivs' /proc/self/status"];
    let shown = |runtime: &str| {
        let args = ["run", "--rm", "--runtime", runtime, "--security-opt", "no-new-privileges"];
        client.run(&[&args[..], &confined[..]].concat()).ok().stdout
    };
    assert_eq!(shown(runtime), shown("gantry"), "confined as by the built-in runtime");
    let read_only = ["--read-only", "--tmpfs", "/t", "busybox", "sh", "-c", "touch /t/x; touch /x"];
    assert!(run(&read_only).stderr.contains("Read-only file system"));
}

/// A container that is looked at, changed, and found again.
fn long_run(daemon: &mut Daemon, cli: Cli, runtime: &str) {
    const SCRIPT: &str = "trap 'echo asked; exit 7' TERM; echo begun; while :; do sleep 0.05; done";
    let client = daemon.client(cli);
    let run = ["run", "-d", "--name", "long", "--runtime", runtime, "-m", "64m", "-v", "/kept"];
    client.run(&[&run[..], &["busybox", "sh", "-c", SCRIPT]].concat()).ok();
    assert_eq!(inspect(&client, "long", "{{.HostConfig.Runtime}}"), runtime);
    eventually("it has begun", PATIENCE, || client.run(&["logs", "long"]).ok().stdout == "begun\n");

    let exec = |args: &[&str]| client.run(&[&["exec"], args].concat());
    let code = exec(&["long", "sh", "-c", "echo in; echo err >&2; exit 5"]);
    assert_eq!((code.code, code.stdout.as_str(), code.stderr.as_str()), (5, "in\n", "err\n"));
    assert_eq!(exec(&["-u", "tester", "long", "id", "-un"]).ok().stdout, "tester\n");
    assert_eq!(exec(&["-t", "long", "sh", "-c", "test -t 0 && echo yes"]).ok().stdout, "yes\r\n");
    assert_eq!(
        exec(&["-w", "/etc", "-e", "A=b", "long", "sh", "-c", "pwd; echo $A"]).ok().stdout,
        "/etc\nb\n"
    );
    let missing = exec(&["long", "nosuch"]);
    assert_eq!(missing.code, 126, "{runtime}: {missing}");
    let other = [
        "run",
        "--rm",
        "--runtime",
        runtime,
        "--pid",
        "container:long",
        "--network",
        "container:long",
    ];
    let seen = client.run(&[&other[..], &["busybox", "ps"]].concat()).ok();
    assert!(seen.stdout.contains("asked; exit 7"), "{seen}");

    assert!(client.run(&["top", "long"]).ok().stdout.contains("asked; exit 7"));
    let stats =
        client.run(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "long"]).ok();
    assert!(stats.stdout.contains("/ 64MiB") && !stats.stdout.ends_with(" 0\n"), "{stats}");
    client.run(&["update", "-m", "32m", "--memory-swap", "64m", "long"]).ok();
    let limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    assert_eq!(exec(&["long", "sh", "-c", limit]).ok().stdout, "33554432\n", "{runtime}");
    client.run(&["pause", "long"]).ok();
    assert_eq!(inspect(&client, "long", "{{.State.Status}}"), "paused");
    client.run(&["unpause", "long"]).ok();

    let part = "type=volume,src=shared,dst=/m,volume-subpath=part";
    let make = [
        "run",
        "--rm",
        "-v",
        "shared:/v",
        "busybox",
        "sh",
        "-c",
        "mkdir -p /v/part; echo part >/v/part/file",
    ];
    client.run(&make).ok();
    if cli == Cli::Gantry {
        let read =
            ["run", "--rm", "--runtime", runtime, "--mount", part, "busybox", "cat", "/m/file"];
        assert_eq!(client.run(&read).ok().stdout, "part\n");
    }
    client.run(&["volume", "rm", "shared"]).ok();

    daemon.kill9();
    daemon.up();
    assert_eq!(
        inspect(&client, "long", "{{.State.Status}} {{.HostConfig.Runtime}}"),
        format!("running {runtime}")
    );
    assert_eq!(exec(&["long", "echo", "still"]).ok().stdout, "still\n");
    client.run(&["stop", "-t", "5", "long"]).ok();
    assert_eq!(
        inspect(&client, "long", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 7",
        "{runtime}"
    );
    assert!(client.run(&["logs", "long"]).ok().stdout.ends_with("asked\n"));

    client.run(&["start", "long"]).ok();
    let shim = {
        let record = std::fs::read_dir(daemon.exec_root().join("containers"))
            .unwrap()
            .flatten()
            .find_map(|entry| std::fs::read(entry.path().join("shim.json")).ok())
            .expect("a shim's record");
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        i32::try_from(record["pid"].as_i64().unwrap()).unwrap()
    };
    let shim = outer_pid(daemon, shim);
    send(shim, Signal::KILL);
    eventually("its end is noticed", PATIENCE, || {
        inspect(&client, "long", "{{.State.Status}}") == "exited"
    });
    client.run(&["start", "long"]).ok();
    client.run(&["rm", "-f", "-v", "long"]).ok();
}

/// The machine's number of a process inside the daemon's host.
fn outer_pid(daemon: &Daemon, inner: i32) -> i32 {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let is_it = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let same_host = || {
            let ns = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            ns(*pid) == ns(daemon.pid())
        };
        numbers.len() == 2 && numbers[1] == inner.to_string() && same_host()
    };
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.into_iter().find(is_it).expect("the shim is a process")
}

#[test]
fn a_daemon_is_told_of_runtimes() {
    need!(Root);
    let Some((_, runc)) =
        runtimes("a_daemon_is_told_of_runtimes").into_iter().find(|(n, _)| *n == "runc")
    else {
        return;
    };
    let mut daemon = Daemon::with(Options { bare: true, ..Options::default() });
    daemon.stop();
    let configuration = serde_json::json!({
        "runtimes": { "mine": { "path": runc, "runtimeArgs": ["--debug"] } },
        "default-runtime": "mine",
    });
    std::fs::write(daemon.config_file(), configuration.to_string()).unwrap();
    daemon.up();
    daemon.load(&testkit::images::archive());
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let info = client.run(&["info", "-f", "{{.DefaultRuntime}} {{json .Runtimes.mine}}"]).ok();
        assert!(info.stdout.starts_with("mine {\"path\":\"/"), "{info}");
        assert!(info.stdout.contains("\"runtimeArgs\":[\"--debug\"]"), "{info}");
        assert_eq!(
            client.run(&["run", "--name", "cc", "busybox", "echo", "hi"]).ok().stdout,
            "hi\n"
        );
        assert_eq!(inspect(&client, "cc", "{{.HostConfig.Runtime}}"), "mine");
        client.run(&["rm", "cc"]).ok();
    }
    daemon.gantry().run(&["create", "--name", "kept", "busybox", "true"]).ok();
    std::fs::write(daemon.config_file(), "{}").unwrap();
    send(daemon.pid(), Signal::HUP);
    eventually("the file is read again", PATIENCE, || {
        daemon.gantry().run(&["info", "-f", "{{.DefaultRuntime}}"]).ok().stdout == "gantry\n"
    });
    let gone = daemon.gantry().run(&["start", "kept"]);
    assert!(gone.stderr.contains("unknown or invalid runtime name: mine"), "{gone}");
    std::fs::write(daemon.config_file(), r#"{"default-runtime":"nosuch"}"#).unwrap();
    daemon.stop();
    daemon.launch(&[]);
    daemon.wait_end(PATIENCE);
    assert!(
        daemon.log().contains("specified default runtime 'nosuch' does not exist"),
        "{}",
        daemon.log()
    );
}

/// Another engine's own supervisor drives our runtime, by runc's command line.
#[test]
fn containerd_runs_containers_with_our_runtime() {
    need!(Root);
    if let Some(why) = reference::missing() {
        return need::skip("containerd_runs_containers_with_our_runtime", &why);
    }
    let group = format!("gantry-test-containerd-{}", std::process::id());
    /// Containers have groups beneath it, which go with them.
    struct Parent(String);
    impl Drop for Parent {
        fn drop(&mut self) {
            testkit::leaks::remove_cgroups(&self.0);
        }
    }
    let _removed_last = Parent(group.clone());
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    std::fs::write(place("config.toml"), config).unwrap();
    let host = Host::start();
    let path = format!(
        "{}:{}",
        reference::programs().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut containerd = host.command("containerd");
    containerd.env("PATH", &path).args(["--config", &place("config.toml")]);
    containerd.args(["--root", &place("root"), "--state", &place("state")]);
    containerd.args(["--address", &place("socket")]);
    let _containerd = Running::start(containerd, None);
    let ctr = |args: &[&str]| {
        let mut command = host.command("ctr");
        command.env("PATH", &path).args(["--address", &place("socket")]).args(args);
        testkit::process::run(command)
    };
    eventually("containerd answers", PATIENCE, || ctr(&["version"]).code == 0);
    ctr(&["images", "import", &testkit::images::archive().display().to_string()]).ok();
    let runtime = testkit::program("gantry-runtime").display().to_string();
    let run = |name: &str, more: &[&str], command: &[&str]| {
        let cgroup = format!("/{group}/{name}");
        let ours = ["run", "--runc-binary", &runtime, "--cgroup", &cgroup];
        let what = ["docker.io/library/busybox:latest", name];
        ctr(&[&ours[..], more, &what, command].concat())
    };
    run("one", &["--rm"], &["sh", "-c", "echo hello; exit 3"]).exits(3).says("hello\n");
    run("two", &["-d"], &["sleep", "1000"]).ok();
    let exec =
        ["tasks", "exec", "--exec-id", "more", "two", "sh", "-c", "cat /proc/1/comm; exit 4"];
    ctr(&exec).exits(4).says("sleep\n");
    ctr(&["tasks", "pause", "two"]).ok();
    ctr(&["tasks", "ls"]).ok().says("PAUSED");
    ctr(&["tasks", "resume", "two"]).ok();
    ctr(&["tasks", "ls"]).ok().says("RUNNING");
    ctr(&["tasks", "metrics", "two"]).ok().says("memory");
    ctr(&["tasks", "kill", "--signal", "SIGKILL", "two"]).ok();
    eventually("it has ended", PATIENCE, || ctr(&["tasks", "ls"]).text().contains("STOPPED"));
    ctr(&["tasks", "delete", "two"]).ok().says("exit code 137");
    ctr(&["containers", "delete", "two"]).ok();
    ctr(&["tasks", "ls", "-q"]).ok().prints("");
}
