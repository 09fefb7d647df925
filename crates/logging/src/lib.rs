//! The contract of log drivers: what a record is, who writes them, who reads them.
//!
//! A container writes bytes. The shim cuts them into *records*, one a line, and gives them to a [`Sink`]; a line longer
//! than [`MAX_LINE`] becomes several records of which all but the last are *partial*. The last, unterminated line of a
//! stream that ended is a partial record with nothing after it. So the bytes of a stream are those of its records'
//! lines, each that is not partial followed by a newline.
//!
//! Only the shim writes, and it writes while no daemon runs. Daemons read with a [`Reader`], any number at a time, and
//! never hold up the writer: a reader that is too slow for the rotation loses whole files and says how many.
//!
//! # Following
//!
//! ```text
//!   open(Query{follow})  ─▶  loop { read_more(&mut records) }
//!                              More      → once more
//!                              CaughtUp  → wait until watch() is readable, acknowledge(), once more
//!                              Finished  → the end (not following, or `until` has passed)
//! ```

#![forbid(unsafe_code)]

mod buffer;
pub mod conformance;
pub mod driver;
pub mod files;
mod info;
pub mod options;
mod pieces;
pub mod ship;
pub mod split;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stdx::Result;
use stdx::time::Timestamp;

pub use buffer::Buffer;
pub use driver::{Destination, Driver, Registry, Shipper, Undelivered};
pub use info::Info;
pub use options::Options;
pub use pieces::{Piece, Pieces};
pub use split::{MAX_LINE, Splitter};

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; also everything that comes through a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`, as log files and options spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line, or a part of one, on its way into a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it was written to.
    pub stream: Stream,
    /// When it was read; all parts of a line have the time of its first.
    pub time: Timestamp,
    /// The bytes without the newline, at most [`MAX_LINE`] of them, not necessarily UTF-8.
    pub line: &'a [u8],
    /// No newline follows: more of the line does, or nothing.
    pub partial: bool,
}

/// What was chosen to be written into every record of a container: labels and environment variables.
pub type Attributes = Vec<(String, String)>;

/// A line, or a part of one, as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was written to.
    pub stream: Stream,
    /// When it was written.
    pub time: Timestamp,
    /// The bytes without the newline.
    pub line: Vec<u8>,
    /// No newline follows.
    pub partial: bool,
    /// The record's attributes; consecutive records share one list when theirs are equal.
    pub attributes: Option<Arc<Attributes>>,
}

impl Entry {
    /// Whether this was cut off a line that was too long and goes on in the next entry of the same stream; the last,
    /// unterminated line of a stream is partial as well, but whole.
    pub fn is_cut(&self) -> bool {
        // A cut may fall up to three bytes early, not to split a character.
        self.partial && self.line.len() + 3 >= MAX_LINE
    }
}

/// Where the shim writes a container's records.
///
/// A sink never blocks for long and never syncs: logs survive the end of any process, not a power cut.
pub trait Sink {
    /// Takes a record; it may be kept in memory until [`flush`](Self::flush).
    ///
    /// An error means that records were lost, this one or earlier ones; the next call tries anew.
    fn write(&mut self, record: &Record<'_>) -> Result<()>;

    /// Makes everything that was taken visible to readers. Called whenever the container's output pauses.
    fn flush(&mut self) -> Result<()>;

    /// Starts a new file now, whatever the size of the present one.
    fn rotate(&mut self) -> Result<()>;

    /// Gives memory back until it is needed again. Called when a container has been silent for a while.
    fn release(&mut self) {}
}

/// Which records a reader wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only the last so many records, counted before the times are looked at, as Docker does. `None`: all.
    pub tail: Option<u64>,
    /// Only records of this time or later.
    pub since: Option<Timestamp>,
    /// Only records of this time or earlier.
    pub until: Option<Timestamp>,
    /// Do not stop at the end of what is written.
    pub follow: bool,
    /// Go on behind what was read before; `tail` is then not looked at.
    pub from: Option<Position>,
}

/// A place between two records of a log, which survives rotation, compression and the end of whoever knew it.
///
/// Files are known by their first record's time, which no other file of the log has: names move, and inodes come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// When the first record of the file was written, in nanoseconds since 1970.
    pub first: i64,
    /// Bytes of the file's text before the place.
    pub offset: u64,
}

/// How a reader stands after [`Reader::read_more`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once.
    More,
    /// Everything that is written has been read; more may be written.
    CaughtUp,
    /// There will be no more.
    Finished,
}

/// Reads records back in the order in which they were written.
pub trait Reader: Send {
    /// Appends the next records, a bounded number at a time.
    fn read_more(&mut self, records: &mut Vec<Entry>) -> Result<Progress>;

    /// A descriptor that is readable when there may be more to read. `None` when not following.
    fn watch(&self) -> Option<BorrowedFd<'_>>;

    /// Takes the notice off [`watch`](Self::watch); to be called before [`read_more`](Self::read_more), or a notice
    /// between the two is lost.
    fn acknowledge(&mut self);

    /// How many records could not be read: damaged lines, and whole files that rotation removed before they were
    /// read (counted as one each).
    fn lost(&self) -> u64;

    /// The place behind the last record that was read, to come back to. `None`: nothing has been read.
    fn position(&self) -> Option<Position>;

    /// Device and inode of the file that is being read.
    fn reading(&self) -> Option<(u64, u64)>;
}
