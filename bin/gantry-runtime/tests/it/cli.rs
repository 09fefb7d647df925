//! What is ours alone: texts, files, what is refused.

use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::{Bundle, OURS, cgroups};

#[test]
fn run_gives_output_and_exit_code_and_leaves_nothing() {
    let bundle = Bundle::new(&["sh", "-c", "echo hello; exit 7"]);
    let output = bundle.run(&["run", "-b", bundle.bundle(), &bundle.id]);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(7), &b"hello\n"[..]),
        "{output:?}"
    );
    assert_eq!(bundle.error(&["state", &bundle.id]), "container does not exist");
    assert!(cgroups(&bundle.id).is_empty());
}

#[test]
fn a_life_in_single_steps() {
    let bundle = Bundle::new(&["sh", "-c", "echo begins; exec sleep 100"]);
    bundle.create();
    let state: Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    assert_eq!(
        (state["status"].as_str(), state["annotations"]["a"].as_str()),
        (Some("created"), Some("b"))
    );
    assert_eq!(state["bundle"].as_str(), Some(bundle.bundle()));
    assert!(state["pid"].as_i64().unwrap() > 0);
    assert_eq!(bundle.output(), "", "it runs before it is started");
    assert_eq!(
        bundle.error(&["create", "-b", bundle.bundle(), &bundle.id]),
        "gantry-runtime create failed: container with given ID already exists"
    );
    bundle.ok(&["start", &bundle.id]);
    bundle.becomes("running");
    assert_eq!(bundle.error(&["start", &bundle.id]), "cannot start an already running container");
    assert!(bundle.error(&["delete", &bundle.id]).ends_with("that is not stopped: running"));
    assert!(bundle.ok(&["list"]).contains("running"));
    let pids: Vec<i64> =
        serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert_eq!(pids, [state["pid"].as_i64().unwrap()]);
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    assert_eq!(
        bundle.error(&["exec", &bundle.id, "true"]),
        "exec failed: cannot exec in a paused container (use --ignore-paused to override)"
    );
    bundle.ok(&["resume", &bundle.id]);
    bundle.becomes("running");
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.becomes("stopped");
    assert_eq!(bundle.error(&["kill", &bundle.id, "KILL"]), "container not running");
    assert_eq!(bundle.error(&["start", &bundle.id]), "cannot start a container that has stopped");
    bundle.ok(&["delete", &bundle.id]);
    assert_eq!(bundle.error(&["delete", &bundle.id]), "container does not exist");
    assert_eq!(bundle.ok(&["list", "-q"]), "");
    assert_eq!(bundle.output(), "begins\n");
}

#[test]
fn a_created_container_can_be_deleted_unstarted() {
    let bundle = Bundle::new(&["sh", "-c", "echo ran"]);
    bundle.create();
    bundle.ok(&["delete", &bundle.id]);
    assert_eq!(bundle.output(), "");
}

