use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::poll::Token;
use crate::session::Pipes;

const SESSION: u32 = 3;
const OUTPUT: Attachment = Attachment { stdin: false, stdout: true, stderr: true };
const INPUT_ONLY: Attachment = Attachment { stdin: true, stdout: false, stderr: false };

/// A session whose process this test is.
struct Rig {
    poll: Poll,
    streams: Streams,
    stdin: std::fs::File,
    stdout: Option<std::fs::File>,
    stderr: Option<std::fs::File>,
}

impl Rig {
    fn new(ends_input: bool) -> Self {
        let poll = Poll::new().unwrap();
        let mut streams = Streams::new(poll.clone());
        let Pipes { theirs, ours } = Pipes::new(true).unwrap();
        for end in &theirs {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let [stdin, stdout, stderr] = theirs.map(std::fs::File::from);
        let mut session = Session::with_pipes(ours);
        session.ends_input = ends_input;
        streams.add(SESSION, session);
        Self { poll, streams, stdin, stdout: Some(stdout), stderr: Some(stderr) }
    }

    fn attach(&mut self, streams: Attachment) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.streams.attach(SESSION, theirs.into(), streams).unwrap();
        ours.set_nonblocking(true).unwrap();
        ours
    }

    /// Serves events until there are none.
    fn settle(&mut self) {
        for round in 0.. {
            let events = self.poll.wait(Some(Duration::ZERO)).unwrap();
            if events.is_empty() {
                return;
            }
            assert!(round < 100_000, "never at rest: {events:?}");
            for (token, events) in events {
                match token {
                    Token::Output(id, stream) => self.streams.on_output(id, stream),
                    Token::Input(id) => self.streams.on_input(id),
                    Token::Client(id) => self.streams.on_client(id, events),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Writes as much output as everybody together takes, and says how much that is.
    fn flood(&mut self) -> usize {
        let mut sum = 0;
        loop {
            let before = sum;
            while let Ok(n) = self.stdout.as_mut().unwrap().write(&[b'x'; 4096]) {
                sum += n;
            }
            self.settle();
            if sum == before {
                return sum;
            }
        }
    }
}

/// What there is to be read now.
fn drain(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _would_block = from.read_to_end(&mut bytes);
    bytes
}

#[test]
fn a_client_that_does_not_read_holds_with_bounded_memory_and_loses_nothing() {
    let mut rig = Rig::new(false);
    let slow = rig.attach(OUTPUT);
    let fast = rig.attach(OUTPUT);
    let accepted = rig.flood();
    assert!(accepted < 1 << 20, "{accepted} bytes were taken for a client that does not read");
    // Its neighbour is held up as well, and so is the other stream.
    rig.stderr.as_mut().unwrap().write_all(b"later").unwrap();
    rig.settle();
    assert!(!drain(&fast).ends_with(b"later"));
    let mut seen = Vec::new();
    while !seen.ends_with(b"later") {
        let bytes = drain(&slow);
        assert!(!bytes.is_empty(), "stuck after {}", seen.len());
        seen.extend(bytes);
        drain(&fast);
        rig.settle();
    }
    assert_eq!(seen.iter().filter(|b| **b == b'x').count(), accepted);
}

#[test]
fn what_a_client_may_not_send_does_not_spoil_the_end_of_its_output() {
    let mut rig = Rig::new(false);
    let mut client = rig.attach(OUTPUT);
    rig.stdout.as_mut().unwrap().write_all(b"out").unwrap();
    while client.write(&[b'i'; 5000]).is_ok() {}
    rig.settle();
    rig.streams.finish(SESSION);
    assert!(!rig.streams.has_clients());
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, b"\x01\0\0\0\0\0\0\x03out");
}

#[test]
fn a_hang_up_releases_at_once() {
    let mut rig = Rig::new(false);
    let slow = rig.attach(OUTPUT);
    let fast = rig.attach(OUTPUT);
    let held = rig.flood();
    drop(slow);
    rig.settle();
    let mut more = 0;
    for _ in 0..100 {
        drain(&fast);
        more += rig.flood().min(held);
    }
    assert!(more > 4 << 20, "{more}");
    assert_eq!(rig.streams.clients.len(), 1);
}

#[test]
fn input_waits_for_the_process_and_arrives_after_a_hang_up() {
    let mut rig = Rig::new(true);
    let mut client = rig.attach(INPUT_ONLY);
    let mut sent = 0;
    loop {
        let before = sent;
        while let Ok(n) = client.write(&[b'i'; 5000]) {
            sent += n;
        }
        rig.settle();
        if sent == before {
            break;
        }
    }
    drop(client);
    rig.settle();
    let mut got = 0;
    // Non-blocking: an error is an empty pipe, 0 its end.
    loop {
        let mut buffer = [0; 8192];
        match rig.stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(_) => {}
        }
        rig.settle();
    }
    assert_eq!(got, sent);
    assert!(!rig.streams.has_clients());
}

#[test]
fn clients_that_left_input_behind_are_few() {
    let mut rig = Rig::new(false);
    for _ in 0..50 {
        let mut client = rig.attach(INPUT_ONLY);
        while client.write(&[b'i'; 5000]).is_ok() {}
        drop(client);
        rig.settle();
    }
    assert!(rig.streams.clients.len() <= MAX_GONE, "{}", rig.streams.clients.len());
}

#[test]
fn a_process_that_closes_its_input_does_not_stop_the_client() {
    let mut rig = Rig::new(true);
    let mut client = rig.attach(Attachment { stdin: true, ..OUTPUT });
    rig.stdin = std::fs::File::open("/dev/null").unwrap();
    for _ in 0..200 {
        client.write_all(&[b'i'; 5000]).unwrap();
        rig.settle();
    }
    rig.stdout.as_mut().unwrap().write_all(b"out").unwrap();
    rig.settle();
    assert_eq!(drain(&client), b"\x01\0\0\0\0\0\0\x03out");
}

#[test]
fn what_was_written_before_the_end_is_given_without_waiting() {
    let mut rig = Rig::new(false);
    let client = rig.attach(OUTPUT);
    let accepted = rig.flood();
    (rig.stdout, rig.stderr) = (None, None);
    assert!(rig.streams.drain(SESSION), "all ends are closed");
    rig.streams.finish(SESSION);
    // The kernel holds it now, so there is nobody to wait for (root may have buffers as large as that takes).
    assert!(!rig.streams.has_clients());
    assert_eq!(drain(&client).iter().filter(|b| **b == b'x').count(), accepted);
}

#[test]
fn who_goes_on_writing_after_the_end_is_cut_off() {
    let mut rig = Rig::new(false);
    assert!(!rig.streams.drain(SESSION), "somebody has the streams open");
    let mut sum = 0;
    while let Ok(n) = rig.stdout.as_mut().unwrap().write(&[b'x'; 4096]).inspect_err(|e| {
        assert!(matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::BrokenPipe));
    }) {
        sum += n;
        rig.settle();
        assert!(sum <= DRAIN + (512 << 10));
    }
    assert!(rig.streams.is_drained(SESSION));
}

#[test]
fn a_session_that_is_gone_has_no_clients() {
    let mut rig = Rig::new(false);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    assert_eq!(
        rig.streams.attach(99, theirs.into(), OUTPUT).unwrap_err().kind(),
        stdx::Kind::NotFound
    );
    let size = Size { rows: 1, columns: 1 };
    assert_eq!(
        rig.streams.resize(SESSION, size).unwrap_err().to_string(),
        "the process has no terminal"
    );
}
