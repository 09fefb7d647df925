//! Create, start, exec, kill, exit, and who hears of it.

use std::time::{Duration, Instant};

use oci::runtime::NamespaceKind;
use task::client::Client;
use task::protocol::{Answer, Event, FailureKind, Log, Request, Session};

use crate::rig::{self, OUTPUT, Rig, process, read_all, unframe, wait_until};

#[test]
fn a_container_runs_and_its_end_is_recorded_logged_and_told() {
    let mut rig = Rig::new();
    let create = rig.script("echo out; echo err >&2; printf unfinished; exit 42");
    let pid = rig.run(create);
    assert!(pid > 0);
    let exit = rig.exit();
    assert_eq!((exit.code, exit.oom), (42, false));
    let recorded = std::fs::read(rig.path("run/exit.json")).unwrap();
    assert_eq!(serde_json::from_slice::<task::protocol::Exit>(&recorded).unwrap(), exit);
    let mut log = rig.log();
    log.sort();
    let expected = [("stderr", "err\n"), ("stdout", "out\n"), ("stdout", "unfinished")];
    assert_eq!(log, expected.map(|(s, t)| (s.to_owned(), t.to_owned())));
    let state = rig.state();
    assert_eq!((state.pid, state.exit), (pid, Some(exit)));
    assert!(state.started_at.is_some());
    rig.shut_down();
    assert!(!rig.path("exit.durable").exists(), "a daemon took the exit");
}

#[test]
fn the_record_of_the_shim_is_there_before_the_answer() {
    let mut rig = Rig::new();
    let create = rig.script("sleep 60");
    let pid = rig.run(create);
    let record = rig.record();
    assert_eq!(record.pid, rig.shim.pid());
    assert_eq!(record.cgroup, rig.cgroup());
    wait_until("the container's pid is in the record", || {
        (rig.record().container_pid == Some(pid)).then_some(())
    });
    assert!(rig.path("run/shim.sock").exists());
    let failure = rig.refused(Request::Shutdown);
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Conflict, "the container is running")
    );
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    assert_eq!(rig.exit().code, 137);
    rig.shut_down();
}

#[test]
fn created_waits_for_start() {
    let mut rig = Rig::new();
    let mut create = rig.script("echo started");
    create.start = false;
    let Answer::Created { pid } = rig.ask(Request::Create(Box::new(create))) else { panic!() };
    assert_eq!(rig.state().started_at, None);
    let failure = rig.exec("early", process(&["/bin/true"]), false).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert_eq!(rig.log(), []);
    let Answer::Started { pid: started, at } = rig.ask(Request::Start) else { panic!() };
    assert_eq!((started, rig.state().started_at), (pid, Some(at)));
    assert_eq!(rig.refused(Request::Start).kind, FailureKind::Conflict);
    assert_eq!(rig.exit().code, 0);
    assert_eq!(rig.log().len(), 1);
    rig.shut_down();
}

#[test]
fn created_and_never_started_is_taken_back() {
    let mut rig = Rig::new();
    let mut create = rig.script("echo started");
    create.start = false;
    let Answer::Created { .. } = rig.ask(Request::Create(Box::new(create))) else { panic!() };
    rig.shut_down();
    assert_eq!(rig.log(), []);
}

#[test]
fn what_cannot_be_started_leaves_nothing() {
    let refuse = |args: &[&str], kind| {
        let mut rig = Rig::new();
        let create = rig.program(args);
        let failure = rig.refused(Request::Create(Box::new(create)));
        assert_eq!(failure.kind, kind, "{failure:?}");
        rig.ended();
        failure.message
    };
    let text = refuse(&["nonexistent"], FailureKind::ProgramNotFound);
    assert!(text.contains("exec: \"nonexistent\": executable file not found in $PATH"), "{text}");
    let text = refuse(&["/nonexistent"], FailureKind::ProgramNotFound);
    assert!(text.contains("no such file or directory"), "{text}");
    let text = refuse(&["/proc"], FailureKind::ProgramNotExecutable);
    assert!(text.contains("/proc"), "{text}");
    refuse(&[], FailureKind::Invalid);
}

