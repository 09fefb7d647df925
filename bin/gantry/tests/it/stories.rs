//! What happens between the program, the user's terminal and the daemon.

use super::fake::{Answer, Ends, Fake, ID, frame};
use super::program::{Which, command, run, words};
use super::terminal::Session;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

fn json(status: u16, body: &str) -> Answer {
    Answer::Json(status, body.to_owned())
}

fn ok() -> Answer {
    json(204, "")
}

fn created() -> (String, Answer) {
    (
        "POST /containers/create".into(),
        Answer::Json(201, format!(r#"{{"Id":"{ID}","Warnings":["careful"]}}"#)),
    )
}

fn on(route: &str, answer: Answer) -> (String, Answer) {
    (route.replace("{ID}", ID), answer)
}

/// A container that says hello, then echoes nothing until its input ends or has an X, and exits with 3.
fn container(sends: Vec<u8>, framed: bool, ends: Ends) -> Vec<(String, Answer)> {
    vec![
        created(),
        on("POST /containers/{ID}/attach", Answer::Attach { sends, framed, ends }),
        on("POST /containers/{ID}/wait", Answer::Wait(r#"{"StatusCode":3}"#.into())),
        on("POST /containers/{ID}/start", ok()),
        on("POST /containers/{ID}/kill", ok()),
        on("POST /containers/{ID}/resize", json(200, "")),
    ]
}

fn lines(fake: &Fake) -> Vec<String> {
    fake.requests().into_iter().map(|r| r.line.replace(ID, "ID")).collect()
}

#[test]
fn run_attaches_before_it_starts_and_exits_as_the_container_did() {
    let directory = tempfile::tempdir().unwrap();
    let mut output = frame(1, b"out\n");
    output.extend(frame(2, b"err\n"));
    let fake = Fake::start(directory.path(), container(output, true, Ends::AtOnce));
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("run --rm busybox true"));
    assert_eq!((outcome.code, outcome.out.as_str()), (3, "out\n"));
    assert_eq!(outcome.err, "WARNING: careful\nerr\n");
    let mut lines = lines(&fake);
    assert_eq!(lines[0], "POST /containers/create");
    assert_eq!(lines[3], "POST /containers/ID/start");
    lines[1..3].sort();
    assert_eq!(lines[1], "POST /containers/ID/attach?stderr=1&stdout=1&stream=1");
    assert_eq!(lines[2], "POST /containers/ID/wait?condition=removed");
    assert_eq!(lines.len(), 4, "nothing else is asked: {lines:?}");
    assert_eq!(fake.all_requests().len(), 4, "not even the version");
}

#[test]
fn input_is_passed_on_and_its_end_too() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), container(Vec::new(), true, Ends::WithInput));
    let mut child = command(Which::Gantry, directory.path(), &fake, &words("run -i busybox cat"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "some text\n".repeat(20_000);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(fake.input(), text.as_bytes());
}

#[test]
fn input_from_a_file_is_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input");
    std::fs::write(&file, "from a file").unwrap();
    let fake = Fake::start(directory.path(), container(Vec::new(), true, Ends::WithInput));
    let mut command = command(Which::Gantry, directory.path(), &fake, &words("run -i busybox cat"));
    let status = command.stdin(std::fs::File::open(&file).unwrap()).status().unwrap();
    assert_eq!((status.code(), fake.input().as_slice()), (Some(3), b"from a file".as_slice()));
}

#[test]
fn signals_are_passed_on_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), container(frame(1, b"ready\n"), true, Ends::OnX));
    let mut child =
        command(Which::Gantry, directory.path(), &fake, &words("run -i busybox sleep 9"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    for (signal, name) in
        [(rustix::process::Signal::TERM, "TERM"), (rustix::process::Signal::USR1, "USR1")]
    {
        rustix::process::kill_process(pid, signal).unwrap();
        fake.until(&format!("POST /containers/{ID}/kill?signal={name}"));
    }
    child.stdin.take().unwrap().write_all(b"X").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_terminal_is_raw_has_a_size_and_is_put_right_again() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), container(b"hello\r\n".to_vec(), false, Ends::OnX));
    let mut session =
        Session::start(Which::Gantry, directory.path(), &fake, &words("run -it busybox sh"));
    session.until("hello");
    fake.until(&format!("POST /containers/{ID}/resize?h=24&w=80"));
    let modes = rustix::termios::tcgetattr(&session.master).unwrap().local_modes;
    assert!(!modes.contains(rustix::termios::LocalModes::ICANON));
    // Control-C is a key like any other.
    session.types(b"a\x03\r");
    sys::tty::set_size(&session.master, sys::tty::Size { rows: 50, columns: 100 }).unwrap();
    let pid = rustix::process::Pid::from_child(&session.child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    fake.until(&format!("POST /containers/{ID}/resize?h=50&w=100"));
    session.types(b"X");
    let master = session.master.try_clone().unwrap();
    let (code, shown) = session.finish();
    assert_eq!((code, shown.as_str()), (3, "WARNING: careful\r\nhello\r\n"));
    assert_eq!(fake.input(), b"a\x03\rX");
    let modes = rustix::termios::tcgetattr(&master).unwrap().local_modes;
    assert!(
        modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
    );
}

