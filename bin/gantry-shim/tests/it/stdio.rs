//! Attached clients: lossless, patient with slow ones, done with those who hang up.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use task::protocol::{Attachment, FailureKind, Log, Request, Session, TerminalSize};

use crate::rig::{self, ALL, OUTPUT, Rig, process, read_all, read_until, unframe, wait_until};

#[test]
fn clients_attached_before_the_start_get_everything() {
    let mut rig = Rig::new();
    let create = rig.script("echo out; echo err >&2");
    let only_err = Attachment { stderr: true, ..Attachment::default() };
    let mut clients = rig.run_attached(create, &[OUTPUT, only_err]);
    let (err, both) = (clients.remove(1), clients.remove(0));
    assert_eq!(unframe(&read_all(both)), (b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(unframe(&read_all(err)), (Vec::new(), b"err\n".to_vec()));
    rig.exit();
    rig.shut_down();
}

#[test]
fn input_reaches_the_container_and_its_end_ends_it() {
    let mut rig = Rig::new();
    let mut create = rig.program(&["/bin/cat"]);
    (create.stdin, create.stdin_once) = (true, true);
    let mut socket = rig.run_with_client(create, ALL);
    socket.write_all(b"hello ").unwrap();
    socket.write_all(b"there").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let (out, _) = unframe(&read_all(socket));
    assert_eq!(out, b"hello there");
    assert_eq!(rig.exit().code, 0);
    rig.shut_down();
}

#[test]
fn a_lot_of_input_arrives_whole_even_when_the_client_is_gone_by_then() {
    for hang_up in [false, true] {
        let mut rig = Rig::new();
        let mut create = rig.program(&["/bin/wc", "-c"]);
        (create.stdin, create.stdin_once) = (true, true);
        let mut clients = rig.run_attached(create, &[ALL, OUTPUT]);
        let (output, mut input) = (clients.remove(1), clients.remove(0));
        let bytes = vec![b'x'; 3 << 20];
        input.write_all(&bytes).unwrap();
        if hang_up {
            drop(input);
        } else {
            input.shutdown(Shutdown::Write).unwrap();
        }
        let (out, _) = unframe(&read_all(output));
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}\n", 3 << 20));
        rig.exit();
        rig.shut_down();
    }
}

#[test]
fn input_that_stays_open_outlives_its_clients() {
    let mut rig = Rig::new();
    let mut create =
        rig.program(&["/bin/sh", "-c", "read a; echo \"got $a\"; read b; echo \"got $b\""]);
    create.stdin = true;
    let mut first = rig.run_with_client(create, ALL);
    first.write_all(b"one\n").unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    // Its input is over, its output goes on.
    assert!(read_until(&first, "got one\n").ends_with("got one\n"));
    drop(first);
    let mut second = rig.attach(Session::Container, ALL);
    second.write_all(b"two\n").unwrap();
    assert!(read_until(&second, "got two\n").ends_with("got two\n"));
    assert_eq!(rig.exit().code, 0);
    rig.shut_down();
}

#[test]
fn without_stdin_the_container_reads_nothing() {
    let mut rig = Rig::new();
    let create = rig.program(&["/bin/cat"]);
    let mut socket = rig.run_with_client(create, ALL);
    let _ignored = socket.write_all(b"ignored");
    assert_eq!(read_all(socket), b"");
    assert_eq!(rig.exit().code, 0);
    rig.shut_down();
}

#[test]
fn a_client_that_does_not_read_holds_the_container_and_its_hang_up_releases_it() {
    let mut rig = Rig::new();
    let create = rig.script("dd if=/dev/zero bs=65536 count=64 2>/dev/null; echo done >&2");
    let mut clients = rig.run_attached(
        create,
        &[
            Attachment { stdout: true, ..Attachment::default() },
            Attachment { stderr: true, ..Attachment::default() },
        ],
    );
    let (mut err, slow) = (clients.remove(1), clients.remove(0));
    err.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(
        err.read(&mut buffer).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "it went on"
    );
    let held = heap(rig.shim.pid());
    assert!(rig.state().exit.is_none());
    drop(slow);
    err.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let n = err.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"\x02\0\0\0\0\0\0\x05done\n");
    assert!(held < 1024, "{held} KiB while holding");
    rig.exit();
    rig.shut_down();
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let mut rig = Rig::new();
    let mut create = rig.script("dd if=/dev/zero bs=65536 count=64 2>/dev/null");
    create.log = Log::None;
    let mut clients = rig.run_attached(create, &[OUTPUT, OUTPUT]);
    let (fast, mut slow) = (clients.remove(1), clients.remove(0));
    let fast = std::thread::spawn(move || read_all(fast));
    let mut bytes = Vec::new();
    let mut buffer = [0; 30_000];
    loop {
        let n = slow.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..n]);
        rig::pause(Duration::from_millis(1));
    }
    assert_eq!(unframe(&bytes).0.len(), 4 << 20);
    assert_eq!(unframe(&fast.join().unwrap()).0.len(), 4 << 20);
    rig.exit();
    rig.shut_down();
}

