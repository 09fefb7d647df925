//! A record → its line, without serde: this runs for every line that a container writes.
//!
//! The escapes are those of Docker's json-file driver (and of Go's encoder with HTML escaping on): `\\`, `\"`, `\n`,
//! `\r`; `\u00xx` for other control characters and `<`, `>`, `&`; `\u2028`, `\u2029`; `\ufffd` for every byte that is
//! not part of a UTF-8 character.

use logging::{Record, Stream};
use stdx::time::Timestamp;

/// What a line costs beyond its text and attributes, at most.
const OVERHEAD: usize = 96;

/// Writes lines; keeps what consecutive ones have in common.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// `"attrs":{…},` or nothing.
    attributes: Vec<u8>,
    second: Option<i64>,
    /// What stands between text and decimals in lines of `second`, for either stream.
    middles: [Vec<u8>; 2],
}

impl Encoder {
    /// For records that all carry `attributes`.
    pub(crate) fn new(attributes: &[(String, String)]) -> Self {
        let mut text = Vec::new();
        if !attributes.is_empty() {
            // Go's maps are written in the order of their keys.
            let mut sorted: Vec<_> = attributes.iter().collect();
            sorted.sort();
            text.extend_from_slice(b"\"attrs\":{");
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    text.push(b',');
                }
                text.push(b'"');
                escape(key.as_bytes(), &mut text);
                text.extend_from_slice(b"\":\"");
                escape(value.as_bytes(), &mut text);
                text.push(b'"');
            }
            text.extend_from_slice(b"},");
        }
        Self { attributes: text, second: None, middles: [Vec::new(), Vec::new()] }
    }

    /// Appends the line of `record`, with its newline, to `out`.
    pub(crate) fn line(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.reserve(record.line.len() + self.attributes.len() + OVERHEAD);
        // Docker leaves an empty text out ("omitempty"), which only a partial record can have; ours never has.
        out.extend_from_slice(b"{\"log\":\"");
        escape(record.line, out);
        if !record.partial {
            out.extend_from_slice(b"\\n");
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
        out.extend_from_slice(&self.middles[usize::from(record.stream == Stream::Stderr)]);
        decimals(nanos, out);
        out.extend_from_slice(b"Z\"}\n");
    }

    fn middle(&self, stream: Stream, second: i64) -> Vec<u8> {
        let time = Timestamp::from_unix(second, 0).to_string();
        let mut text = Vec::new();
        text.extend_from_slice(b"\",\"stream\":\"");
        text.extend_from_slice(stream.as_str().as_bytes());
        text.extend_from_slice(b"\",");
        text.extend_from_slice(&self.attributes);
        text.extend_from_slice(b"\"time\":\"");
        text.extend_from_slice(time.trim_end_matches('Z').as_bytes());
        text
    }
}

const NANOS: i64 = 1_000_000_000;

/// Appends the decimals of Go's RFC3339Nano: none, or a point and up to nine digits without trailing zeros.
fn decimals(nanos: u64, out: &mut Vec<u8>) {
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
    out.extend_from_slice(&digits[..digits.len() - zeros]);
}

/// Appends `bytes` as the inside of a JSON string.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0; // Everything before has been written.
    let mut valid = 0; // Everything before is known to be UTF-8.
    let mut at = 0;
    while let Some(next) = find_special(&bytes[at..]) {
        at += next;
        let byte = bytes[at];
        if byte < 0x80 {
            out.extend_from_slice(&bytes[copied..at]);
            escape_ascii(byte, out);
            at += 1;
            copied = at;
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
                out.extend_from_slice(&bytes[copied..at]);
                out.extend_from_slice(b"\\ufffd");
                at += 1;
                copied = at;
                continue;
            }
        }
        if let [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] = bytes[at..] {
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            at += 3;
            copied = at;
            continue;
        }
        at += character_length(byte);
    }
    out.extend_from_slice(&bytes[copied..]);
}

fn escape_ascii(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
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

/// The first byte that cannot be copied as it is: a control character, `"`, `\`, `<`, `>`, `&`, or not ASCII.
///
/// Eight bytes at a time; a word's test may also hit a byte behind the true one, never one before it.
fn find_special(bytes: &[u8]) -> Option<usize> {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let zeros = |word: u64| word.wrapping_sub(all(1)) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(all(0x20)) & !word;
        let angle = zeros((word | all(0x02)) ^ all(b'>')); // '<' and '>' differ in one bit,
        let quote = zeros((word | all(0x04)) ^ all(b'&')); // '"' and '&' as well.
        let backslash = zeros(word ^ all(b'\\'));
        let found = (control | angle | quote | backslash | word) & all(0x80);
        if found != 0 {
            return Some(i * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let special = |b: &u8| matches!(b, 0..0x20 | b'"' | b'\\' | b'<' | b'>' | b'&' | 0x80..);
    rest.iter().position(special).map(|i| words.len() * 8 + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
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
        // Every pair of bytes at every place within a word.
        for a in 0..=255_u8 {
            for b in 0..=255_u8 {
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
            let mut out = Vec::new();
            Encoder::new(&owned).line(&record, &mut out);
            String::from_utf8(out).unwrap()
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
                let mut out = Vec::new();
                encoder.line(
                    &Record { stream: Stream::Stdout, time, line: b"", partial: true },
                    &mut out,
                );
                let expected =
                    format!("{{\"log\":\"\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n");
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
