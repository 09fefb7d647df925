//! The daemon's edges: its options, its reload, and the ways to it.

use rustix::process::Signal;
use testkit::process::{PATIENCE, eventually, send};
use testkit::{Cli, Daemon, Options, Papers, need};

#[test]
fn options_are_read_checked_and_reloaded_as_dockerd_does() {
    need!(Root);
    let daemon = Daemon::with(Options {
        bare: true,
        flags: vec![
            "--label".into(),
            "a=b".into(),
            "--containerd=/x".into(),
            "--experimental".into(),
        ],
        ..Options::default()
    });
    let says = |flags: &[&str], file: &str, want: &str| {
        let path = daemon.path("other.json");
        std::fs::write(&path, file).unwrap();
        let path = path.display().to_string();
        let args = [&["--validate", "--config-file", &path], flags].concat();
        let output = daemon.host().run(&testkit::program("gantryd").display().to_string(), &args);
        assert!(output.stderr.contains(want), "{flags:?} {file}: {}", output.stderr);
    };
    says(&[], "{}", "configuration OK");
    says(&["--nope"], "{}", "unknown flag: --nope");
    says(
        &[],
        r#"{"nope":1}"#,
        "the following directives don't match any configuration option: nope",
    );
    says(
        &["--debug=false"],
        r#"{"debug":true}"#,
        "the following directives are specified both as a flag and in the configuration file: debug: (from flag: false, \
         from file: true)",
    );
    says(
        &["--tlsverify", "--tlscert", "/no/cert"],
        "{}",
        "invalid TLS configuration: Could not load X509 key pair",
    );
    says(&["--bip", "10.1.0.1/16"], "{}", "configuration OK");
    says(&["--firewall-backend=iptables"], "{}", "not supported");
    assert!(
        daemon.log().contains("the option \\\"containerd\\\" has no effect"),
        "{}",
        daemon.log()
    );

    let client = daemon.gantry();
    let info = |what: &str| client.run(&["info", "-f", what]).ok().text().to_owned();
    assert_eq!(info("{{.Labels}} {{.ExperimentalBuild}} {{.Debug}}"), "[a=b] true false");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let file =
        r#"{"debug":true,"max-concurrent-downloads":7,"registry-mirrors":["https://m.example"]}"#;
    std::fs::write(daemon.config_file(), file).unwrap();
    send(daemon.pid(), Signal::HUP);
    eventually("the daemon has read its configuration", PATIENCE, || {
        info("{{.Debug}} {{.RegistryConfig.Mirrors}}") == "true [https://m.example/]"
    });
}

#[test]
fn certificates_let_clients_in_over_tcp() {
    need!(Root);
    let papers = Papers::make();
    let flag = |name: &str, file: &str| format!("--{name}={}", papers.file(file));
    let daemon = Daemon::with(Options {
        flags: vec![
            "-H=tcp://127.0.0.1:2376".into(),
            "--tlsverify".into(),
            flag("tlscacert", "ca.pem"),
            flag("tlscert", "server.pem"),
            flag("tlskey", "server.key"),
        ],
        ..Options::default()
    });
    for client in Cli::all().into_iter().filter_map(Cli::path) {
        let client = client.display().to_string();
        let run = |ca: &str, who: &str, args: &[&str]| {
            let tls = [
                "-H=tcp://127.0.0.1:2376".to_owned(),
                "--tlsverify".to_owned(),
                flag("tlscacert", ca),
                flag("tlscert", &format!("{who}.pem")),
                flag("tlskey", &format!("{who}.key")),
            ];
            let all: Vec<&str> =
                tls.iter().map(String::as_str).chain(args.iter().copied()).collect();
            daemon.host().run(&client, &all)
        };
        // Streams that change hands, and their ends, go through TLS as through a socket.
        run("ca.pem", "client", &["run", "--rm", "busybox", "sh", "-c", "echo safe; exit 7"])
            .exits(7)
            .prints("safe\n");
        for (ca, who) in [("ca.pem", "other"), ("other.pem", "client")] {
            let output = run(ca, who, &["ps"]);
            assert!(output.code != 0 && output.stderr.contains("certificate"), "{output}");
        }
        // Without a certificate of its own nobody gets an answer.
        let output = daemon.host().run(&client, &["-H=tcp://127.0.0.1:2376", "ps"]);
        assert_ne!(output.code, 0, "{output}");
    }
}

