//! Records in rotated files, one a line: what the formats share.
//!
//! ```text
//! NAME        being written, newest last
//! NAME.1      rotated, newest                 NAME.1.gz   the same, compressed by the daemon
//! NAME.2      rotated, older
//! ```
//!
//! Rotation moves every file on by one name, newest last, and then creates a new first one. A file is never truncated:
//! who reads it goes on reading it under its new name, or under none. Nothing is synced: logs survive `kill -9` of
//! everybody, not a power cut, and a line that a power cut tore is skipped by the reader.
//!
//! The shim writes and rotates, the daemon compresses. So that a file does not get a new name while it is replaced by
//! its compressed self, both hold the folder's lock (`flock`) meanwhile. The shim does not wait for it: as long as it
//! cannot be had, it writes on into the file that it has ([`Writer`]).

mod compress;
mod reader;
mod source;
mod tail;
mod writer;

pub use compress::compress;
pub use reader::Reader;
pub(crate) use source::nanos;
pub use writer::Writer;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::{Buffer, Entry, Record};

/// Writes records as lines.
pub trait Encode: Debug {
    /// How many bytes the line of `record` may have.
    fn longest(&self, record: &Record<'_>) -> usize;

    /// Appends the line of `record`, with its newline, to `out`.
    fn line(&mut self, record: &Record<'_>, out: &mut Buffer);
}

/// Reads lines back.
pub trait Decode: Debug + Default + Send {
    /// The record of a line without its newline; `None` when it is damaged.
    fn entry(&mut self, line: &[u8]) -> Option<Entry>;
}

/// More rotated files than this are not looked for.
const MAX_FILES: u32 = 10_000;

/// The name of the file that was rotated `index` times; 0 is the one that is written.
pub(crate) fn rotated(path: &Path, index: u32) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    with_suffix(path, &format!(".{index}"))
}

/// The same, compressed.
pub(crate) fn compressed(path: &Path, index: u32) -> PathBuf {
    with_suffix(path, &format!(".{index}.gz"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// One of a log's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) index: u32,
    pub(crate) path: PathBuf,
    pub(crate) compressed: bool,
}

/// The log's names that exist, newest first. One may be missing in the middle of a rotation, two mark the end. Where
/// both forms of a file are there, the plain one is meant: the other may not be complete.
pub(crate) fn names(path: &Path) -> impl Iterator<Item = Name> {
    let path = path.to_owned();
    let mut missing = 0;
    let there = |path: &Path| path.symlink_metadata().is_ok();
    (0..MAX_FILES)
        .map(move |index| {
            let plain = rotated(&path, index);
            if there(&plain) {
                return Some(Name { index, path: plain, compressed: false });
            }
            let gz = compressed(&path, index);
            (index > 0 && there(&gz)).then_some(Name { index, path: gz, compressed: true })
        })
        .take_while(move |name| {
            missing = if name.is_some() { 0 } else { missing + 1 };
            missing < 2
        })
        .flatten()
}

/// Takes the lock on the names of a log's folder; `None` when somebody else has it and `wait` is not wanted.
pub(crate) fn lock_names(path: &Path, wait: bool) -> io::Result<Option<OwnedFd>> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let operation =
        if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
    match rustix::fs::flock(&folder, operation) {
        Ok(()) => Ok(Some(folder)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// That a file is not there is no error.
pub(crate) fn present(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