/// The user's story on Docker's client is the same, where that is installed.
#[test]
fn keys_detach() {
    let directory = tempfile::tempdir().unwrap();
    let mut routes = container(b"hello\r\n".to_vec(), false, Ends::WithInput);
    let inspect = format!(
        r#"{{"Id":"{ID}","State":{{"Status":"running","Running":true}},"Config":{{"Tty":true,"OpenStdin":true}},"HostConfig":{{}}}}"#
    );
    routes.push(on("GET /containers/x/json", Answer::Json(200, inspect.clone())));
    routes.push(on("GET /containers/{ID}/json", Answer::Json(200, inspect)));
    routes.push(on("POST /containers/x/attach", routes[1].1.clone()));
    routes.push(on("POST /containers/x/wait", routes[2].1.clone()));
    routes.push(on("POST /containers/x/exec", json(201, r#"{"Id":"e"}"#)));
    routes.push(on("POST /exec/e/start", routes[1].1.clone()));
    let check = |line: &str, keys: &[u8], code: i32, last: &str| {
        for which in [Which::AsDocker, Which::Docker] {
            if which == Which::Docker && !std::path::Path::new(super::program::DOCKER).exists() {
                eprintln!("skipped: no docker client");
                continue;
            }
            let fake = Fake::start(directory.path(), routes.clone());
            let mut session = Session::start(which, directory.path(), &fake, &words(line));
            session.until("hello");
            session.types(keys);
            let (got, shown) = session.finish();
            assert_eq!(got, code, "{which:?} {line}: {shown}");
            assert!(shown.ends_with(last), "{which:?} {line}: {shown:?}");
        }
    };
    check("run -it busybox", b"a\x10\x11", 0, "hello\r\n");
    check("run -it --detach-keys ctrl-a,b busybox", b"\x10\x11\x01b", 0, "hello\r\n");
    check("start -ai x", b"\x10\x11", 0, "hello\r\n");
    check("attach x", b"\x10\x11", 1, "read escape sequence\r\n");
    check("attach --detach-keys ctrl-x x", b"\x18", 1, "read escape sequence\r\n");
    check("exec -it x sh", b"\x10\x11", 1, "read escape sequence\r\n");
}

#[test]
fn exec_exits_as_its_process_did() {
    let directory = tempfile::tempdir().unwrap();
    let attach = |framed, sends| Answer::Attach { sends, framed, ends: Ends::AtOnce };
    let routes = vec![
        on("POST /containers/x/exec", json(201, r#"{"Id":"e"}"#)),
        on("POST /exec/e/start", attach(true, frame(1, b"42\n"))),
        on("GET /exec/e/json", json(200, r#"{"ID":"e","Running":false,"ExitCode":4}"#)),
    ];
    let fake = Fake::start(directory.path(), routes);
    let outcome =
        run(Which::Gantry, directory.path(), &fake, &words("exec -e A=b -u root -w /x x echo 42"));
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (4, "42\n", ""));
    let body: serde_json::Value = serde_json::from_str(&fake.requests()[0].body).unwrap();
    assert_eq!(body["Cmd"], serde_json::json!(["echo", "42"]));
    assert_eq!(
        (body["User"].as_str(), body["WorkingDir"].as_str(), &body["Env"]),
        (Some("root"), Some("/x"), &serde_json::json!(["A=b"]))
    );
}

#[test]
fn exit_codes_of_what_cannot_start() {
    let directory = tempfile::tempdir().unwrap();
    let check = |message: &str, code: i32| {
        let mut routes = container(Vec::new(), true, Ends::AtOnce);
        routes[3].1 = Answer::Json(400, serde_json::json!({ "message": message }).to_string());
        let fake = Fake::start(directory.path(), routes);
        let outcome = run(Which::Gantry, directory.path(), &fake, &words("run busybox x"));
        assert_eq!(outcome.code, code, "{message}");
        let want = format!(
            "WARNING: careful\ngantry: Error response from daemon: {message}\n\nRun 'gantry run --help' for more information\n"
        );
        assert_eq!(outcome.err, want);
    };
    check("exec: \"x\": executable file not found in $PATH: unknown", 127);
    check("exec: \"/x\": stat /x: no such file or directory: unknown", 127);
    check("exec: \"/x\": permission denied: unknown", 126);
    check("exec: \"/\": is a directory: unknown", 126);
    check("no more memory", 125);
}

#[test]
fn an_image_that_is_not_there_is_pulled() {
    let directory = tempfile::tempdir().unwrap();
    // The daemon has it after the pull; this one never does, so the second create fails too.
    let progress = "{\"status\":\"Pulling from library/busybox\",\"id\":\"latest\"}\r\n\
        {\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"abc\"}\r\n\
        {\"status\":\"Status: Downloaded newer image for busybox:latest\"}\r\n";
    let routes = vec![
        on("POST /containers/create", json(404, r#"{"message":"No such image: busybox:latest"}"#)),
        on("POST /images/create", json(200, progress)),
    ];
    let fake = Fake::start(directory.path(), routes);
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("run busybox"));
    assert_eq!(outcome.code, 125);
    assert_eq!(
        outcome.err,
        "Unable to find image 'busybox:latest' locally\nlatest: Pulling from library/busybox\nStatus: Downloaded newer \
         image for busybox:latest\ngantry: Error response from daemon: No such image: busybox:latest\n\nRun 'gantry run \
         --help' for more information\n"
    );
    assert_eq!(
        lines(&fake),
        [
            "POST /containers/create",
            "POST /images/create?fromImage=docker.io%2Flibrary%2Fbusybox&tag=latest",
            "POST /containers/create"
        ]
    );
}

#[test]
fn a_pull_that_fails_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let stream = r#"{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}"#;
    let fake = Fake::start(directory.path(), vec![on("POST /images/create", json(200, stream))]);
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("pull -q x"));
    assert_eq!(
        (outcome.code, outcome.out.as_str(), outcome.err.as_str()),
        (1, "", "manifest unknown\n")
    );
}

#[test]
fn an_older_daemon_is_spoken_to_in_its_own_version() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::with_version(
        directory.path(),
        "1.40",
        vec![on("GET /containers/json", json(200, "[]"))],
    );
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("ps -q"));
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    let versions: Vec<(String, String)> =
        fake.all_requests().into_iter().map(|r| (r.line, r.version)).collect();
    assert_eq!(versions[1].0, "HEAD /_ping");
    assert_eq!(versions[2], ("GET /containers/json".into(), "1.40".into()));
}

#[test]
fn who_reads_no_more_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let output = frame(1, &vec![b'x'; 1 << 20]);
    let fake = Fake::start(directory.path(), container(output, true, Ends::OnX));
    let mut child =
        command(Which::Gantry, directory.path(), &fake, &words("run busybox yes")).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(141), "WARNING: careful\n"));
}