#[test]
fn a_root_that_is_not_there_is_told() {
    let mut rig = Rig::new();
    let mut create = rig.script("true");
    create.rootfs = task::protocol::Rootfs::Directory(rig.path("nowhere"));
    let failure = rig.refused(Request::Create(Box::new(create)));
    assert!(failure.message.contains("nowhere"), "{failure:?}");
    rig.ended();
}

#[test]
fn a_failed_start_of_a_created_container_ends_it() {
    let mut rig = Rig::new();
    let mut create = rig.program(&["/bin/nothing"]);
    create.start = false;
    match rig.ask(Request::Create(Box::new(create))) {
        Answer::Created { .. } => {
            assert_eq!(rig.refused(Request::Start).kind, FailureKind::ProgramNotFound);
            rig.exit();
            rig.shut_down();
        }
        // A runtime may find out at once.
        Answer::Failed(failure) => {
            assert_eq!(failure.kind, FailureKind::ProgramNotFound);
            rig.ended();
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_daemon_that_never_asks_for_a_container_ends_the_shim() {
    let mut rig = Rig::new();
    assert_eq!(rig.refused(Request::State).kind, FailureKind::Conflict);
    rig.client = None;
    rig.ended();
}

#[test]
fn exec_sessions_have_their_own_streams_and_ends() {
    let mut rig = Rig::new();
    let create = rig.script("sleep 60");
    rig.run(create);
    let socket = rig.exec(
        "one",
        process(&["/bin/sh", "-c", "echo o; echo e >&2; ls /proc/self/fd; exit 7"]),
        false,
    );
    let (out, err) = unframe(&read_all(socket.unwrap()));
    // 3 is ls's own.
    assert_eq!(String::from_utf8(out).unwrap(), "o\n0\n1\n2\n3\n");
    assert_eq!(err, b"e\n");
    assert_eq!(rig.exit_of(&Session::Exec("one".into())).code, 7);
    assert_eq!(rig.log(), [], "a session's output is not the container's");
    let failure = rig.exec("two", process(&["nonexistent"]), false).unwrap_err();
    assert_eq!(failure.kind, FailureKind::ProgramNotFound);
    let _socket = rig.exec("three", process(&["/bin/sleep", "60"]), false).unwrap();
    assert_eq!(rig.state().execs.len(), 1);
    assert_eq!(
        rig.exec("three", process(&["/bin/true"]), false).unwrap_err().kind,
        FailureKind::Conflict
    );
    rig.must(Request::Kill { session: Session::Exec("three".into()), signal: 15, all: false });
    assert_eq!(rig.exit_of(&Session::Exec("three".into())).code, 143);
    let failure = rig.refused(Request::Kill {
        session: Session::Exec("three".into()),
        signal: 15,
        all: false,
    });
    assert_eq!(failure.kind, FailureKind::NotFound);
    let _socket = rig.exec("four", process(&["/bin/sleep", "60"]), false).unwrap();
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: true });
    assert_eq!(rig.exit_of(&Session::Exec("four".into())).code, 137);
    assert_eq!(rig.exit().code, 137);
    rig.shut_down();
}

#[test]
fn many_exec_sessions_leave_no_descriptor_and_no_zombie() {
    let mut rig = Rig::new();
    let create = rig.script("sleep 60");
    rig.run(create);
    rig.state(); // Answered after everything that starting does.
    let before = rig.descriptors();
    for round in 0..3 {
        let mut sockets = Vec::new();
        for n in 0..20 {
            sockets.push(rig.exec(&format!("{round}-{n}"), process(&["/bin/cat"]), true).unwrap());
        }
        assert_eq!(rig.state().execs.len(), 20);
        for socket in &sockets {
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        }
        for (n, socket) in sockets.into_iter().enumerate() {
            assert_eq!(read_all(socket), b"");
            assert_eq!(rig.exit_of(&Session::Exec(format!("{round}-{n}"))).code, 0);
        }
    }
    wait_until("all descriptors are closed", || (rig.descriptors() == before).then_some(()));
    assert_eq!(children(rig.shim.pid()).len(), 1);
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    rig.exit();
    rig.shut_down();
}

#[test]
fn a_container_goes_on_without_a_daemon_and_is_found_again() {
    let mut rig = Rig::new();
    let create = rig.script("while [ ! -e /tmp/go ]; do sleep 0.02; done; echo done; exit 5");
    let pid = rig.run(create);
    rig.client = None;
    rig.client = Some(Client::connect(&rig.path("run")).unwrap());
    assert_eq!(rig.state().pid, pid);
    let mut second = Client::connect(&rig.path("run")).unwrap();
    std::fs::write(rig.path("upper/tmp/go"), "").ok();
    let socket = rig.exec("go", process(&["/bin/sh", "-c", "echo > /tmp/go"]), false).unwrap();
    read_all(socket);
    assert_eq!(rig.exit().code, 5);
    // Every daemon hears of it.
    loop {
        if let Event::Exit { session: Session::Container, exit } =
            second.next_event(Duration::from_secs(10)).unwrap()
        {
            assert_eq!(exit.code, 5);
            break;
        }
    }
    drop(second);
    rig.shut_down();
    assert_eq!(rig.log().len(), 1);
}

#[test]
fn an_end_that_nobody_hears_of_is_written_for_good() {
    let mut rig = Rig::new();
    let create = rig.script("sleep 0.3; echo alone; exit 9");
    rig.run(create);
    rig.client = None;
    rig.ended();
    let read = |name: &str| {
        serde_json::from_slice::<task::protocol::Exit>(&std::fs::read(rig.path(name)).unwrap())
    };
    let exit = read("exit.durable").unwrap();
    assert_eq!((exit.code, &exit), (9, &read("run/exit.json").unwrap()));
    assert_eq!(rig.log(), [("stdout".to_owned(), "alone\n".to_owned())]);
}

#[test]
fn a_daemon_that_dies_between_exit_and_shutdown_has_not_taken_it() {
    let mut rig = Rig::new();
    let create = rig.script("exit 3");
    rig.run(create);
    rig.exit();
    rig.client = None;
    rig.ended();
    assert!(rig.path("exit.durable").exists());
}

#[test]
fn signals_reach_the_first_process_or_all() {
    let mut rig = Rig::new();
    let mut create =
        rig.script("trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.01; done");
    create.attachments = vec![];
    let socket = rig.run_with_client(create, OUTPUT);
    rig::read_until(&socket, "ready\n");
    rig.must(Request::Kill { session: Session::Container, signal: 10, all: false });
    assert_eq!(rig.exit().code, 4);
    rig.shut_down();
    assert_eq!(rig.log().last().unwrap().1, "got\n");
}

#[test]
fn the_shim_itself_is_not_ended_by_signals() {
    let mut rig = Rig::new();
    let create = rig.script("sleep 0.5; exit 6");
    rig.run(create);
    for signal in [1, 2, 3, 13, 14, 15, 10, 20] {
        sys::process::signal(rig.shim.pidfd(), signal).unwrap();
    }
    assert_eq!(rig.exit().code, 6);
    rig.shut_down();
}

#[test]
fn paused_stands_still() {
    let mut rig = Rig::new();
    let create = rig.script("while :; do echo tick; sleep 0.01; done");
    let socket = rig.run_with_client(create, OUTPUT);
    rig::read_until(&socket, "tick\n");
    rig.must(Request::Pause);
    rig.must(Request::Pause);
    assert!(rig.state().paused);
    assert_eq!(
        rig.exec("x", process(&["/bin/true"]), false).unwrap_err().kind,
        FailureKind::Conflict
    );
    let before = rig.path("log").metadata().unwrap().len();
    rig::pause(Duration::from_millis(100));
    // What was in the pipe when it froze may still have come.
    let after = rig.path("log").metadata().unwrap().len();
    assert!(after - before < 200, "{before} {after}");
    rig.must(Request::Resume);
    assert!(!rig.state().paused);
    wait_until("it ticks again", || {
        (rig.path("log").metadata().unwrap().len() > after + 500).then_some(())
    });
    rig.must(Request::Pause);
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    assert_eq!(rig.exit().code, 137);
    rig.shut_down();
}

#[test]
fn want_of_memory_is_told_once_and_with_the_exit() {
    let mut rig = Rig::new();
    // All at once: what grows slowly spends its time reading its own program back in, page by page.
    let mut create =
        rig.program(&["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]);
    rig::limit_memory(&mut create, 16 << 20);
    rig.run(create);
    let mut notices = 0;
    let exit = loop {
        match rig.client().next_event(Duration::from_secs(30)).unwrap() {
            Event::Oom => notices += 1,
            Event::Exit { exit, .. } => break exit,
        }
    };
    assert_eq!((exit.code, exit.oom, notices), (137, true, 1));
    rig.shut_down();
}

#[test]
fn limits_can_be_changed() {
    let mut rig = Rig::new();
    let mut create = rig.script("sleep 60");
    rig::limit_memory(&mut create, 64 << 20);
    rig.run(create);
    let mut other = rig.script("");
    rig::limit_memory(&mut other, 32 << 20);
    let resources = other.spec.linux.unwrap().resources.unwrap();
    rig.must(Request::Update(Box::new(resources)));
    let limits: Vec<_> = rig
        .cgroups()
        .iter()
        .flat_map(|dir| ["memory.limit_in_bytes", "memory.max"].map(|name| dir.join(name)))
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    assert_eq!(limits, [format!("{}\n", 32 << 20)]);
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    rig.exit();
    rig.shut_down();
}

#[test]
fn processes_that_outlive_the_first_one_are_ended_with_it() {
    // Without a pid namespace of its own the kernel ends nobody, and orphans come to the shim.
    let mut rig = Rig::new();
    let mut create = rig.script("setsid sleep 300 & setsid sleep 300 & (setsid true &); exit 8");
    create.spec.linux.as_mut().unwrap().namespaces.retain(|n| n.kind != NamespaceKind::Pid);
    create.spec.mounts.clear();
    let start = Instant::now();
    rig.run(create);
    assert_eq!(rig.exit().code, 8);
    // They had our pipes; with their end nothing had to be waited for.
    assert!(start.elapsed() < Duration::from_secs(60));
    wait_until("all are reaped", || children(rig.shim.pid()).is_empty().then_some(()));
    rig.shut_down();
}

#[test]
fn orphans_are_reaped_while_the_container_runs() {
    let mut rig = Rig::new();
    let mut create = rig.script("for i in 1 2 3 4 5; do (setsid sleep 0.05 &); done; sleep 60");
    create.spec.linux.as_mut().unwrap().namespaces.retain(|n| n.kind != NamespaceKind::Pid);
    create.spec.mounts.clear();
    rig.run(create);
    wait_until("orphans came and went", || {
        let children = children(rig.shim.pid());
        let seen = std::fs::read_to_string(format!("/proc/{}/stat", rig.shim.pid())).unwrap();
        // Children of the first process are not ours; a zombie of ours would stay in this list.
        (children.len() == 1 && !seen.is_empty()).then_some(())
    });
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: true });
    rig.exit();
    rig.shut_down();
}

#[test]
fn nothing_of_the_host_is_open_in_the_container() {
    for (args, check) in [
        (["/bin/ls", "/proc/self/fd"], "0\n1\n2\n3\n"), // 3 is ls's own.
        // Of the ignored ones only 1 to 31: the C library's posix_spawn ignores its own, 32 and 33.
        (["/bin/cat", "/proc/self/status"], "0000000\nSigCgt"),
        (["/bin/cat", "/proc/self/status"], "SigBlk:\t0000000000000000\n"),
    ] {
        let mut rig = Rig::new();
        let mut create = rig.program(&args);
        create.log = Log::None;
        let socket = rig.run_with_client(create, OUTPUT);
        let (out, _) = unframe(&read_all(socket));
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(check), "{text}");
        assert!(args[0] != "/bin/ls" || text == check, "{text}");
        rig.exit();
        rig.shut_down();
        assert!(!rig.path("log").exists());
    }
}

#[test]
fn strangers_do_not_end_a_shim() {
    use std::io::Write as _;
    let mut rig = Rig::new();
    let create = rig.script("sleep 60");
    rig.run(create);
    let fd = task::connect(&rig.path("run")).unwrap();
    let mut socket = std::os::unix::net::UnixStream::from(fd);
    socket.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert_eq!(read_all(socket), b"");
    let fd = task::connect(&rig.path("run")).unwrap();
    let mut socket = std::os::unix::net::UnixStream::from(fd);
    socket.write_all(b"\x05\0\0\0hello").unwrap();
    assert_eq!(read_all(socket), b"");
    assert!(rig.state().exit.is_none());
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    rig.exit();
    rig.shut_down();
}

/// The children of a process.
fn children(pid: i32) -> Vec<i32> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().map(|p| p.parse().unwrap()).collect()
}
