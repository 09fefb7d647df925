//! Writer and reader together, on real files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonlog::{Options, Reader, Writer};
use logging::{Entry, Progress, Query, Reader as _, Record, Sink as _, Stream};
use rustix::event::{PollFd, PollFlags, Timespec};
use stdx::time::Timestamp;

fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), max_size: None, max_files: 1, attributes: Vec::new() }
}

fn log() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c-json.log");
    (dir, path)
}

fn put(writer: &mut Writer, number: u32) {
    let time = Timestamp::from_unix(1_000 + i64::from(number), 0);
    let line = format!("line {number}");
    let stream = if number.is_multiple_of(2) { Stream::Stdout } else { Stream::Stderr };
    writer.write(&Record { stream, time, line: line.as_bytes(), partial: false }).unwrap();
}

fn number(entry: &Entry) -> u32 {
    std::str::from_utf8(&entry.line).unwrap().strip_prefix("line ").unwrap().parse().unwrap()
}

/// Reads until there is nothing more for now.
fn read(reader: &mut Reader) -> (Vec<u32>, Progress) {
    let mut entries = Vec::new();
    loop {
        let progress = reader.read_more(&mut entries).unwrap();
        if progress != Progress::More {
            return (entries.iter().map(number).collect(), progress);
        }
    }
}

fn query(tail: Option<u64>, since: Option<u32>, until: Option<u32>) -> Query {
    let time = |n: u32| Timestamp::from_unix(1_000 + i64::from(n), 0);
    Query { tail, since: since.map(time), until: until.map(time), ..Query::default() }
}

#[test]
fn tail_and_times_choose_records_over_all_files() {
    let (_dir, path) = log();
    let mut writer =
        Writer::open(Options { max_size: Some(400), max_files: 100, ..options(&path) }).unwrap();
    (0..100).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    assert!(path.with_extension("log.5").exists());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let check = |query, expected: std::ops::Range<u32>| {
        let (numbers, progress) = read(&mut Reader::open(&path, query).unwrap());
        assert_eq!(numbers, expected.collect::<Vec<_>>(), "{query:?}");
        assert_eq!(progress, Progress::Finished);
    };
    check(query(None, None, None), 0..100);
    check(query(Some(0), None, None), 0..0);
    check(query(Some(1), None, None), 99..100);
    check(query(Some(37), None, None), 63..100);
    check(query(Some(1000), None, None), 0..100);
    check(query(None, Some(90), None), 90..100);
    check(query(None, None, Some(9)), 0..10);
    check(query(None, Some(5), Some(9)), 5..10);
    // The tail is taken first, as Docker does.
    check(query(Some(10), Some(5), Some(92)), 90..93);
}

#[test]
fn rotation_keeps_as_many_files_as_it_should() {
    for max_files in [1, 2, 5] {
        let (dir, path) = log();
        let mut writer =
            Writer::open(Options { max_size: Some(1000), max_files, ..options(&path) }).unwrap();
        (0..500).for_each(|n| put(&mut writer, n));
        writer.flush().unwrap();
        let files: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(files.len(), max_files as usize);
        assert!(files.iter().all(|size| *size < 1100), "{files:?}");
        let (numbers, _) = read(&mut Reader::open(&path, Query::default()).unwrap());
        assert_eq!(*numbers.last().unwrap(), 499);
        assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]));
    }
}

