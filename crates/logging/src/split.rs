//! Bytes of a stream → records.

use stdx::Result;
use stdx::time::Timestamp;

use crate::{Record, Sink, Stream};

/// A line of more bytes than this is cut into parts, as Docker does (its `defaultBufSize`).
pub const MAX_LINE: usize = 16 << 10;

/// Cuts one stream into records.
///
/// What has no newline yet is kept until it has one, until it is [`MAX_LINE`] long, or until the stream ends. Unlike
/// Docker's, a cut never falls within a UTF-8 character, so that formats which want text do not damage it.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    rest: Vec<u8>,
    /// The time of the line that `rest` is a part of.
    started: Option<Timestamp>,
}

impl Splitter {
    /// For the bytes of `stream`, none of which has been seen.
    pub fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new(), started: None }
    }

    /// Writes the records that `bytes`, read at the time of `clock`, complete.
    ///
    /// Every line gets a time of its own: `clock` is moved on by a nanosecond a line, so that a reader that comes back
    /// with the time of the last line it saw finds exactly what follows. An error of the sink does not stop the
    /// others; the first is returned.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        clock: &mut Timestamp,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let mut result = Ok(());
        while !bytes.is_empty() {
            let room = MAX_LINE - self.rest.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = find_newline(window) {
                let line = &window[..end];
                let whole = if self.rest.is_empty() {
                    line
                } else {
                    self.rest.extend_from_slice(line);
                    &self.rest
                };
                let time = self.started.take().unwrap_or_else(|| tick(clock));
                let record = Record { stream: self.stream, time, line: whole, partial: false };
                result = result.and(sink.write(&record));
                self.rest.clear();
                bytes = &bytes[end + 1..];
            } else if window.len() < room {
                self.rest.extend_from_slice(window);
                if self.started.is_none() {
                    self.started = Some(tick(clock));
                }
                bytes = &[];
            } else {
                let (part, left) = self.cut(window);
                let time = *self.started.get_or_insert_with(|| tick(clock));
                let record = Record { stream: self.stream, time, line: &part, partial: true };
                result = result.and(sink.write(&record));
                self.rest = left;
                bytes = &bytes[window.len()..];
            }
        }
        result
    }

    /// The stream has ended: writes what is left of its last line.
    pub fn finish(&mut self, clock: &mut Timestamp, sink: &mut dyn Sink) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.rest);
        let time = self.started.take().unwrap_or_else(|| tick(clock));
        sink.write(&Record { stream: self.stream, time, line: &line, partial: true })
    }

    /// Gives memory back that holds nothing.
    pub fn release(&mut self) {
        self.rest.shrink_to_fit();
    }

    /// The full line buffer with `window` behind it, cut so that no character is split.
    fn cut(&mut self, window: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut part = std::mem::take(&mut self.rest);
        part.extend_from_slice(window);
        let left = part.split_off(part.len() - unfinished_character(&part));
        (part, left)
    }
}

/// The next moment, later than all before.
fn tick(clock: &mut Timestamp) -> Timestamp {
    let now = *clock;
    *clock = now.plus_nanos(1);
    now
}

/// How many bytes at the end of `bytes` are the start of a character that is not all there.
fn unfinished_character(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let wanted = match bytes[bytes.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if wanted > back { back } else { 0 };
    }
    0
}

