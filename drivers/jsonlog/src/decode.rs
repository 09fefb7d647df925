//! A line → its record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use logging::files::Decode;
use logging::{Attributes, Entry, Stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use stdx::time::Timestamp;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    attrs: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads lines; keeps the attributes of the last one, because all lines of a container have the same.
#[derive(Debug, Default)]
pub struct Decoder {
    attributes: Option<(String, Arc<Attributes>)>,
}

impl Decode for Decoder {
    fn entry(&mut self, line: &[u8]) -> Option<Entry> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let time: Timestamp = line.time.parse().ok()?;
        let stream = if line.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
        let attributes = match line.attrs {
            Some(raw) => Some(self.attributes(raw.get())?),
            None => None,
        };
        let mut text = line.log.into_owned().into_bytes();
        let partial = text.pop_if(|b| *b == b'\n').is_none();
        Some(Entry { stream, time, line: text, partial, attributes })
    }
}

impl Decoder {
    fn attributes(&mut self, raw: &str) -> Option<Arc<Attributes>> {
        if let Some((_, shared)) = self.attributes.as_ref().filter(|(text, _)| text == raw) {
            return Some(Arc::clone(shared));
        }
        let map: BTreeMap<String, String> = serde_json::from_str(raw).ok()?;
        let shared = Arc::new(map.into_iter().collect());
        self.attributes = Some((raw.to_owned(), Arc::clone(&shared)));
        Some(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoder;
    use logging::files::Encode as _;
    use logging::{Buffer, Record};

    #[test]
    fn what_was_written_is_read_back() {
        let attributes = vec![("a".to_owned(), "<\"é".to_owned()), ("b".to_owned(), String::new())];
        let time = Timestamp::from_unix(1_700_000_000, 5);
        let mut decoder = Decoder::default();
        for (text, partial) in [("", false), ("plain", true), ("q\"\\\u{2028}<é🦀\r\t", false)] {
            let record = Record { stream: Stream::Stderr, time, line: text.as_bytes(), partial };
            let mut out = Buffer::default();
            Encoder::new(&attributes).line(&record, &mut out);
            let line = out.written();
            let entry = decoder.entry(&line[..line.len() - 1]).unwrap();
            assert_eq!(entry.line, text.as_bytes());
            assert_eq!((entry.stream, entry.time, entry.partial), (Stream::Stderr, time, partial));
            assert_eq!(*entry.attributes.unwrap(), attributes);
        }
    }

    #[test]
    fn fields_may_come_in_any_order_and_damaged_lines_are_none() {
        let mut decoder = Decoder::default();
        let good = br#"{"time":"2023-01-01T00:00:00Z","new":1,"stream":"stdout","log":"x\n"}"#;
        assert_eq!(decoder.entry(good).unwrap().line, b"x");
        for bad in [&b""[..], b"{", b"null", b"{\"log\":\"x\"}", &good[..good.len() - 1], &[0; 40]]
        {
            assert!(decoder.entry(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
