//! Logs: every driver, what `logs` shows of it, and what survives the daemon.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};
use testkit::process::{PATIENCE, eventually};
use testkit::{Cli, Daemon, need};

/// The text after the head of every message in a datagram socket.
fn messages(socket: &UnixDatagram, seen: &mut Vec<String>) {
    let mut buffer = [0; 65536];
    // One at a time: while somebody writes there would be no end.
    if let Ok(n) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        seen.push(text.split_once("]: ").map_or(text.as_str(), |(_, t)| t).trim_end().to_owned());
    }
}

#[test]
fn files_are_read_back_with_all_options() {
    need!(Root);
    let daemon = Daemon::start();
    let script = "echo one; echo two >&2; sleep 0.1; echo three; printf end";
    for cli in Cli::all() {
        let client = daemon.client(cli);
        for driver in ["json-file", "local"] {
            let name = format!("{driver}-log");
            client
                .run(&[
                    "run",
                    "--name",
                    &name,
                    "--network",
                    "none",
                    "--log-driver",
                    driver,
                    "busybox",
                    "sh",
                    "-c",
                    script,
                ])
                .ok();
            client.run(&["logs", &name]).ok().prints("one\nthree\nend");
            client.run(&["logs", "--tail", "1", &name]).prints("end");
            client.run(&["logs", "-n", "2", &name]).prints("three\nend");
            client.run(&["logs", "--tail", "0", &name]).prints("");
            client.run(&["logs", "--tail", "x", &name]).prints("one\nthree\nend");
            client.run(&["logs", "--since", "1h", "-f", &name]).prints("one\nthree\nend");
            client.run(&["logs", "--since", "2100-01-01", &name]).prints("");
            client.run(&["logs", "--until", "2020-01-01T00:00:00Z", &name]).prints("");
            client
                .run(&["logs", "--since", "zz", &name])
                .exits(1)
                .says("invalid value for \"since\"");
            let stamped = client.run(&["logs", "-t", &name]).ok();
            let first = stamped.stdout.lines().next().unwrap_or_default();
            assert!(
                first.ends_with("Z one")
                    && first.len() == "2026-01-02T03:04:05.000000000Z one".len(),
                "{stamped}"
            );
            // From the moment of a record on, and up to it.
            let moment = &first[..30];
            client.run(&["logs", "--since", moment, &name]).prints("one\nthree\nend");
            client.run(&["logs", "--until", moment, &name]).prints("one\n");
            client.run(&["rm", &name]).ok();
        }
        client
            .run(&[
                "run",
                "--name",
                "no",
                "--network",
                "none",
                "--log-driver",
                "none",
                "busybox",
                "echo",
                "hi",
            ])
            .ok();
        client
            .run(&["logs", "no"])
            .exits(1)
            .says("configured logging driver does not support reading");
        client.run(&["rm", "no"]).ok();
        let options = [
            "--label",
            "a=1",
            "--env",
            "E=x y",
            "--log-opt",
            "labels=a",
            "--log-opt",
            "env=E",
            "--log-opt",
            "tag={{.Name}}/{{.ImageName}}",
        ];
        let run = [
            &["run", "--name", "at", "--network", "none"][..],
            &options,
            &["busybox", "echo", "hi"],
        ]
        .concat();
        client.run(&run).ok();
        client.run(&["logs", "--details", "at"]).ok().prints("E=x+y,a=1,tag=at%2Fbusybox hi\n");
        client.run(&["inspect", "-f", "{{json .HostConfig.LogConfig}}", "at"]).prints(
            "{\"Type\":\"json-file\",\"Config\":{\"env\":\"E\",\"labels\":\"a\",\"tag\":\"{{.Name}}/{{.ImageName}}\"}}\n",
        );
        client.run(&["rm", "at"]).ok();
        let refused = |options: &[&str], says: &str| {
            let run =
                [&["run", "--rm", "--network", "none"][..], options, &["busybox", "true"]].concat();
            client.run(&run).exits(125).says(says);
        };
        refused(&["--log-opt", "x=1"], "unknown log opt 'x' for json-file log driver");
        refused(&["--log-opt", "mode=bad"], "logger: logging mode not supported: bad");
        refused(
            &["--log-driver", "nonsense"],
            "error looking up logging plugin nonsense: plugin \"nonsense\" not found",
        );
        refused(&["--log-driver", "awslogs"], "logging driver \"awslogs\" is not supported");
        refused(&["--log-driver", "gelf"], "gelf-address is a required parameter");
        refused(
            &["--log-opt", "tag={{.Nope}}"],
            "failed to initialize logging driver: template: log-tag:1:2: executing \"log-tag\" at <.Nope>",
        );
        refused(
            &["--log-opt", "max-file=0"],
            "failed to initialize logging driver: max-file cannot be less than 1",
        );
        client.run(&["info", "-f", "{{json .Plugins.Log}} {{.LoggingDriver}}"]).prints(
            "[\"fluentd\",\"gelf\",\"journald\",\"json-file\",\"local\",\"syslog\"] json-file\n",
        );
    }
}

