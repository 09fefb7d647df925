//! A record → its line, without serde: this runs for every line that a container writes.
//!
//! The escapes are those of Docker's json-file driver (and of Go's encoder with HTML escaping on): `\\`, `\"`, `\n`,
//! `\r`; `\u00xx` for other control characters and `<`, `>`, `&`; `\u2028`, `\u2029`; `\ufffd` for every byte that is
//! not part of a UTF-8 character.

use logging::{Buffer, Record, Stream, files::Encode};
use stdx::time::Timestamp;

/// Writes lines; keeps what consecutive ones have in common.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// `"attrs":{…},` or nothing.
    attributes: Vec<u8>,
    second: Option<i64>,
    /// What stands between text and decimals in lines of `second`, for either stream.
    middles: [Middle; 2],
}

/// A text in whole words.
#[derive(Debug, Default)]
struct Middle {
    words: Vec<[u8; 16]>,
    length: usize,
}

impl Encoder {
    /// For records that all carry `attributes`.
    pub(crate) fn new(attributes: &[(String, String)]) -> Self {
        let mut text = Buffer::default();
        if !attributes.is_empty() {
            // Go's maps are written in the order of their keys.
            let mut sorted: Vec<_> = attributes.iter().collect();
            sorted.sort();
            text.reserve(
                sorted.iter().map(|(k, v)| 6 * (k.len() + v.len()) + 16).sum::<usize>() + 16,
            );
            text.put(b"\"attrs\":{");
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    text.put(b",");
                }
                text.put(b"\"");
                escape(key.as_bytes(), &mut text);
                text.put(b"\":\"");
                escape(value.as_bytes(), &mut text);
                text.put(b"\"");
            }
            text.put(b"},");
        }
        Self { attributes: text.written().to_vec(), second: None, middles: Default::default() }
    }

    fn middle(&self, stream: Stream, second: i64) -> Middle {
        let time = Timestamp::from_unix(second, 0).to_string();
        let mut text = Vec::new();
        text.extend_from_slice(b"\",\"stream\":\"");
        text.extend_from_slice(stream.as_str().as_bytes());
        text.extend_from_slice(b"\",");
        text.extend_from_slice(&self.attributes);
        text.extend_from_slice(b"\"time\":\"");
        text.extend_from_slice(time.trim_end_matches('Z').as_bytes());
        let length = text.len();
        text.resize(length.next_multiple_of(16), 0);
        Middle { words: text.as_chunks().0.to_vec(), length }
    }
}

impl Encode for Encoder {
    fn longest(&self, record: &Record<'_>) -> usize {
        // Every byte as \u00xx; the rest is fixed texts, time and attributes.
        6 * record.line.len() + self.attributes.len() + 112
    }

    fn line(&mut self, record: &Record<'_>, out: &mut Buffer) {
        out.reserve(self.longest(record));
        // Docker leaves an empty text out ("omitempty"), which only a partial record can have; ours never has.
        out.put(b"{\"log\":\"");
        escape(record.line, out);
        if !record.partial {
            out.put(b"\\n");
        }
        // 64 bits last until 2262; wide division is what would cost here.
        let (second, nanos) = match i64::try_from(record.time.unix_nanos()) {
            Ok(n) => (n.div_euclid(NANOS), n.rem_euclid(NANOS).unsigned_abs()),
            Err(_) => (record.time.unix_seconds(), u64::from(record.time.subsec_nanos())),
        };
        if self.second != Some(second) {
            self.second = Some(second);
            self.middles = [Stream::Stdout, Stream::Stderr].map(|s| self.middle(s, second));
        }
        let middle = &self.middles[usize::from(record.stream == Stream::Stderr)];
        out.put_words(&middle.words, middle.length);
        decimals(nanos, out);
        out.put(b"Z\"}\n");
    }
}

const NANOS: i64 = 1_000_000_000;

/// Appends the decimals of Go's RFC3339Nano: none, or a point and up to nine digits without trailing zeros.
fn decimals(nanos: u64, out: &mut Buffer) {
    if nanos == 0 {
        return;
    }
    let mut digits = *b".000000000";
    let mut rest = nanos;
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let zeros = digits.iter().rev().take_while(|d| **d == b'0').count();
    out.put_part(&digits, digits.len() - zeros);
}

/// Appends `bytes` as the inside of a JSON string; the caller has reserved six times as many.
fn escape(bytes: &[u8], out: &mut Buffer) {
    let mut valid = 0; // Everything before is known to be UTF-8.
    let mut at = copy_plain(bytes, 0, out);
    while at < bytes.len() {
        let byte = bytes[at];
        if byte < 0x80 {
            escape_ascii(byte, out);
            at = copy_plain(bytes, at + 1, out);
            continue;
        }
        if at >= valid {
            // One look at all the rest: a log of plain text is validated once, whatever its alphabet.
            valid = at
                + match std::str::from_utf8(&bytes[at..]) {
                    Ok(text) => text.len(),
                    Err(error) => error.valid_up_to(),
                };
            if at == valid {
                out.put(b"\\ufffd");
                at = copy_plain(bytes, at + 1, out);
                continue;
            }
        }
        let length = character_length(byte);
        match bytes[at..] {
            [0xe2, 0x80, 0xa8, ..] => out.put(b"\\u2028"),
            [0xe2, 0x80, 0xa9, ..] => out.put(b"\\u2029"),
            _ => bytes[at..at + length].iter().for_each(|b| out.put(&[*b])),
        }
        at = copy_plain(bytes, at + length, out);
    }
}

