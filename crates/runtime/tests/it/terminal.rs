//! Containers with a terminal.

use crate::job::{Job, added};

#[test]
fn a_terminal_is_the_controlling_one_and_the_console() {
    let script = "tty; stat -c %T /dev/console >/dev/null; test -t 0 && test -t 1 && test -t 2 && echo all; \
                  stty size; echo again > /dev/tty; grep /dev/console /proc/self/mountinfo | grep -c devpts; ls /dev/pts";
    let outcome = Job::shell(script)
        .process(|p| {
            p.terminal = true;
            p.console_size = Some(oci::runtime::ConsoleSize { height: 33, width: 111 });
        })
        .run();
    let text = outcome.ok().replace('\r', "");
    assert_eq!(text, "/dev/pts/0\nall\n33 111\nagain\n1\n0     ptmx");
}

#[test]
fn a_terminal_belongs_to_its_user() {
    let outcome = Job::shell("stat -c '%u %g %a' /dev/pts/0; echo x > /dev/tty")
        .user("web")
        .process(|p| p.terminal = true)
        .run();
    assert_eq!(outcome.ok().replace('\r', ""), "33 5 620\nx");
}

#[test]
fn input_is_echoed_and_read_and_ctrl_c_interrupts() {
    let terminal = |script: &str, input: &str| {
        let job = Job::shell(script).process(|p| p.terminal = true);
        // With the end of the line: the kernel shows it apart from the word, and an echo could come between them.
        job.set("expect", "ready\r\n").set("stdin", input).run()
    };
    let outcome = terminal("echo ready; read line; echo got $line", "word\n");
    assert_eq!(outcome.ok().replace('\r', ""), "ready\nword\ngot word");
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let outcome = terminal(script, "\u{3}");
    assert_eq!((outcome.code, outcome.stdout.contains("caught")), (5, true), "{outcome:?}");
}

#[test]
fn an_added_process_can_have_a_terminal() {
    let mut process = added(&["sh", "-c", "tty; test -t 0 && echo yes"]);
    process.terminal = true;
    let outcome = Job::new(&["sleep", "100"]).set("execs", [process]).run();
    assert_eq!(outcome.execs[0].ok().replace('\r', ""), "/dev/pts/0\nyes");
}

#[test]
fn a_terminal_needs_a_devpts() {
    let outcome = Job::shell("true")
        .process(|p| p.terminal = true)
        .with(|spec| spec.mounts.retain(|m| m.destination != std::path::Path::new("/dev/pts")))
        .run();
    assert!(outcome.failed().contains("/dev/pts"), "{outcome:?}");
}
