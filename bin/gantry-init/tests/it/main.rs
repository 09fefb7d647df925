//! The program as a container would have it: as process 1 of a pid namespace.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

use std::process::{Command, Output};

const INIT: &str = env!("CARGO_BIN_EXE_gantry-init");

#[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
fn as_first_process(arguments: &[&str]) -> Output {
    // unshare needs root, as containers do.
    Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", INIT])
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn check(arguments: &[&str], code: i32, stdout: &str) {
    let output = as_first_process(arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), text.as_ref()), (Some(code), stdout), "{output:?}");
}

#[test]
fn the_childs_exit_code_is_its_own() {
    check(&["--", "sh", "-c", "echo $PPID; exit 42"], 42, "1\n");
    check(&["--", "sh", "-c", "kill -KILL $$"], 137, "");
    check(&["--", "sh", "-c", "kill -SEGV $$"], 139, "");
}

#[test]
fn programs_that_cannot_run_have_the_shells_codes() {
    check(&["nosuch"], 127, "");
    check(&["/nosuch"], 127, "");
    check(&["/etc/passwd"], 126, "");
    check(&["/"], 126, "");
}

#[test]
fn signals_are_passed_on() {
    // Process 1 has no handler of its own for it, so without being passed on it would do nothing.
    check(
        &[
            "--",
            "sh",
            "-c",
            "trap 'echo caught; exit 3' TERM; kill -TERM 1; while :; do sleep 0.05; done",
        ],
        3,
        "caught\n",
    );
    check(
        &[
            "--",
            "sh",
            "-c",
            "trap 'echo user; exit 4' USR1; kill -USR1 1; while :; do sleep 0.05; done",
        ],
        4,
        "user\n",
    );
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in 1 2 3 4 5; do (true & exec true) ; done; (sleep 0.1 &); sleep 0.5; \
                  grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    check(&["--", "sh", "-c", script], 0, "0\n");
}

#[test]
fn what_the_child_starts_ends_with_it() {
    let started = std::time::Instant::now();
    check(&["--", "sh", "-c", "sleep 60 >/dev/null 2>&1 & exit 5"], 5, "");
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn signals_are_at_their_defaults_in_the_child() {
    check(
        &["--", "sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2"],
        0,
        "0000000000000000\n0000000000000000\n",
    );
}

#[test]
fn as_hello_it_greets() {
    let link = std::env::temp_dir().join(format!("gantry-init-{}-hello", std::process::id()));
    std::os::unix::fs::symlink(INIT, &link).unwrap();
    #[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
    let output = Command::new(&link).output().unwrap();
    std::fs::remove_file(&link).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("Hello from Gantry!") && text.contains(" 4. "),
        "{text}"
    );
}