#[test]
fn a_reader_that_is_slow_does_not_keep_signals() {
    let directory = tempfile::tempdir().unwrap();
    let output = frame(1, &vec![b'x'; 1 << 20]);
    let fake = Fake::start(directory.path(), container(output, true, Ends::OnX));
    // Nobody reads: the pipe is full after 64 KiB.
    let mut child =
        command(Which::Gantry, directory.path(), &fake, &words("run busybox yes")).spawn().unwrap();
    fake.until(&format!("POST /containers/{ID}/start"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    fake.until(&format!("POST /containers/{ID}/kill?signal=INT"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), Vec::new());
    let check = |line: &str, code: i32, err: &str| {
        let outcome = run(Which::Gantry, directory.path(), &fake, &words(line));
        assert_eq!((outcome.code, outcome.err.as_str()), (code, err), "{line}");
    };
    let text =
        "Cannot connect to the Docker daemon at unix:///nope.sock. Is the docker daemon running?";
    check("-H unix:///nope.sock ps", 1, &format!("{text}\n"));
    check(
        "-H unix:///nope.sock run x",
        125,
        &format!("gantry: {text}\n\nRun 'gantry run --help' for more information\n"),
    );
    check(
        "-H tcp://127.0.0.1:1 ps",
        1,
        "Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?\n",
    );
    let start = "Failed to initialize: unable to resolve docker endpoint:";
    check("-H foo://x ps", 1, &format!("{start} invalid bind address format: foo://x\n"));
}

#[test]
fn commands_that_are_not_there_yet_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), Vec::new());
    let check = |line: &str, name: &str| {
        let outcome = run(Which::Gantry, directory.path(), &fake, &words(line));
        let want = format!("gantry: 'docker {name}' is not there yet (see docs/compat.tsv)\n");
        assert_eq!((outcome.code, outcome.err), (1, want), "{line}");
    };
    check("build .", "build");
    check("plugin ls", "plugin ls");
    check("image save a", "image save");
    check("secret create x", "secret create");
    check("compose up -d", "compose up");
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("frob"));
    assert_eq!(
        outcome.err,
        "gantry: unknown command: gantry frob\n\nRun 'gantry --help' for more information\n"
    );
}