#[test]
fn contexts_lead_to_daemons_for_both_clients() {
    need!(Root);
    let daemon = Daemon::with(Options { bare: true, ..Options::default() });
    let host = format!("host=unix://{}", daemon.socket().display());
    let home = daemon.home();
    let run = |program: &std::path::Path, args: &[&str]| {
        let output = std::process::Command::new(program)
            .args(args)
            .env_clear()
            .env("HOME", &home)
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let gantry = testkit::program("gantry");
    let created = run(
        &gantry,
        &["context", "create", "mine", "--docker", &host, "--description", "the daemon"],
    );
    assert_eq!(created, "mine\nSuccessfully created context \"mine\"\n");
    assert_eq!(
        run(&gantry, &["context", "use", "mine"]),
        "mine\nCurrent context is now \"mine\"\n"
    );
    assert_eq!(
        run(&gantry, &["info", "-f", "{{.ClientInfo.Context}} {{.Containers}}"]),
        "mine 0\n"
    );
    for client in Cli::all().into_iter().filter_map(Cli::path) {
        // Docker's own clients read what ours wrote, and use it.
        assert_eq!(run(&client, &["context", "show"]), "mine\n");
        assert_eq!(run(&client, &["ps", "-q"]), "");
        let ls =
            run(&client, &["context", "ls", "--format", "{{.Name}} {{.Current}} {{.Description}}"]);
        assert!(ls.contains("mine true the daemon\n"), "{ls}");
    }
    let archive = daemon.path("mine.tar").display().to_string();
    run(&gantry, &["context", "export", "mine", &archive]);
    assert_eq!(
        run(&gantry, &["context", "import", "again", &archive]),
        "again\nSuccessfully imported context \"again\"\n"
    );
    assert!(run(&gantry, &["context", "rm", "mine"]).starts_with("context \"mine\" is in use"));
    assert_eq!(run(&gantry, &["context", "rm", "-f", "mine", "again"]), "mine\nagain\n");
    assert_eq!(run(&gantry, &["context", "show"]), "default\n");
    // What ssh would run over there.
    let socket = format!("unix://{}", daemon.socket().display());
    let request = "GET /_ping HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n";
    let line = format!("printf '{request}' | {} -H {socket} system dial-stdio", gantry.display());
    let answer = run(std::path::Path::new("/bin/sh"), &["-c", &line]);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");
}

#[test]
fn ssh_leads_to_the_daemon_of_another_host() {
    need!(Root);
    let daemon = Daemon::with(Options { bare: true, ..Options::default() });
    // An ssh that goes nowhere: the last argument is run here, by a shell, as on the other host.
    let folder = daemon.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let ssh = folder.join("ssh");
    let script =
        "#!/bin/sh\necho \"$@\" >>\"$HOME/ssh.log\"\nfor last; do :; done\nexec sh -c \"$last\"\n";
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let programs = testkit::program("gantry").parent().unwrap().display().to_string();
    let output = std::process::Command::new(testkit::program("gantry"))
        .args(["-H", &format!("ssh://me@far:2222{}", daemon.socket().display())])
        .args(["info", "-f", "{{.Containers}}"])
        .env_clear()
        .env("HOME", daemon.home())
        .env("PATH", format!("{}:{programs}:/usr/bin:/bin", folder.display()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{output:?}");
    let log = std::fs::read_to_string(daemon.home().join("ssh.log")).unwrap();
    assert!(log.starts_with("-o ConnectTimeout=30 -T -l me -p 2222 -- far sh -c"), "{log}");
}

/// A daemon beside the one of [`Daemon`]: its arguments, with nothing of networks.
fn second(folder: &std::path::Path, more: &[&str]) -> Vec<String> {
    let place = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("daemon.json"), "").unwrap();
    let mut args = vec![testkit::program("gantryd").display().to_string()];
    for (flag, name) in [
        ("--data-root", "data"),
        ("--exec-root", "exec"),
        ("--pidfile", "pid"),
        ("--config-file", "daemon.json"),
    ] {
        args.extend([flag.to_owned(), place(name)]);
    }
    args.extend(["--bridge=none", "--iptables=false", "--ip6tables=false"].map(str::to_owned));
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args
}

#[test]
fn a_service_manager_binds_the_socket_and_is_told_of_the_state() {
    use std::os::unix::net::{UnixDatagram, UnixListener};
    need!(Root);
    let host = testkit::Host::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bound.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let notices = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    notices.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = host.command("sh");
    // What sd_listen_fds(3) says a service manager does.
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    command.args(["-c", script, "sh"]).args(second(folder.path(), &["-H", "fd://"]));
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    command.stdin(std::os::fd::OwnedFd::from(listener));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut running = command.spawn().unwrap();
    let hear = |wanted: &str| {
        let mut text = [0; 512];
        loop {
            let length = notices.recv(&mut text).unwrap();
            if String::from_utf8_lossy(&text[..length]).contains(wanted) {
                return;
            }
        }
    };
    hear("READY=1");
    let answer = testkit::http::request(&socket, "GET", "/_ping", None).is(200);
    assert_eq!(answer.body, "OK");
    send(host.inner(&running).unwrap(), Signal::TERM);
    hear("STOPPING=1");
    assert!(running.wait().unwrap().success());
    // It is the service manager's file.
    assert!(socket.exists());
}

#[test]
fn messages_on_a_terminal_have_colours_unless_they_shall_be_raw() {
    need!(Root);
    let host = testkit::Host::start();
    for (flag, colours) in [("--raw-logs=false", true), ("--raw-logs", false)] {
        let folder = tempfile::tempdir().unwrap();
        let listen = format!("-H=unix://{}", folder.path().join("s").display());
        let args = second(folder.path(), &[&listen, flag]);
        let mut command = host.command(&args[0]);
        command.args(&args[1..]);
        let mut terminal = testkit::pty::Terminal::start(&command);
        terminal.expect(&listen["-H=".len()..]);
        terminal.send("\x03");
        let shown = terminal.end().stdout;
        assert_eq!(shown.contains("\u{1b}["), colours, "{shown:?}");
        assert_eq!(shown.contains("level=info msg="), !colours, "{shown:?}");
    }
}
