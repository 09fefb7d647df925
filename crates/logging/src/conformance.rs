//! What every form of log files keeps: the suite that each format's tests run.
//!
//! Panics where the contract is broken; to be called from tests only.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use stdx::time::Timestamp;

use crate::driver::OpenLog;
use crate::{Entry, Position, Progress, Query, Reader, Record, Sink, Stream};

/// Opens a writer: path, `max_size`, `max_files`.
pub type OpenSink<'a> = &'a dyn Fn(&Path, Option<u64>, u32) -> Box<dyn Sink>;

/// A form under test.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// Opens a writer.
    pub sink: OpenSink<'a>,
    /// Opens a reader; the format is not looked at.
    pub open: OpenLog,
    /// An empty folder for this test.
    pub folder: &'a Path,
}

impl std::fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Form").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Form<'_> {
    fn reader(&self, path: &Path, query: Query) -> Box<dyn Reader> {
        (self.open)(crate::driver::Format::Json, path, query).unwrap()
    }
}

/// Runs everything.
pub fn all(form: &Form<'_>) {
    what_is_written_is_read(form);
    tail_is_right_whatever_is_compressed(form);
    a_place_is_found_again(form);
    followers_pass_over_compressed_files(form);
    a_billion_files_are_no_work(form);
}

fn put(sink: &mut dyn Sink, number: u32) {
    let time = Timestamp::from_unix(1_000_000 + i64::from(number), number);
    let line = format!("line {number}");
    let stream = if number.is_multiple_of(2) { Stream::Stdout } else { Stream::Stderr };
    sink.write(&Record { stream, time, line: line.as_bytes(), partial: false }).unwrap();
}

fn number(entry: &Entry) -> u32 {
    std::str::from_utf8(&entry.line).unwrap().strip_prefix("line ").unwrap().parse().unwrap()
}

fn read(reader: &mut dyn Reader) -> Vec<u32> {
    let mut entries = Vec::new();
    while reader.read_more(&mut entries).unwrap() == Progress::More {}
    entries.iter().map(number).collect()
}

fn what_is_written_is_read(form: &Form<'_>) {
    let path = form.folder.join("a");
    let mut sink = (form.sink)(&path, None, 1);
    let times = [0, 1, 1_700_000_000_000_000_001, 4_000_000_000_000_000_000];
    let texts = ["", "plain", "tab\tquote\"back\\slash", "<é🦀>\u{2028}\r", "{\"log\":1}"];
    let mut written = Vec::new();
    for time in times {
        for text in texts {
            for (stream, partial) in [
                (Stream::Stdout, false),
                (Stream::Stdout, true),
                (Stream::Stderr, false),
                (Stream::Stderr, true),
            ] {
                let time = Timestamp::from_unix_nanos(time);
                sink.write(&Record { stream, time, line: text.as_bytes(), partial }).unwrap();
                let line = text.as_bytes().to_vec();
                written.push(Entry { stream, time, line, partial, attributes: None });
            }
        }
    }
    sink.flush().unwrap();
    let mut entries = Vec::new();
    let mut reader = form.reader(&path, Query::default());
    while reader.read_more(&mut entries).unwrap() == Progress::More {}
    assert_eq!(entries, written);
    assert_eq!(reader.lost(), 0);
}

fn tail_is_right_whatever_is_compressed(form: &Form<'_>) {
    let path = form.folder.join("b");
    let mut sink = (form.sink)(&path, Some(500), 50);
    (0..100).for_each(|n| put(&mut *sink, n));
    sink.flush().unwrap();
    let check = || {
        for tail in [0, 1, 7, 8, 9, 50, 99, 100, 1000] {
            let query = Query { tail: Some(tail), ..Query::default() };
            let expected: Vec<_> = (100 - u32::try_from(tail.min(100)).unwrap()..100).collect();
            assert_eq!(read(&mut *form.reader(&path, query)), expected, "tail {tail}");
        }
        assert_eq!(read(&mut *form.reader(&path, Query::default())), (0..100).collect::<Vec<_>>());
    };
    check();
    let mut turn = false;
    let every_other = |_: &std::fs::Metadata| {
        turn = !turn;
        turn
    };
    let every_other = std::cell::RefCell::new(every_other);
    let some = crate::files::compress(&path, |m| (every_other.borrow_mut())(m)).unwrap();
    assert!(some > 1, "{some}");
    check();
    assert!(crate::files::compress(&path, |_| true).unwrap() > 0);
    assert_eq!(crate::files::compress(&path, |_| true).unwrap(), 0);
    check();
    // Rotation moves both forms.
    (0..2).for_each(|_| sink.rotate().unwrap());
    check();
}

fn a_place_is_found_again(form: &Form<'_>) {
    let path = form.folder.join("c");
    let mut sink = (form.sink)(&path, Some(400), 6);
    let mut from: Option<Position> = None;
    let mut seen = Vec::new();
    for n in 0..300 {
        put(&mut *sink, n);
        if n % 13 == 0 {
            sink.flush().unwrap();
            let mut reader = form.reader(&path, Query { from, ..Query::default() });
            seen.extend(read(&mut *reader));
            from = reader.position();
            assert_eq!(reader.lost(), 0);
        }
        if n % 17 == 0 {
            crate::files::compress(&path, |_| true).unwrap();
        }
    }
    sink.flush().unwrap();
    seen.extend(read(&mut *form.reader(&path, Query { from, ..Query::default() })));
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    // A place that rotation removed: what is left, and the gap is counted.
    let mut reader = form
        .reader(&path, Query { from: Some(Position { first: 5, offset: 9 }), ..Query::default() });
    let left = read(&mut *reader);
    assert_eq!(reader.lost(), 1);
    assert!(left[0] > 0 && *left.last().unwrap() == 299);
}

fn followers_pass_over_compressed_files(form: &Form<'_>) {
    let path = form.folder.join("d");
    let mut sink = (form.sink)(&path, Some(400), 100);
    put(&mut *sink, 0);
    sink.flush().unwrap();
    let mut reader = form.reader(&path, Query { follow: true, ..Query::default() });
    let mut seen = read(&mut *reader);
    (1..100).for_each(|n| put(&mut *sink, n));
    sink.flush().unwrap();
    // Its own file too.
    crate::files::compress(&path, |_| true).unwrap();
    seen.extend(read(&mut *reader));
    (100..120).for_each(|n| put(&mut *sink, n));
    sink.flush().unwrap();
    seen.extend(read(&mut *reader));
    assert_eq!(seen, (0..120).collect::<Vec<_>>());
    assert_eq!(reader.lost(), 0);
}

fn a_billion_files_are_no_work(form: &Form<'_>) {
    let path = form.folder.join("e");
    let mut sink = (form.sink)(&path, Some(100), u32::MAX);
    (0..50).for_each(|n| put(&mut *sink, n));
    sink.flush().unwrap();
    assert_eq!(read(&mut *form.reader(&path, Query::default())), (0..50).collect::<Vec<_>>());
}
