//! Logs in Docker's json-file format.
//!
//! ```text
//! {"log":"text\n","stream":"stdout","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.6Z"}
//! ```
//!
//! One record a line, newest last; a partial record's `log` has no `\n` at its end; `attrs` only when chosen. Files and
//! rotation are [`logging::files`].

#![forbid(unsafe_code)]

mod decode;
mod driver;
mod encode;

pub use driver::JsonFile;

use std::path::{Path, PathBuf};

use logging::{Attributes, Query, Record, Sink};
use stdx::Result;

/// Reads a log back.
pub type Reader = logging::files::Reader<decode::Decoder>;

/// Where and how much to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file; its folder exists.
    pub path: PathBuf,
    /// A file of at least so many bytes is rotated before the next record. `None`: never.
    pub max_size: Option<u64>,
    /// How many files are kept, the one that is written included; at least one.
    pub max_files: u32,
    /// Written into every record; empty as a rule.
    pub attributes: Attributes,
}

/// Writes a container's log.
///
/// A type of its own, so that the code for every line is compiled here, where it is optimised for speed, not in the shim.
#[derive(Debug)]
pub struct Writer(logging::files::Writer<encode::Encoder>);

impl Writer {
    /// Opens the log for appending, creating it (0640) when there is none.
    pub fn open(options: Options) -> Result<Self> {
        let Options { path, max_size, max_files, attributes } = options;
        let encoder = encode::Encoder::new(&attributes);
        logging::files::Writer::open(path, max_size, max_files, encoder).map(Self)
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