#[test]
fn a_log_that_is_reopened_goes_on() {
    let (_dir, path) = log();
    put(&mut Writer::open(options(&path)).unwrap(), 0);
    assert_eq!(path.metadata().unwrap().len(), 0, "an unflushed record is not written by dropping");
    for n in 0..3 {
        let mut writer = Writer::open(options(&path)).unwrap();
        put(&mut writer, n);
        writer.flush().unwrap();
    }
    let (numbers, _) = read(&mut Reader::open(&path, Query::default()).unwrap());
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn a_torn_line_costs_only_itself() {
    let (_dir, path) = log();
    let mut writer = Writer::open(options(&path)).unwrap();
    (0..3).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    drop(writer);
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let mut reader = Reader::open(&path, Query::default()).unwrap();
    assert_eq!(read(&mut reader).0, [0, 1]);
    let mut writer = Writer::open(options(&path)).unwrap();
    (3..5).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    let mut reader = Reader::open(&path, Query::default()).unwrap();
    assert_eq!(read(&mut reader).0, [0, 1, 3, 4]);
    assert_eq!(reader.lost(), 1);
    let mut reader = Reader::open(&path, query(Some(2), None, None)).unwrap();
    assert_eq!(read(&mut reader).0, [3, 4]);
}

#[test]
fn a_follower_loses_nothing_over_rotations() {
    for max_files in [1_u32, 2, 50] {
        let (_dir, path) = log();
        let follow = Query { follow: true, ..Query::default() };
        // Before there is a file.
        let mut reader = Reader::open(&path, follow).unwrap();
        assert_eq!(read(&mut reader), (vec![], Progress::CaughtUp));
        let mut writer =
            Writer::open(Options { max_size: Some(300), max_files, ..options(&path) }).unwrap();
        let mut seen = Vec::new();
        for n in 0..200 {
            put(&mut writer, n);
            if n % 3 == 0 {
                writer.flush().unwrap();
                seen.extend(read(&mut reader).0);
            }
        }
        writer.flush().unwrap();
        seen.extend(read(&mut reader).0);
        assert_eq!(seen, (0..200).collect::<Vec<_>>(), "max_files {max_files}");
        assert_eq!(reader.lost(), 0);
    }
}

#[test]
fn a_slow_follower_goes_on_with_the_oldest_file_that_is_left() {
    let (_dir, path) = log();
    let mut writer =
        Writer::open(Options { max_size: Some(300), max_files: 3, ..options(&path) }).unwrap();
    put(&mut writer, 0);
    writer.flush().unwrap();
    let mut reader = Reader::open(&path, Query { follow: true, ..Query::default() }).unwrap();
    let mut seen = read(&mut reader).0;
    (1..100).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    seen.extend(read(&mut reader).0);
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
    assert_eq!(*seen.last().unwrap(), 99);
    assert!(seen.len() < 100);
}

#[test]
fn followers_beside_a_writer_see_everything_once_and_are_woken() {
    let (_dir, path) = log();
    let mut writer =
        Writer::open(Options { max_size: Some(20_000), max_files: 1_000, ..options(&path) })
            .unwrap();
    let total = 50_000;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let path = &path;
            scope.spawn(move || {
                let mut reader =
                    Reader::open(path, Query { follow: true, ..Query::default() }).unwrap();
                let mut next = 0;
                while next < total {
                    reader.acknowledge();
                    let (numbers, progress) = read(&mut reader);
                    assert_eq!(progress, Progress::CaughtUp);
                    for n in numbers {
                        assert_eq!(n, next);
                        next += 1;
                    }
                    if next < total {
                        let watch = reader.watch().unwrap();
                        let mut poll = [PollFd::new(&watch, PollFlags::IN)];
                        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
                        assert_eq!(
                            rustix::event::poll(&mut poll, Some(&timeout)).unwrap(),
                            1,
                            "never woken at {next}"
                        );
                    }
                }
                assert_eq!(reader.lost(), 0);
            });
        }
        for n in 0..total {
            put(&mut writer, n);
            if n % 17 == 0 {
                writer.flush().unwrap();
            }
        }
        writer.flush().unwrap();
    });
}

#[test]
fn attributes_are_in_every_record() {
    let (_dir, path) = log();
    let attributes = vec![("team".to_owned(), "a<b".to_owned())];
    let mut writer =
        Writer::open(Options { attributes: attributes.clone(), ..options(&path) }).unwrap();
    put(&mut writer, 0);
    writer.flush().unwrap();
    let mut entries = Vec::new();
    Reader::open(&path, Query::default()).unwrap().read_more(&mut entries).unwrap();
    assert_eq!(**entries[0].attributes.as_ref().unwrap(), attributes);
}

