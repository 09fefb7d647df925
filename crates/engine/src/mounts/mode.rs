//! The mode of a `-v` or a `--volumes-from`: `ro`, `z`, `rslave`, `nocopy`, …, at most one word of each sort.

use stdx::{Error, Result};

/// Mount propagations, as `-v` and `--mount` name them.
pub(super) const PROPAGATIONS: [&str; 6] =
    ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// A mode, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mode {
    /// As it was given.
    pub(super) text: String,
    pub(super) rw: bool,
    pub(super) propagation: Option<String>,
    pub(super) no_copy: bool,
}

impl Mode {
    /// Reads a mode. The SELinux words `z` and `Z`, and the consistency words, which only ever meant something to Docker
    /// Desktop, change nothing here.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut mode = Self { text: text.to_owned(), rw: true, propagation: None, no_copy: false };
        if text.is_empty() {
            return Ok(mode);
        }
        let mut seen = [false; 5];
        for word in text.split(',') {
            let sort = match word {
                "rw" => 0,
                "ro" => {
                    mode.rw = false;
                    0
                }
                "z" | "Z" => 1,
                "nocopy" => {
                    mode.no_copy = true;
                    2
                }
                "consistent" | "cached" | "delegated" => 3,
                word if PROPAGATIONS.contains(&word) => {
                    mode.propagation = Some(word.to_owned());
                    4
                }
                _ => return Err(Error::invalid(format!("invalid mode: {text}"))),
            };
            if std::mem::replace(&mut seen[sort], true) {
                return Err(Error::invalid(format!("invalid mode: {text}")));
            }
        }
        Ok(mode)
    }
}