/// The first newline. Eight bytes at a time: the standard library's vectorised search is not public, and log floods
/// are worth more than a loop over bytes.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const NEWLINES: u64 = u64::from_ne_bytes([b'\n'; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let zeros = u64::from_le_bytes(*word) ^ NEWLINES;
        let found = zeros.wrapping_sub(ONES) & !zeros & HIGHS;
        if found != 0 {
            return Some(i * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    rest.iter().position(|b| *b == b'\n').map(|i| words.len() * 8 + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Memory(Vec<(String, bool, i128)>);

    impl Sink for Memory {
        fn write(&mut self, record: &Record<'_>) -> Result<()> {
            let line = String::from_utf8_lossy(record.line).into_owned();
            self.0.push((line, record.partial, record.time.unix_nanos()));
            Ok(())
        }
        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
        fn rotate(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn records(parts: &[&[u8]]) -> Vec<(String, bool, i128)> {
        let mut memory = Memory::default();
        let mut splitter = Splitter::new(Stream::Stdout);
        for (i, part) in parts.iter().enumerate() {
            let mut clock = Timestamp::from_unix(0, 100 * u32::try_from(i).unwrap());
            splitter.push(part, &mut clock, &mut memory).unwrap();
        }
        splitter.finish(&mut Timestamp::from_unix(1, 0), &mut memory).unwrap();
        memory.0
    }

    fn check(parts: &[&[u8]], expected: &[(&str, bool, i128)]) {
        let expected: Vec<_> = expected.iter().map(|(l, p, t)| ((*l).to_owned(), *p, *t)).collect();
        assert_eq!(records(parts), expected);
    }

    #[test]
    fn lines_are_records_with_times_of_their_own() {
        check(&[], &[]);
        check(&[b"a\nb\n"], &[("a", false, 0), ("b", false, 1)]);
        check(&[b"\n\n"], &[("", false, 0), ("", false, 1)]);
        check(&[b"no end"], &[("no end", true, 0)]);
        check(&[b"a\r\nb"], &[("a\r", false, 0), ("b", true, 1)]);
    }

    #[test]
    fn a_line_in_pieces_has_the_time_of_its_first() {
        check(&[b"one ", b"", b"two\nthree"], &[("one two", false, 0), ("three", true, 200)]);
    }

    #[test]
    fn long_lines_are_cut_as_docker_cuts_them() {
        let long = vec![b'x'; MAX_LINE];
        let xs = "x".repeat(MAX_LINE);
        check(&[&long, b"\n"], &[(&xs, true, 0), ("", false, 0)]);
        let longer = [&long[..], &long[..], b"tail\nnext\n"].concat();
        check(
            &[&longer],
            &[(&xs, true, 0), (&xs, true, 0), ("tail", false, 0), ("next", false, 1)],
        );
        // One byte less and it is a line.
        check(&[&long[1..], b"\n"], &[(&xs[1..], false, 0)]);
    }

    #[test]
    fn no_cut_within_a_character() {
        for (character, before) in [("é", 1), ("€", 1), ("€", 2), ("🦀", 1), ("🦀", 3), ("🦀", 4)]
        {
            let mut line = vec![b'x'; MAX_LINE - before];
            line.extend_from_slice(character.as_bytes());
            line.extend_from_slice(b"y\n");
            let seen: String = records(&[&line]).into_iter().map(|r| r.0).collect();
            assert_eq!(seen.as_bytes(), &line[..line.len() - 1], "{character} {before}");
        }
        // What is no character at all does not stop the cut.
        let seen = records(&[&vec![0xe2; MAX_LINE * 2]]);
        assert_eq!(seen.iter().map(|r| r.0.chars().count()).sum::<usize>(), MAX_LINE * 2);
    }

    #[test]
    fn any_cut_of_the_input_gives_the_same_bytes() {
        let text: Vec<u8> =
            (0..40_000_u32).map(|i| b"abc\n\xc3\xa9"[(i * 7 % 6) as usize]).collect();
        for size in [1, 7, 4096, 16_384, 16_385, 40_000] {
            let mut joined = Vec::new();
            let mut memory = Memory::default();
            let mut splitter = Splitter::new(Stream::Stderr);
            for part in text.chunks(size) {
                splitter.push(part, &mut Timestamp::from_unix(0, 0), &mut memory).unwrap();
            }
            splitter.finish(&mut Timestamp::from_unix(0, 0), &mut memory).unwrap();
            for (line, partial, _) in memory.0 {
                joined.extend_from_slice(line.as_bytes());
                if !partial {
                    joined.push(b'\n');
                }
            }
            assert_eq!(String::from_utf8_lossy(&joined), String::from_utf8_lossy(&text), "{size}");
        }
    }
}
