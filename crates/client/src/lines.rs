//! Answers that are one JSON document after another: progress and events.

use crate::error::{Error, Result};
use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

/// JSON documents as they come, or the raw bytes of a log.
#[derive(Debug)]
pub struct JsonLines {
    body: Incoming,
    buffer: BytesMut,
}

/// One document is a few hundred bytes; a peer that sends more without an end is no daemon.
const MAX_DOCUMENT: usize = 16 << 20;

impl JsonLines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next document; `None` at the end. Cancel-safe.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some((document, used)) = first_document(&self.buffer)? {
                let value = api::json::from_slice(&self.buffer[document])
                    .map_err(|e| answer(&e.to_string()))?;
                self.buffer.advance(used);
                return Ok(Some(value));
            }
            if self.buffer.len() > MAX_DOCUMENT {
                return Err(answer("a document without end"));
            }
            let Some(piece) = self.bytes().await? else {
                let rest = self.buffer.iter().all(u8::is_ascii_whitespace);
                return if rest { Ok(None) } else { Err(answer("unexpected EOF")) };
            };
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// The next raw bytes; `None` at the end.
    pub async fn bytes(&mut self) -> Result<Option<bytes::Bytes>> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn answer(message: &str) -> Error {
    Error::Answer { what: "stream", message: message.to_owned() }
}

/// Where the first whole document of `buffer` is, and how much it uses up; documents need no newline between them.
fn first_document(buffer: &[u8]) -> Result<Option<(std::ops::Range<usize>, usize)>> {
    let Some(start) = buffer.iter().position(|b| !b.is_ascii_whitespace()) else { return Ok(None) };
    let mut documents = serde_json::Deserializer::from_slice(&buffer[start..])
        .into_iter::<&serde_json::value::RawValue>();
    match documents.next() {
        None => Ok(None),
        Some(Ok(document)) => {
            let end = start + document.get().len();
            Ok(Some((start..end, end)))
        }
        Some(Err(e)) if e.is_eof() => Ok(None),
        Some(Err(e)) => Err(answer(&e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_with_and_without_newlines() {
        let check = |text: &str, first: Option<&str>| {
            let found = first_document(text.as_bytes()).unwrap();
            assert_eq!(found.map(|(range, _)| &text[range]), first, "{text}");
        };
        check("", None);
        check(" \r\n", None);
        check("{\"a\":1", None);
        check("{\"a\":\"}\"}\r\n{\"b\":2}", Some("{\"a\":\"}\"}"));
        check(" {\"a\":{}}{\"b\":2}", Some("{\"a\":{}}"));
        assert!(first_document(b"no json").is_err());
    }
}