#[test]
fn an_exit_does_not_wait_for_a_client_and_the_client_still_gets_everything() {
    let mut rig = Rig::new();
    // More than any buffer on the way but the pipe's, so that the process can end. One write: of many small ones, each
    // read alone, the pipe would not grow and the client's socket would take fewer.
    let create = rig.script("dd if=/dev/zero bs=307200 count=1 2>/dev/null");
    let late = rig.run_with_client(create, OUTPUT);
    assert_eq!(rig.exit().code, 0);
    rig.must(Request::Shutdown);
    rig::pause(Duration::from_millis(50));
    assert_eq!(unframe(&read_all(late)).0.len(), 300 << 10);
    rig.ended();
}

#[test]
fn a_terminal_echoes_resizes_and_is_raw_to_its_clients() {
    let mut rig = Rig::new();
    let mut create =
        rig.script("stty size; read line; stty size; echo \"got $line\"; ls -l /proc/self/fd/0");
    create.spec.process.as_mut().unwrap().terminal = true;
    create.spec.process.as_mut().unwrap().console_size =
        Some(oci::runtime::ConsoleSize { height: 24, width: 80 });
    (create.stdin, create.stdin_once) = (true, true);
    let mut socket = rig.run_with_client(create, ALL);
    assert_eq!(read_until(&socket, "\n"), "24 80\r\n");
    rig.must(Request::Resize {
        session: Session::Container,
        size: TerminalSize { rows: 41, columns: 133 },
    });
    socket.write_all(b"typed\n").unwrap();
    assert_eq!(read_until(&socket, "got typed\r\n"), "typed\r\n41 133\r\ngot typed\r\n");
    let rest = String::from_utf8(read_all(socket)).unwrap();
    assert!(rest.contains("/dev/pts/0"), "{rest}");
    assert_eq!(rig.exit().code, 0);
    assert!(rig.log().iter().all(|(stream, _)| stream == "stdout"));
    rig.shut_down();
}

#[test]
fn what_a_short_life_wrote_to_its_terminal_is_all_there() {
    for _ in 0..10 {
        let mut rig = Rig::new();
        let mut create = rig.script("for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done");
        create.spec.process.as_mut().unwrap().terminal = true;
        let socket = rig.run_with_client(create, OUTPUT);
        assert!(String::from_utf8(read_all(socket)).unwrap().ends_with("line 8\r\nline 9\r\n"));
        rig.exit();
        assert_eq!(rig.log().len(), 9);
        rig.shut_down();
    }
}

#[test]
fn the_end_of_input_does_not_end_a_terminal() {
    let mut rig = Rig::new();
    let mut create = rig.script("sleep 0.3; echo alive");
    create.spec.process.as_mut().unwrap().terminal = true;
    (create.stdin, create.stdin_once) = (true, true);
    let socket = rig.run_with_client(create, ALL);
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(socket), b"alive\r\n");
    assert_eq!(rig.exit().code, 0);
    rig.shut_down();
}

