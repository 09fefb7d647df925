//! Archive bytes to entries and back.
//!
//! One parser for layers, build contexts, `cp` and `load`, so that all of them see the same archive (security rule R16).
//! It reads ustar, pax, GNU (long names, sparse) and V7, and it refuses what the readers in the field understand
//! differently: a size that only some of them believe in lets an archive hide entries (CVE-2025-62518,
//! CVE-2026-33055). Where GNU tar, Python's tarfile and Go's archive/tar agree, so does it.
//!
//! # Reading
//!
//! ```
//! # fn show(bytes: &[u8]) -> Result<(), tar::Error> {
//! let mut input = bytes;
//! let mut reader = tar::Reader::new(&mut input, tar::Limits::default());
//! let mut buffer = vec![0; 64 * 1024];
//! while let Some(entry) = reader.next_entry()? {
//!     // `entry.path` is bytes that somebody else chose: resolve them with sys::dir, never join them.
//!     while let Some(chunk) = reader.next_chunk(&mut buffer)? {
//!         let (_offset, _bytes) = (chunk.offset, &buffer[..chunk.len]);
//!     }
//! }
//! # Ok(())
//! # }
//! # show(&[0; 1024]).unwrap();
//! ```
//!
//! # Format
//!
//! POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, appendix "Tar Internals".

mod entry;
mod error;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use entry::{Entry, Extent, Kind, Time, Xattrs};
pub use error::Error;
pub use reader::{Chunk, Limits, Reader};
pub use writer::Writer;

/// The size of a block; headers are one, data is padded to whole ones.
pub const BLOCK: usize = 512;

/// The bytes after `size` bytes of data up to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