#[test]
fn what_is_rotated_is_compressed_and_followed() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    let run = [
        "run",
        "-d",
        "--name",
        "rot",
        "--network",
        "none",
        "--log-opt",
        "max-size=100k",
        "--log-opt",
        "max-file=50",
        "--log-opt",
        "compress=true",
        "busybox",
        "sh",
        "-c",
        "sleep 0.3; seq 1 20000",
    ];
    let id = client.run(&run).ok().text().to_owned();
    let followed = client.run(&["logs", "-f", "rot"]).ok();
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(followed.stdout == expected, "{} of {} bytes", followed.stdout.len(), expected.len());
    let folder = daemon.data_root().join("containers").join(&id);
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&folder).expect("list the folder").flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    eventually("rotated files are compressed", PATIENCE, || {
        let names = names();
        names.iter().any(|n| n.ends_with(".2.gz")) && !names.iter().any(|n| n.ends_with(".2"))
    });
    assert!(client.run(&["logs", "rot"]).ok().stdout == expected);
    client.run(&["logs", "--tail", "15000", "rot"]).ok().says("5001");
    client.run(&["rm", "rot"]).ok();
}

#[test]
fn what_is_shipped_is_late_but_not_lost() {
    need!(Root);
    let mut daemon = Daemon::start();
    let path = daemon.path("syslog.sock");
    let address = format!("syslog-address=unixgram://{}", path.display());
    let listen = || {
        let socket = UnixDatagram::bind(&path).expect("listen");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set a time limit");
        socket
    };
    let mut socket = listen();
    let client = daemon.gantry();
    let script = "for i in $(seq 1 60); do echo line $i; sleep 0.05; done";
    let run = |name: &str, rm: &str, script: &str| {
        let args = [
            "run",
            "-d",
            rm,
            "--name",
            name,
            "--network",
            "none",
            "--log-driver",
            "syslog",
            "--log-opt",
            &address,
            "busybox",
            "sh",
            "-c",
            script,
        ];
        client.run(&args.into_iter().filter(|a| !a.is_empty()).collect::<Vec<_>>()).ok();
    };
    run("sy", "", script);
    // How many lines are noted to have arrived: those before a place in the cache, and so many after it.
    let id = client.run(&["inspect", "-f", "{{.Id}}", "sy"]).ok().text().to_owned();
    let cache = daemon.data_root().join("containers").join(id).join("local-logs/container.log");
    let noted = || {
        let cursor = std::fs::read_to_string(cache.with_extension("log.cursor")).ok()?;
        let mut numbers = cursor.split(' ').skip(1).map(|n| n.parse::<usize>().unwrap());
        let (offset, more) = (numbers.next()?, numbers.next()?);
        let text = std::fs::read_to_string(&cache).unwrap();
        Some(text[..offset].lines().count() + more)
    };
    let mut seen = Vec::new();
    eventually("something arrives, and that is noted", PATIENCE, || {
        messages(&socket, &mut seen);
        seen.len() > 3 && noted().is_some()
    });
    // The daemon is killed while it ships; the container writes on, and ends, without one.
    daemon.kill9();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        messages(&socket, &mut seen);
    }
    let lines = |from: usize, to: usize| -> Vec<String> {
        (from..=to).map(|n| format!("line {n}")).collect()
    };
    let before = seen.len();
    assert!(before < 60, "{before}");
    assert_eq!(seen, lines(1, before), "lost or out of order");
    let known = noted().unwrap();
    assert!((1..=before).contains(&known), "{known} of {before} are noted");
    daemon.up();
    eventually("the rest arrives", PATIENCE, || {
        messages(&socket, &mut seen);
        seen.iter().any(|line| line == "line 60")
    });
    // What comes twice was delivered at once and not noted yet: one read of the cache, of as many lines as were there.
    assert_eq!(seen[before..], lines(known + 1, 60), "lost, out of order or repeated for nothing");
    // Read back from the cache.
    client.run(&["logs", "--tail", "2", "sy"]).ok().prints("line 59\nline 60\n");
    client
        .run(&["inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}", "sy"])
        .prints("syslog \n");

    // A destination that is away, and a container that is removed before it is back.
    drop(socket);
    run("away", "--rm", "echo first; echo second");
    eventually("it is gone", PATIENCE, || {
        !client
            .run(&["ps", "-aq", "--filter", "name=away"])
            .stdout
            .contains(|c: char| c.is_ascii_hexdigit())
    });
    daemon.kill9();
    std::fs::remove_file(&path).expect("remove the socket");
    socket = listen();
    daemon.up();
    seen.clear();
    eventually("the removed container's log arrives", PATIENCE, || {
        messages(&socket, &mut seen);
        seen.len() >= 2
    });
    assert_eq!(seen, ["first", "second"]);
    let shipping = daemon.data_root().join("shipping");
    eventually("nothing is left of it", PATIENCE, || {
        std::fs::read_dir(&shipping).is_ok_and(|mut entries| entries.next().is_none())
    });
    client.run(&["rm", "sy"]).ok();
}