#[test]
fn a_connection_that_breaks_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), vec![on("GET /info", Answer::Drop)]);
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("info -f {{.ID}}"));
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.starts_with("error during connect: "), "{}", outcome.err);
}

#[test]
fn cidfile_has_the_id_and_goes_when_nothing_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cid");
    let fake = Fake::start(directory.path(), vec![created()]);
    let outcome =
        run(Which::Gantry, directory.path(), &fake, &words("create --cidfile cid busybox"));
    assert_eq!((outcome.code, std::fs::read_to_string(&path).unwrap().as_str()), (0, ID));
    let outcome =
        run(Which::Gantry, directory.path(), &fake, &words("create --cidfile cid busybox"));
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("container ID file found"), "{}", outcome.err);
    std::fs::remove_file(&path).unwrap();
    let fake = Fake::start(
        directory.path(),
        vec![on("POST /containers/create", json(409, r#"{"message":"in use"}"#))],
    );
    run(Which::Gantry, directory.path(), &fake, &words("create --cidfile cid busybox"));
    assert!(!path.exists());
}

#[test]
fn load_sends_the_archive() {
    let directory = tempfile::tempdir().unwrap();
    let archive = vec![7_u8; 1_000_000];
    std::fs::write(directory.path().join("archive.tar"), &archive).unwrap();
    let answer = json(200, r#"{"stream":"Loaded image: busybox:latest\n"}"#);
    let fake = Fake::start(directory.path(), vec![on("POST /images/load", answer)]);
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("load -i archive.tar"));
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "Loaded image: busybox:latest\n"));
    assert_eq!(fake.requests()[0].line, "POST /images/load?quiet=1");
    assert_eq!(fake.requests()[0].body.len(), archive.len());
}

#[test]
fn logs_are_taken_apart() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = frame(1, b"one\n");
    log.extend(frame(2, b"two\n"));
    let log = String::from_utf8(log).unwrap();
    let routes = vec![
        on("GET /containers/x/json", json(200, r#"{"Id":"abc","Config":{"Tty":false}}"#)),
        on("GET /containers/abc/logs", Answer::Json(200, log)),
        on("GET /containers/t/json", json(200, r#"{"Id":"ttt","Config":{"Tty":true}}"#)),
        on("GET /containers/ttt/logs", json(200, "raw\r\n")),
    ];
    let fake = Fake::start(directory.path(), routes);
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("logs -n 5 x"));
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (0, "one\n", "two\n"));
    assert_eq!(fake.requests()[1].line, "GET /containers/abc/logs?stderr=1&stdout=1&tail=5");
    let outcome = run(Which::Gantry, directory.path(), &fake, &words("logs t"));
    assert_eq!(outcome.out, "raw\r\n");
}