#[test]
fn a_container_that_closes_its_terminal_may_open_it_again() {
    let mut rig = Rig::new();
    let script = "exec </dev/null >/dev/null 2>&1; sleep 0.2; echo back >/dev/console; sleep 0.1";
    let mut create = rig.script(script);
    create.spec.process.as_mut().unwrap().terminal = true;
    let socket = rig.run_with_client(create, OUTPUT);
    let before = cpu_ticks(rig.shim.pid());
    assert_eq!(read_all(socket), b"back\r\n");
    assert!(cpu_ticks(rig.shim.pid()) - before < 10, "it must not be polled for");
    rig.exit();
    rig.shut_down();
}

#[test]
fn exec_with_a_terminal() {
    let mut rig = Rig::new();
    let create = rig.script("sleep 60");
    rig.run(create);
    let mut shell = process(&["/bin/sh", "-c", "read x; echo \"$x\"; stty size"]);
    shell.terminal = true;
    let mut socket = rig.exec("t", shell, true).unwrap();
    let session = Session::Exec("t".into());
    rig.must(Request::Resize {
        session: session.clone(),
        size: TerminalSize { rows: 7, columns: 9 },
    });
    socket.write_all(b"a\n").unwrap();
    assert_eq!(String::from_utf8(read_all(socket)).unwrap(), "a\r\na\r\n7 9\r\n");
    assert_eq!(rig.exit_of(&session).code, 0);
    let size = TerminalSize { rows: 1, columns: 1 };
    let failure = rig.refused(Request::Resize { session: Session::Container, size });
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Conflict, "the process has no terminal")
    );
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    rig.exit();
    rig.shut_down();
}

#[test]
fn attaching_and_hanging_up_leaves_nothing() {
    let mut rig = Rig::new();
    let mut create = rig.script("while :; do echo x; done");
    create.stdin = true;
    create.log = Log::None;
    rig.run(create);
    rig.state(); // Answered after everything that starting does.
    let before = rig.descriptors();
    for round in 0..300 {
        let mut socket = rig.attach(Session::Container, ALL);
        if round % 3 == 0 {
            socket.write_all(&[b'y'; 5000]).unwrap();
        }
        if round % 2 == 0 {
            let mut some = [0; 100];
            socket.read_exact(&mut some).unwrap();
        }
    }
    // The script never reads: what eight clients left unread may still wait.
    wait_until("all descriptors are closed", || (rig.descriptors() <= before + 8).then_some(()));
    rig.must(Request::Kill { session: Session::Container, signal: 9, all: false });
    rig.exit();
    rig.shut_down();
}

#[test]
fn bytes_of_every_kind_are_logged() {
    let mut rig = Rig::new();
    let create = rig.script(r#"printf 'a\000b\tc"<>&\\\n'; printf 'é€\n'; dd if=/dev/zero bs=40000 count=1 2>/dev/null; echo"#);
    rig.run(create);
    rig.exit();
    let log: Vec<_> = rig.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(log[0], "a\0b\tc\"<>&\\\n");
    assert_eq!(log[1], "é€\n");
    let sizes: Vec<_> = log[2..].iter().map(String::len).collect();
    assert_eq!(sizes, [16384, 16384, 40000 - 2 * 16384 + 1]);
    rig.shut_down();
}

#[test]
fn a_log_that_cannot_be_written_does_not_hold_the_container() {
    let mut rig = Rig::new();
    let mut create = rig.script("echo one; echo two; exit 2");
    create.log = Log::JsonFile {
        path: "/dev/full".into(),
        max_size: None,
        max_files: 1,
        attributes: Vec::new(),
    };
    rig.run(create);
    assert_eq!(rig.exit().code, 2);
    rig.must(Request::Shutdown);
    let complaint =
        wait_until("it is noted", || std::fs::read_to_string(rig.path("run/shim.log")).ok());
    assert!(complaint.contains("write /dev/full: No space left on device"), "{complaint}");
}

/// Resident memory that is of no file, in KiB.
fn heap(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time, in clock ticks.
pub(crate) fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
