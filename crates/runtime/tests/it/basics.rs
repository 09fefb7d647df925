//! Streams, exit codes, environment, programs that cannot be run.

use crate::job::{Job, busybox};

#[test]
fn a_program_runs_and_its_exit_code_comes_back() {
    let outcome = Job::shell("echo out; echo err >&2; exit 42").run();
    assert_eq!(
        (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
        (42, "out\n", "err\n")
    );
    // A first process cannot be killed from inside; its children can.
    assert_eq!(Job::shell("sleep 9 & kill -9 $!; wait $!").run().code, 137);
    assert_eq!(Job::new(&["true"]).run().code, 0);
}

#[test]
fn create_and_start_are_two_steps() {
    let outcome = Job::shell("echo started").set("two_steps", true).run();
    assert_eq!(outcome.ok(), "started");
}

#[test]
fn a_directory_is_a_root_file_system_too() {
    let outcome = Job::shell("ls -d /bin/busybox").set("directory", busybox()).run();
    assert_eq!(outcome.ok(), "/bin/busybox");
}

#[test]
fn standard_input_is_read() {
    assert_eq!(Job::new(&["cat"]).set("stdin", "hello").set("two_steps", true).run().ok(), "hello");
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let env = ["PATH=/bin", "A=1", "A=2", "NOTHING", "=x", "B="].map(str::to_owned).to_vec();
    let outcome = Job::new(&["env"]).process(|p| p.env = env.clone()).run();
    assert_eq!(outcome.ok(), "PATH=/bin\nA=2\nB=\nHOME=/root");
    let outcome = Job::new(&["/bin/env"]).process(|p| p.env = vec!["HOME=/x".to_owned()]).run();
    assert_eq!(outcome.ok(), "HOME=/x");
}

#[test]
fn programs_that_cannot_run_fail_with_the_words_docker_has() {
    let job = |program: &str| {
        let job = Job::new(&[program])
            .file("plain", "x")
            .file("script", "#!/no/such/interpreter\n")
            .file("garbage", "\u{1}\u{2}\u{3}");
        for name in ["script", "garbage"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(job.upper().join(name), mode).unwrap();
        }
        job
    };
    let not_found = "ProgramNotFound";
    let not_executable = "ProgramNotExecutable";
    for (program, kind, text) in [
        ("nosuch", not_found, "exec: \"nosuch\": executable file not found in $PATH"),
        ("", not_found, "exec: \"\": executable file not found in $PATH"),
        ("/nosuch", not_found, "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("./nosuch", not_found, "exec: \"./nosuch\": stat ./nosuch: no such file or directory"),
        ("/plain/x", not_found, "exec: \"/plain/x\": stat /plain/x: not a directory"),
        ("/plain", not_executable, "exec: \"/plain\": permission denied"),
        ("/", not_executable, "exec: \"/\": permission denied"),
        ("/script", not_found, "exec /script: no such file or directory"),
        ("/garbage", not_executable, "exec /garbage: exec format error"),
    ] {
        for two_steps in [false, true] {
            let outcome = job(program).set("two_steps", two_steps).run();
            assert_eq!(outcome.failed(), text);
            assert_eq!(outcome.kind.as_deref(), Some(kind), "{program:?}");
        }
    }
}

#[test]
fn the_working_directory_is_made_and_entered() {
    assert_eq!(Job::new(&["pwd"]).process(|p| p.cwd = "/a/b".to_owned()).run().ok(), "/a/b");
    let outcome =
        Job::new(&["pwd"]).file("plain", "").process(|p| p.cwd = "/plain/x".to_owned()).run();
    assert_eq!(outcome.failed(), "Cannot mkdir: /plain/x is not a directory");
}

#[test]
fn a_read_only_root_still_has_its_mounts_and_working_directory() {
    let read_only = |spec: &mut oci::runtime::Spec| {
        spec.root = Some(oci::runtime::Root { path: "rootfs".into(), readonly: true });
    };
    let job = Job::shell("touch /x 2>&1; touch /dev/shm/y && pwd").with(read_only);
    let outcome = job.process(|p| p.cwd = "/made".to_owned()).run();
    assert_eq!(outcome.ok(), "touch: /x: Read-only file system\n/made");
}