fn escape_ascii(byte: u8, out: &mut Buffer) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.put(&[b'\\', byte]),
        b'\n' => out.put(b"\\n"),
        b'\r' => out.put(b"\\r"),
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.put(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

/// The length of the character of well-formed UTF-8 that starts with `lead`.
fn character_length(lead: u8) -> usize {
    match lead {
        0xf0.. => 4,
        0xe0.. => 3,
        _ => 2,
    }
}

/// Copies `bytes` from `at` on up to the first that cannot stay as it is: a control character, `"`, `\`, `<`, `>`, `&`,
/// or not ASCII. Says where that is, or the end.
fn copy_plain(bytes: &[u8], at: usize, out: &mut Buffer) -> usize {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let zeros = |word: u64| word.wrapping_sub(all(1)) & !word;
    let mut at = at;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let bits = u64::from_le_bytes(*word);
        let control = bits.wrapping_sub(all(0x20)) & !bits;
        let angle = zeros((bits | all(0x02)) ^ all(b'>')); // '<' and '>' differ in one bit,
        let quote = zeros((bits | all(0x04)) ^ all(b'&')); // '"' and '&' as well.
        let backslash = zeros(bits ^ all(b'\\'));
        // A test may also hit a byte behind the first true one, never one before it.
        let found = (control | angle | quote | backslash | bits) & all(0x80);
        let plain = (found.trailing_zeros() / 8) as usize;
        out.put_part(word, plain);
        at += plain;
        if plain < 8 {
            return at;
        }
    }
    for byte in &bytes[at..] {
        if matches!(byte, 0..0x20 | b'"' | b'\\' | b'<' | b'>' | b'&' | 0x80..) {
            break;
        }
        out.put(&[*byte]);
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Buffer::default();
        out.reserve(6 * bytes.len());
        escape(bytes, &mut out);
        String::from_utf8(out.written().to_vec()).unwrap()
    }

    #[test]
    fn escapes_are_dockers() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(escaped(bytes), expected);
        check(b"", "");
        check(b"plain text, nothing to see", "plain text, nothing to see");
        check(b"a\"b\\c/d", r#"a\"b\\c/d"#);
        check(b"tab\tbell\x07nul\0del\x7f", "tab\\u0009bell\\u0007nul\\u0000del\x7f");
        check(b"cr\rlf\nesc\x1b[0m", r"cr\rlf\nesc\u001b[0m");
        check(b"<a href=\"x\">&</a>", r#"\u003ca href=\"x\"\u003e\u0026\u003c/a\u003e"#);
        check("é€🦀 日本語".as_bytes(), "é€🦀 日本語");
        check("a\u{2028}b\u{2029}c\u{2027}".as_bytes(), "a\\u2028b\\u2029c\u{2027}");
        check(b"\xff\xfe", r"\ufffd\ufffd");
        check(b"\xe2\x82", r"\ufffd\ufffd");
        check(
            b"ok\xc3\xa9 bad\xc3 \xa9 \xed\xa0\x80",
            "oké bad\\ufffd \\ufffd \\ufffd\\ufffd\\ufffd",
        );
        check(b"\xe2\x80\xa8\xe2\x80", r"\u2028\ufffd\ufffd");
    }

    #[test]
    fn agrees_with_a_json_parser_on_everything() {
        // Every byte before every kind of byte, at every place within a word.
        for a in 0..=255_u8 {
            for b in [
                0, b'\n', b'"', b'&', b'<', b'=', b'\\', b'~', 0x7f, 0x80, 0xa8, 0xbf, 0xc3, 0xe2,
                0xff,
            ] {
                for place in 0..9 {
                    let mut bytes = vec![b'.'; place];
                    bytes.extend([a, b, b'z']);
                    let parsed: String =
                        serde_json::from_str(&format!("\"{}\"", escaped(&bytes))).unwrap();
                    // Go replaces every byte that does not belong, Rust every broken sequence; count them off.
                    let expected = String::from_utf8_lossy(&bytes);
                    assert_eq!(parsed.replace('\u{fffd}', ""), expected.replace('\u{fffd}', ""));
                }
            }
        }
    }

    #[test]
    fn lines_are_dockers() {
        let line = |attributes: &[(&str, &str)], partial, nanos| {
            let owned: Vec<_> =
                attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let time = Timestamp::from_unix(1_700_000_000, nanos);
            let record = Record { stream: Stream::Stderr, time, line: b"hi", partial };
            let mut out = Buffer::default();
            let mut encoder = Encoder::new(&owned);
            encoder.line(&record, &mut out);
            assert!(out.written().len() <= encoder.longest(&record));
            String::from_utf8(out.written().to_vec()).unwrap()
        };
        assert_eq!(
            line(&[], false, 120_000_000),
            "{\"log\":\"hi\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20.12Z\"}\n"
        );
        assert_eq!(
            line(&[("z", "1"), ("a", "<\"")], true, 0),
            "{\"log\":\"hi\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"\\u003c\\\"\",\"z\":\"1\"},\"time\":\"2023-11-14T22:13:20Z\"}\n"
        );
    }

    #[test]
    fn times_are_those_of_the_slow_way() {
        let mut encoder = Encoder::default();
        for seconds in [-62_135_596_800, -1, 0, 1, 1_700_000_000, 253_402_300_799] {
            for nanos in [0, 1, 10, 120_000_000, 999_999_999] {
                let time = Timestamp::from_unix(seconds, nanos);
                let mut out = Buffer::default();
                encoder.line(
                    &Record { stream: Stream::Stdout, time, line: b"", partial: true },
                    &mut out,
                );
                let expected =
                    format!("{{\"log\":\"\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n");
                assert_eq!(out.written(), expected.as_bytes());
            }
        }
    }
}
