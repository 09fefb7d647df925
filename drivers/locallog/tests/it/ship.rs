//! Shipping from real files: over rotations, failures, and the end of whoever ships.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use locallog::{Options, Writer};
use logging::driver::Format;
use logging::ship::{Job, Shipping, Watcher};
use logging::{Entry, Record, Shipper, Sink as _, Stream, Undelivered};
use stdx::time::Timestamp;

#[derive(Debug, Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<u32>>>,
    away: Arc<AtomicBool>,
    held: Arc<Mutex<Vec<bool>>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Shipper for Server {
    fn ship(&mut self, entries: &[Entry]) -> Result<(), Undelivered> {
        // Half of a batch arrives.
        let away = self.away.load(Ordering::SeqCst);
        let taken = if away { entries.len() / 2 } else { entries.len() };
        let number = |e: &Entry| std::str::from_utf8(&e.line).unwrap().parse::<u32>().unwrap();
        self.seen.lock().unwrap().extend(entries[..taken].iter().map(number));
        if away {
            return Err(Undelivered { delivered: taken, error: stdx::Error::internal("away") });
        }
        Ok(())
    }

    fn retry_wait(&self) -> Duration {
        Duration::from_millis(20)
    }
}

impl Watcher for Server {
    fn tell(&self, what: &str) {
        self.told.lock().unwrap().push(what.to_owned());
    }
    fn hold(&self, hold: bool) {
        self.held.lock().unwrap().push(hold);
    }
    fn done(&self) {}
}

fn put(writer: &mut Writer, number: u32) {
    let time = Timestamp::from_unix(1_000 + i64::from(number), 0);
    let line = number.to_string();
    let stream = Stream::Stdout;
    writer.write(&Record { stream, time, line: line.as_bytes(), partial: false }).unwrap();
}

fn ship(path: &Path, server: &Server, max_files: u32) -> Shipping {
    let job = Job {
        log: path.to_owned(),
        format: Format::Local,
        max_files,
        open: |_, path, query| locallog::open(path, query),
        shipper: Box::new(server.clone()),
    };
    Shipping::start(job, Arc::new(server.clone()), true).unwrap()
}

fn eventually(what: &str, mut question: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !question() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn everything_arrives_once_whoever_ends_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = Server::default();
    let options = Options { path: path.clone(), max_size: Some(2_000), max_files: 100 };
    let mut writer = Writer::open(options).unwrap();
    let mut next = 0;
    for round in 0..4 {
        let shipping = ship(&path, &server, 100);
        for _ in 0..200 {
            put(&mut writer, next);
            next += 1;
            if next % 7 == 0 {
                writer.flush().unwrap();
            }
            server.away.store(round == 2 && next % 50 < 25, Ordering::SeqCst);
        }
        writer.flush().unwrap();
        server.away.store(false, Ordering::SeqCst);
        if round % 2 == 0 {
            // Told to stop in the middle of it: the next goes on.
            shipping.stop();
        } else {
            shipping.end();
        }
        shipping.wait(Instant::now() + Duration::from_secs(20));
        assert!(shipping.is_done());
        logging::files::compress(&path, |_| true).unwrap();
    }
    assert_eq!(*server.seen.lock().unwrap(), (0..800).collect::<Vec<_>>());
    assert!(server.told.lock().unwrap().iter().all(|t| !t.contains("gap")));
}

#[test]
fn what_arrived_of_a_batch_does_not_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = Server::default();
    let options = Options { path: path.clone(), max_size: None, max_files: 1 };
    let mut writer = Writer::open(options).unwrap();
    let mut write = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| put(&mut writer, number));
        writer.flush().unwrap();
    };
    let seen = || server.seen.lock().unwrap().len();
    write(0..10);
    let shipping = ship(&path, &server, 1);
    eventually("the first", || seen() == 10);
    server.away.store(true, Ordering::SeqCst);
    write(10..74);
    eventually("some of them", || seen() > 10);
    shipping.stop();
    shipping.wait(Instant::now() + Duration::from_secs(20));
    assert!(shipping.is_done() && (11..74).contains(&seen()), "{}", seen());
    server.away.store(false, Ordering::SeqCst);
    write(74..80);
    let shipping = ship(&path, &server, 1);
    shipping.end();
    shipping.wait(Instant::now() + Duration::from_secs(20));
    assert_eq!(*server.seen.lock().unwrap(), (0..80).collect::<Vec<_>>());
}

#[test]
fn a_writer_is_held_before_anything_is_lost_and_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = Server::default();
    server.away.store(true, Ordering::SeqCst);
    let options = Options { path: path.clone(), max_size: Some(500), max_files: 4 };
    let mut writer = Writer::open(options).unwrap();
    put(&mut writer, 0);
    put(&mut writer, 1);
    writer.flush().unwrap();
    let shipping = ship(&path, &server, 4);
    eventually("the first is tried", || shipping.reading().is_some());
    let mut next = 2;
    while server.held.lock().unwrap().is_empty() {
        put(&mut writer, next);
        next += 1;
        writer.flush().unwrap();
        shipping.check_hold();
        assert!(next < 200, "never held");
    }
    server.away.store(false, Ordering::SeqCst);
    shipping.end();
    shipping.wait(Instant::now() + Duration::from_secs(20));
    assert_eq!(*server.seen.lock().unwrap(), (0..next).collect::<Vec<_>>());
    assert_eq!(*server.held.lock().unwrap(), [true, false]);
}

#[test]
fn a_gap_is_told_and_a_removed_containers_destination_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = Server::default();
    let options = Options { path: path.clone(), max_size: Some(500), max_files: 2 };
    let mut writer = Writer::open(options).unwrap();
    put(&mut writer, 0);
    writer.flush().unwrap();
    let shipping = ship(&path, &server, 2);
    shipping.end();
    shipping.wait(Instant::now() + Duration::from_secs(20));
    (1..200).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    let shipping = ship(&path, &server, 2);
    shipping.end();
    shipping.wait(Instant::now() + Duration::from_secs(20));
    assert!(server.told.lock().unwrap().iter().any(|t| t.starts_with("a gap: 1 ")));
    assert_eq!(*server.seen.lock().unwrap().last().unwrap(), 199);
    server.away.store(true, Ordering::SeqCst);
    (200..203).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    let shipping = ship(&path, &server, 2);
    shipping.end_within(Duration::from_millis(100));
    let began = Instant::now();
    shipping.wait(began + Duration::from_secs(20));
    assert!(shipping.is_done() && began.elapsed() < Duration::from_secs(10));
}
