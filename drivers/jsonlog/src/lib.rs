//! Logs in Docker's json-file format.
//!
//! ```text
//! <id>-json.log      being written        one record a line, newest last:
//! <id>-json.log.1    rotated, newest      {"log":"text\n","stream":"stdout","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.6Z"}
//! <id>-json.log.2    rotated, older       a partial record's "log" has no "\n" at its end; "attrs" only when chosen
//! ```
//!
//! Rotation moves every file on by one name, newest last, and then creates a new first one. A file is never truncated:
//! who reads it goes on reading it under its new name, or under none. Nothing is synced: logs survive `kill -9` of
//! everybody, not a power cut, and a line that a power cut tore is skipped by the reader.

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod reader;
mod tail;
mod writer;

pub use reader::Reader;
pub use writer::{Options, Writer};

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name of the file that was rotated `index` times; 0 is the one that is written.
pub(crate) fn rotated(path: &Path, index: u32) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{index}"));
    PathBuf::from(name)
}