#[test]
fn a_full_disk_loses_records_and_recovers() {
    // /dev/full fails every write with ENOSPC.
    let (_dir, path) = log();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    assert!(Writer::open(options(&path)).is_err(), "a link is not followed");
    let mut writer = Writer::open(options(Path::new("/dev/full"))).unwrap();
    put(&mut writer, 0);
    let error = writer.flush().unwrap_err();
    assert_eq!(error.kind(), stdx::Kind::NoSpace);
    assert_eq!(error.to_string(), "write /dev/full: No space left on device (os error 28)");
    writer.flush().unwrap();
}

/// Not an assertion but figures, in processor time: `cargo test -p jsonlog --profile small -- --nocapture figures`.
#[test]
fn figures() {
    let (_dir, path) = log();
    let mut text = Vec::new();
    for n in 0..20_000 {
        text.extend_from_slice(
            format!("{n} GET /index.html?a=b 200 \"Mozilla/5.0 (X11; Linux)\" 0.012\n").as_bytes(),
        );
    }
    let yes = b"y\n".repeat(text.len() / 2);
    for (name, text) in [("access log", &text), ("yes", &yes)] {
        let mut writer =
            Writer::open(Options { max_size: Some(100 << 20), max_files: 1, ..options(&path) })
                .unwrap();
        let mut splitter = logging::Splitter::new(Stream::Stdout);
        let start = processor_time();
        let rounds = if cfg!(debug_assertions) { 1 } else { 100 };
        for _ in 0..rounds {
            for part in text.chunks(64 << 10) {
                splitter.push(part, &mut Timestamp::now(), &mut writer).unwrap();
            }
            writer.flush().unwrap();
        }
        let seconds = (processor_time() - start).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a figure for humans")]
        let megabytes = (text.len() * rounds) as f64 / 1e6;
        println!("{name}: {:.0} MB/s of input", megabytes / seconds);
        let start = processor_time();
        let mut reader = Reader::open(&path, query(Some(100), None, None)).unwrap();
        let mut entries = Vec::new();
        while reader.read_more(&mut entries).unwrap() == Progress::More {}
        assert_eq!(entries.len(), 100);
        println!(
            "the last 100 of {} MB: {} µs",
            path.metadata().unwrap().len() >> 20,
            (processor_time() - start).as_micros()
        );
        let start = processor_time();
        let (mut reader, mut count) = (Reader::open(&path, Query::default()).unwrap(), 0);
        while reader.read_more(&mut entries).unwrap() == Progress::More {
            count += entries.len();
            entries.clear();
        }
        println!("all {count} records read in {} ms", (processor_time() - start).as_millis());
    }
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    logging::conformance::all(&logging::conformance::Form {
        sink: &|path, max_size, max_files| {
            Box::new(Writer::open(Options { max_size, max_files, ..options(path) }).unwrap())
        },
        open: |_, path, query| jsonlog::open(path, query),
        folder: folder.path(),
    });
}

#[test]
fn the_last_lines_of_two_gigabytes_take_no_time() {
    let (_dir, path) = log();
    // A hole, which costs no disk; it is one damaged line that nobody looks at.
    std::fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
    let mut writer = Writer::open(options(&path)).unwrap();
    (0..50).for_each(|n| put(&mut writer, n));
    writer.flush().unwrap();
    let start = processor_time();
    let mut reader = Reader::open(&path, query(Some(10), None, None)).unwrap();
    assert_eq!(read(&mut reader).0, (40..50).collect::<Vec<_>>());
    let spent = processor_time() - start;
    assert!(spent < Duration::from_millis(20), "{spent:?}");
}
