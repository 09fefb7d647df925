//! Logs in a compact form of our own: the driver `local`, and the cache of every driver that ships.
//!
//! ```text
//! o18b5c0a1d2e3f405text       o: standard output, e: standard error; O, E: no newline follows
//!  └ nanoseconds since 1970, 16 hexadecimal digits (two's complement)
//! ```
//!
//! One record a line. A record's text has no newline in it, so its bytes stand as they were written, whatever they are:
//! unlike json-file, nothing is escaped and nothing that is not UTF-8 is lost. Files and rotation are
//! [`logging::files`].

#![forbid(unsafe_code)]

mod driver;
mod line;

pub use driver::Local;

use std::path::{Path, PathBuf};

use logging::{Query, Record, Sink};
use stdx::Result;

/// Reads a log back.
pub type Reader = logging::files::Reader<line::Decoder>;

/// Where and how much to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file; its folder exists.
    pub path: PathBuf,
    /// A file of at least so many bytes is rotated before the next record. `None`: never.
    pub max_size: Option<u64>,
    /// How many files are kept, the one that is written included; at least one.
    pub max_files: u32,
}

/// Writes a container's log.
///
/// A type of its own, so that the code for every line is compiled here, where it is optimised for speed, not in the shim.
#[derive(Debug)]
pub struct Writer(logging::files::Writer<line::Encoder>);

impl Writer {
    /// Opens the log for appending, creating it (0640) when there is none.
    pub fn open(options: Options) -> Result<Self> {
        let Options { path, max_size, max_files } = options;
        logging::files::Writer::open(path, max_size, max_files, line::Encoder).map(Self)
    }
}

impl Sink for Writer {
    fn write(&mut self, record: &Record<'_>) -> Result<()> {
        self.0.write(record)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }

    fn rotate(&mut self) -> Result<()> {
        self.0.rotate()
    }

    fn release(&mut self) {
        self.0.release();
    }
}

/// Opens the log at `path` for reading.
pub fn open(path: &Path, query: Query) -> Result<Box<dyn logging::Reader>> {
    Ok(Box::new(Reader::open(path, query)?))
}
