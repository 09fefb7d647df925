//! The keys that let go of a container's terminal (`ctrl-p,ctrl-q`).

use stdx::{Error, Result};

/// Docker's default.
const DEFAULT: &[u8] = &[0x10, 0x11];

/// A key sequence, and how much of it was just typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl DetachKeys {
    /// Reads `a`, `ctrl-x`, … separated by commas; nothing stands for the default.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self { keys: DEFAULT.to_vec(), typed: 0 });
        }
        let keys = text.split(',').map(key).collect::<Result<Vec<_>>>()?;
        Ok(Self { keys, typed: 0 })
    }

    /// Takes input, puts what the container shall get into `out`, and says whether the sequence is complete. Keys that
    /// may be its beginning are held back until the next ones decide.
    pub(crate) fn scan(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in input {
            if *byte == self.keys[self.typed] {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    self.typed = 0;
                    return true;
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.typed]);
            self.typed = 0;
            if *byte == self.keys[0] {
                // It cannot complete a sequence of one here: that was the first comparison.
                self.typed = 1;
            } else {
                out.push(*byte);
            }
        }
        false
    }

    /// What is held back, once the input has ended.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let typed = std::mem::take(&mut self.typed);
        self.keys[..typed].to_vec()
    }
}

fn key(name: &str) -> Result<u8> {
    let unknown = || Error::invalid(format!("Unknown character: '{name}'"));
    if let [byte] = name.as_bytes() {
        return Ok(*byte);
    }
    match name.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some(b"@") => Ok(0),
        Some(b"[") => Ok(27),
        Some(b"\\") => Ok(28),
        Some(b"]") => Ok(29),
        Some(b"^") => Ok(30),
        Some(b"_") => Ok(31),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &str, inputs: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::parse(keys).unwrap();
        let mut out = Vec::new();
        for input in inputs {
            if keys.scan(input, &mut out) {
                return (out, true);
            }
        }
        out.extend(keys.rest());
        (out, false)
    }

    #[test]
    fn sequences_are_found_across_reads_and_nothing_else_is_lost() {
        assert_eq!(run("", &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(run("", &[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(run("", &[b"ab\x10", b"x"]), (b"ab\x10x".to_vec(), false));
        assert_eq!(run("", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(run("", &[b"\x10"]), (b"\x10".to_vec(), false));
        assert_eq!(run("a", &[b"xay"]), (b"x".to_vec(), true));
        assert_eq!(run("ctrl-a,a", &[b"\x01b\x01a"]), (b"\x01b".to_vec(), true));
    }

    #[test]
    fn key_names_are_dockers() {
        assert_eq!(DetachKeys::parse("ctrl-@,ctrl-_,x").unwrap().keys, [0, 31, b'x']);
        for bad in ["ctrl-", "ctrl-1", "shift-a", "ab", "a,", "ctrl-p,,q"] {
            let error = DetachKeys::parse(bad).expect_err(bad);
            assert!(error.message().starts_with("Unknown character: '"), "{error}");
        }
    }
}
