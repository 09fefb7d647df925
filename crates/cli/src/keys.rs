//! The keys that detach from a container, `ctrl-p,ctrl-q` unless the user says otherwise.

/// The default sequence.
pub(crate) const DEFAULT: &[u8] = &[16, 17];

/// Reads `ctrl-a,b` and the like. The error is Docker's.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    text.split(',').map(key).collect()
}

fn key(text: &str) -> Result<u8, String> {
    if let [byte] = *text.as_bytes() {
        return Ok(byte);
    }
    match text.to_lowercase().strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some(b"@") => Ok(0),
        Some(b"[") => Ok(27),
        Some(b"\\") => Ok(28),
        Some(b"]") => Ok(29),
        Some(b"^") => Ok(30),
        Some(b"_") => Ok(31),
        _ if text == "DEL" => Ok(127),
        _ => Err(format!("Unknown character: '{text}'")),
    }
}

/// Watches what is typed for the sequence. What may be its beginning is held back until it is clear.
#[derive(Debug)]
pub(crate) struct Watcher {
    keys: Vec<u8>,
    matched: usize,
}

impl Watcher {
    /// A watcher for `keys`; an empty sequence never matches.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What of `typed` is to be sent on, and whether the sequence is complete; what follows it is dropped.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + self.matched);
        for &byte in typed {
            loop {
                if self.keys.get(self.matched) == Some(&byte) {
                    self.matched += 1;
                    if self.matched == self.keys.len() {
                        self.matched = 0;
                        return (out, true);
                    }
                    break;
                }
                if self.matched == 0 {
                    out.push(byte);
                    break;
                }
                // It was not the sequence: let its beginning go, and look at this key afresh.
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read() {
        let check = |text: &str, want: Result<&[u8], &str>| {
            assert_eq!(parse(text), want.map(<[u8]>::to_vec).map_err(str::to_owned), "{text}");
        };
        check("ctrl-p,ctrl-q", Ok(DEFAULT));
        check("ctrl-A,x", Ok(&[1, b'x']));
        check("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", Ok(&[0, 27, 28, 29, 30, 31]));
        check("DEL", Ok(&[127]));
        check("foo", Err("Unknown character: 'foo'"));
        check("ctrl-1", Err("Unknown character: 'ctrl-1'"));
        check("a,", Err("Unknown character: ''"));
    }

    #[test]
    fn the_beginning_of_a_sequence_is_held_back() {
        let mut watcher = Watcher::new(DEFAULT.to_vec());
        assert_eq!(watcher.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watcher.feed(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(watcher.feed(b"\x10\x10\x11rest"), (b"\x10".to_vec(), true));
        assert_eq!(Watcher::new(Vec::new()).feed(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
