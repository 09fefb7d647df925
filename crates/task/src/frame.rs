//! Messages ↔ bytes: a little-endian `u32` length and that many bytes of JSON. Pure; who moves the bytes is not told.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::MAX_FRAME;

const HEADER: usize = 4;

/// What the other end sent is no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length above [`MAX_FRAME`]; the stream is of no further use.
    #[error("a frame of {0} bytes, more than {MAX_FRAME}")]
    TooLong(usize),
    /// The bytes are not the JSON of the message that was expected.
    #[error("not a message of the task protocol")]
    Json(#[from] serde_json::Error),
}

/// A message as bytes. Fails when it is longer than [`MAX_FRAME`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME);
    bytes[..HEADER].copy_from_slice(&header.ok_or(FrameError::TooLong(length))?.to_le_bytes());
    Ok(bytes)
}

/// Puts frames together from bytes as they come.
///
/// Holds at most the bytes that were pushed and not yet taken; between messages it holds no memory, because a shim is
/// idle for most of its life.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// With nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole message, if there is one.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body);
        if rest.len() == length {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..HEADER + length);
        }
        Ok(Some(message?))
    }

    /// Whether the other end stopped in the middle of a message.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Call, Request, Session};

    fn kill(number: u64) -> Call {
        Call {
            number,
            request: Request::Kill { session: Session::Container, signal: 15, all: false },
        }
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut bytes = encode(&kill(1)).unwrap();
        bytes.extend(encode(&kill(2)).unwrap());
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new();
            let mut numbers = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(call) = decoder.take::<Call>().unwrap() {
                    numbers.push(call.number);
                }
            }
            assert_eq!(numbers, [1, 2], "cut at {cut}");
            assert!(decoder.is_empty());
        }
    }

    #[test]
    fn a_length_above_the_bound_is_refused_before_the_bytes_come() {
        let mut decoder = Decoder::new();
        decoder.push(&u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes());
        assert!(
            matches!(decoder.take::<Call>(), Err(FrameError::TooLong(n)) if n == MAX_FRAME + 1)
        );
        let long = "x".repeat(MAX_FRAME);
        assert!(matches!(encode(&long), Err(FrameError::TooLong(_))));
        assert!(encode(&"x".repeat(MAX_FRAME - 2)).is_ok());
    }

    #[test]
    fn a_message_that_is_none_leaves_the_next_one_readable() {
        let mut decoder = Decoder::new();
        decoder.push(&encode(&"what?").unwrap());
        decoder.push(&encode(&kill(3)).unwrap());
        assert!(matches!(decoder.take::<Call>(), Err(FrameError::Json(_))));
        assert_eq!(decoder.take::<Call>().unwrap().unwrap().number, 3);
    }
}