#[test]
fn exec_adds_processes() {
    let bundle = Bundle::new(&["sleep", "100"]);
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    assert_eq!(
        bundle.ok(&["exec", "-e", "A=5", "--cwd", "/tmp", &bundle.id, "sh", "-c", "echo $A $PWD"]),
        "5 /tmp\n"
    );
    assert_eq!(bundle.run(&["exec", &bundle.id, "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(bundle.ok(&["exec", "-u", "12:34", &bundle.id, "id"]), "uid=12 gid=34 groups=34\n");
    assert_eq!(
        bundle.error(&["exec", &bundle.id, "nosuch"]),
        "exec failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH"
    );
    let process = json!({ "args": ["echo", "from file"], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    let file = bundle.path.join("process.json");
    std::fs::write(&file, process.to_string()).unwrap();
    assert_eq!(
        bundle.ok(&["exec", "--process", file.to_str().unwrap(), &bundle.id]),
        "from file\n"
    );
}

#[test]
fn a_failed_create_leaves_nothing() {
    let bundle = Bundle::new(&["nosuch"]);
    assert_eq!(
        bundle.error(&["create", "-b", bundle.bundle(), &bundle.id]),
        "gantry-runtime create failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH"
    );
    assert_eq!(bundle.error(&["state", &bundle.id]), "container does not exist");
    assert!(cgroups(&bundle.id).is_empty());
    let missing = bundle.error(&["create", "-b", "/nonexistent", &bundle.id]);
    assert!(missing.starts_with("gantry-runtime create failed: bundle /nonexistent"), "{missing}");
}

#[test]
fn an_error_of_exec_itself_is_told_by_start() {
    let bundle = Bundle::new(&["/tmp/script"]);
    let script = bundle.path.join("rootfs/tmp/script");
    std::fs::write(&script, "#!/nosuch\n").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    bundle.create();
    assert_eq!(
        bundle.error(&["start", &bundle.id]),
        "unable to start container process: exec /tmp/script: no such file or directory"
    );
    bundle.becomes("stopped");
}

#[test]
fn a_pid_file_is_written() {
    let bundle = Bundle::new(&["sleep", "100"]);
    let file = bundle.path.join("pid");
    let output = std::fs::File::create(bundle.path.join("output")).unwrap();
    let words = [
        "run",
        "-d",
        "--bundle",
        bundle.bundle(),
        "--pid-file",
        file.to_str().unwrap(),
        &bundle.id,
    ];
    let status =
        bundle.command(&words).stdout(output.try_clone().unwrap()).stderr(output).status().unwrap();
    assert!(status.success());
    let pid: i32 = std::fs::read_to_string(file).unwrap().parse().unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn a_terminal_is_handed_to_the_console_socket() {
    let bundle = Bundle::with(&["sh", "-c", "tty; sleep 100"], |config| {
        config["process"]["terminal"] = json!(true);
    });
    let path = bundle.path.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap().to_owned();
    let words = ["create", "-b", bundle.bundle(), "--console-socket", &socket, &bundle.id];
    let output = std::fs::File::create(bundle.path.join("output")).unwrap();
    let mut child =
        bundle.command(&words).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let (mut name, mut fds) = ([0; 64], Vec::new());
    sys::scm::recv_with_fds(&stream, &mut name, &mut fds).unwrap();
    assert!(child.wait().unwrap().success(), "{}", bundle.output());
    bundle.ok(&["start", &bundle.id]);
    let mut text = [0; 64];
    let n = rustix::io::read(&fds[0], &mut text).unwrap();
    assert_eq!(&text[..n], b"/dev/pts/0\r\n");
}

#[test]
fn the_program_protects_itself_from_containers() {
    let before = std::fs::read(OURS).unwrap();
    // The image's program is the runtime itself (CVE-2019-5736); what runs then can be opened for writing by nobody.
    let bundle = Bundle::new(&["sleep", "100"]);
    bundle.create();
    let pid =
        std::fs::read_to_string(bundle.path.join("state").join(&bundle.id).join("state.json"))
            .unwrap();
    let state: Value = serde_json::from_str(&pid).unwrap();
    let exe = format!("/proc/{}/exe", state["pid"]);
    // While it runs the kernel says ETXTBSY before it looks at the mount; the mount counts afterwards.
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let program = rustix::fs::open(exe, flags, rustix::fs::Mode::empty()).unwrap();
    assert!(sys::mount::is_read_only(&program).unwrap());
    bundle.ok(&["start", &bundle.id]);
    assert_eq!(std::fs::read(OURS).unwrap(), before);
}

#[test]
fn what_is_missing_says_so() {
    let bundle = Bundle::new(&["true"]);
    let output = bundle.run(&["checkpoint", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not supported"));
    assert!(bundle.error(&["state", "../x"]).starts_with("invalid container ID format"));
    assert!(bundle.error(&["kill", &bundle.id, "NOPE"]).starts_with("unknown signal"));
    assert!(bundle.ok(&["features"]).contains("ociVersionMax"));
}