#[test]
fn a_blocked_destination_holds_the_container_until_the_daemon_dies() {
    need!(Root);
    let mut daemon = Daemon::start();
    // Takes connections and never reads.
    let listener = {
        let path = daemon.path("stuck.sock");
        std::os::unix::net::UnixListener::bind(path).expect("listen")
    };
    let address = format!("syslog-address=unix://{}", daemon.path("stuck.sock").display());
    let client = daemon.gantry();
    let run = [
        "run",
        "-d",
        "--name",
        "held",
        "--network",
        "none",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "--log-opt",
        "cache-max-size=200k",
        "--log-opt",
        "cache-max-file=3",
        "--log-opt",
        "cache-compress=false",
        "busybox",
        "sh",
        "-c",
        "seq 1 1000000; echo done; sleep 1000",
    ];
    client.run(&run).ok();
    let (_stuck, _) = listener.accept().expect("a connection");
    std::thread::sleep(Duration::from_secs(2));
    client.run(&["logs", "--tail", "1", "held"]).ok().lacks("done");
    // Held, it can be looked at, and stopped; let go, it writes on.
    client.run(&["exec", "held", "true"]).ok();
    daemon.kill9();
    std::thread::sleep(Duration::from_secs(2));
    eventually("it has written everything", PATIENCE, || {
        let folder = daemon.data_root().join("containers");
        let logs = std::fs::read_dir(folder).expect("list containers").flatten();
        logs.map(|c| c.path().join("local-logs/container.log"))
            .any(|log| std::fs::read_to_string(log).is_ok_and(|text| text.ends_with("done\n")))
    });
    daemon.up();
    client.run(&["logs", "--tail", "1", "held"]).ok().prints("done\n");
    client.run(&["rm", "-f", "held"]).ok();
}
