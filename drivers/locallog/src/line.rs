//! A record ↔ its line.

use logging::files::{Decode, Encode};
use logging::{Buffer, Entry, Record, Stream};
use stdx::time::Timestamp;

/// Letter and time.
const HEAD: usize = 17;

/// Writes lines.
#[derive(Debug)]
pub(crate) struct Encoder;

impl Encode for Encoder {
    fn longest(&self, record: &Record<'_>) -> usize {
        HEAD + record.line.len() + 1
    }

    fn line(&mut self, record: &Record<'_>, out: &mut Buffer) {
        out.reserve(self.longest(record));
        let mut head = [0; HEAD];
        head[0] = match (record.stream, record.partial) {
            (Stream::Stdout, false) => b'o',
            (Stream::Stdout, true) => b'O',
            (Stream::Stderr, false) => b'e',
            (Stream::Stderr, true) => b'E',
        };
        let nanos = i64::try_from(record.time.unix_nanos()).unwrap_or(i64::MAX).cast_unsigned();
        for (i, digit) in head[1..].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(nanos >> (60 - 4 * i) & 15) as usize];
        }
        out.put(&head);
        out.put_all(record.line);
        out.put(b"\n");
    }
}

/// Reads lines.
#[derive(Debug, Default)]
pub struct Decoder;

impl Decode for Decoder {
    fn entry(&mut self, line: &[u8]) -> Option<Entry> {
        let (head, text) = line.split_at_checked(HEAD)?;
        let (stream, partial) = match head[0] {
            b'o' => (Stream::Stdout, false),
            b'O' => (Stream::Stdout, true),
            b'e' => (Stream::Stderr, false),
            b'E' => (Stream::Stderr, true),
            _ => return None,
        };
        let mut nanos = 0_u64;
        for digit in &head[1..] {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            nanos = nanos << 4 | u64::from(value);
        }
        let time = Timestamp::from_unix_nanos(nanos.cast_signed());
        Some(Entry { stream, time, line: text.to_vec(), partial, attributes: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_none() {
        for bad in
            [&b""[..], b"o", b"x0000000000000000hi", b"o000000000000000", b"o000000000000000Ghi"]
        {
            assert!(Decoder.entry(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
        let entry = Decoder.entry(b"E0000000000000005\xff").unwrap();
        assert_eq!((entry.line, entry.partial), (vec![0xff], true));
        assert_eq!(entry.time, Timestamp::from_unix_nanos(5));
    }
}
