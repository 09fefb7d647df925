//! As much of MessagePack as the forward protocol needs.

use stdx::time::Timestamp;

/// Writes values one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }

    /// Begins an array of up to 15 values.
    pub(crate) fn array(&mut self, length: u8) {
        self.0.push(0x90 | length & 15);
    }

    /// Begins a map of `length` pairs.
    pub(crate) fn map(&mut self, length: usize) {
        match u16::try_from(length) {
            Ok(short @ 0..16) => self.0.push(0x80 | short.to_be_bytes()[1]),
            Ok(length) => {
                self.0.push(0xde);
                self.0.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                self.0.push(0xdf);
                self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes_as_text(text.as_bytes());
    }

    /// Text as it is, even if it is no UTF-8: what a container writes is not changed on its way.
    pub(crate) fn bytes_as_text(&mut self, bytes: &[u8]) {
        match bytes.len() {
            short @ 0..32 => self.0.push(0xa0 | u8::try_from(short).unwrap_or(31)),
            length @ 32..256 => {
                self.0.extend_from_slice(&[0xd9, u8::try_from(length).unwrap_or(u8::MAX)])
            }
            length => match u16::try_from(length) {
                Ok(length) => {
                    self.0.push(0xda);
                    self.0.extend_from_slice(&length.to_be_bytes());
                }
                Err(_) => {
                    self.0.push(0xdb);
                    self.0.extend_from_slice(
                        &u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes(),
                    );
                }
            },
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(0xd2);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
            Err(_) => {
                self.0.push(0xd3);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    /// The protocol's `EventTime`: extension 0, seconds and nanoseconds.
    pub(crate) fn event_time(&mut self, time: Timestamp) {
        self.0.extend_from_slice(&[0xd7, 0x00]);
        let seconds = u32::try_from(time.unix_seconds()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&seconds.to_be_bytes());
        self.0.extend_from_slice(&time.subsec_nanos().to_be_bytes());
    }
}

/// An acknowledgement at the start of `bytes`, `{"ack": NAME}`, and its length; `None` while it is not all there. What
/// is none at all is an empty name, which nobody waits for.
pub(crate) fn ack(bytes: &[u8]) -> Option<(&str, usize)> {
    const NONE: Option<(&str, usize)> = Some(("", 0));
    if *bytes.first()? != 0x81 {
        return NONE;
    }
    let (key, at) = match text(bytes, 1) {
        Parsed::Text(key, at) => (key, at),
        Parsed::More => return None,
        Parsed::Other => return NONE,
    };
    match text(bytes, at) {
        Parsed::Text(name, end) if key == "ack" => Some((name, end)),
        Parsed::More => None,
        _ => NONE,
    }
}

enum Parsed<'a> {
    Text(&'a str, usize),
    More,
    Other,
}

fn text(bytes: &[u8], at: usize) -> Parsed<'_> {
    let Some(head) = bytes.get(at) else { return Parsed::More };
    let (length, start) = match head {
        0xa0..=0xbf => (usize::from(head & 31), at + 1),
        0xd9 => match bytes.get(at + 1) {
            Some(length) => (usize::from(*length), at + 2),
            None => return Parsed::More,
        },
        0xda => match bytes.get(at + 1..at + 3) {
            Some(length) => (usize::from(u16::from_be_bytes([length[0], length[1]])), at + 3),
            None => return Parsed::More,
        },
        _ => return Parsed::Other,
    };
    match bytes.get(start..start + length) {
        None => Parsed::More,
        Some(text) => {
            std::str::from_utf8(text).map_or(Parsed::Other, |t| Parsed::Text(t, start + length))
        }
    }
}
