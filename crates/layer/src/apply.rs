//! The way in: a stream to a directory.

use crate::limits::Limits;
use crate::pipeline::{self, Progress};
use crate::unpack::{Rules, Unpacker};
use std::io::Read;
use std::path::PathBuf;
use stdx::{Context as _, Result};
use sys::dir::Dir;
use sys::jail::Access;
use types::Digest;

/// How a layer is to be applied.
#[derive(Default, Clone, Copy)]
pub struct Options<'a> {
    /// How much it may cost.
    pub limits: Limits,
    /// Told how many bytes of the stream, compressed as it is, have been read; from another thread.
    pub progress: Option<Progress<'a>>,
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// sha256 of the uncompressed stream, all of it: the layer's diff id.
    pub diff_id: Digest,
    /// Bytes of the uncompressed stream.
    pub bytes: u64,
    /// Bytes of all files, holes included.
    pub content: u64,
    /// Entries, and directories that they implied.
    pub entries: u64,
    /// Extended attributes that were not taken over.
    pub dropped_xattrs: u64,
    /// Directories that the archive has things in but says nothing about, relative to the root, which is the empty path.
    /// For [`inherit`](crate::inherit).
    pub implied: Vec<PathBuf>,
}

/// Unpacks a layer, compressed or not, into `dir`, which must be empty and nobody else's meanwhile.
///
/// After an error `dir` holds a part and must be thrown away. [`stdx::Kind::InvalidArgument`] for an archive that is
/// malformed, ambiguous or over a limit. Runs until `reader` ends.
pub fn apply(dir: &Dir, reader: &mut (dyn Read + Send), options: &Options<'_>) -> Result<Applied> {
    // The umask cannot be asked for without changing it for the whole process.
    run(dir, reader, options, 0o777)
}

/// As [`apply`], on a thread that can reach nothing but `dir` (and what is open already). `reader` runs in the jail too:
/// it must not open files or sockets while it is read.
pub fn apply_jailed(
    dir: &Dir,
    reader: &mut (dyn Read + Send),
    options: &Options<'_>,
) -> Result<Applied> {
    // Jailed threads have no umask.
    let work = |_walls: sys::jail::Walls| run(dir, reader, options, 0);
    sys::jail::run("unpack", &[(dir, Access::Write)], work)
        .context(|| "jail the unpacking thread")?
}

fn run(
    dir: &Dir,
    reader: &mut (dyn Read + Send),
    options: &Options<'_>,
    umask: u32,
) -> Result<Applied> {
    let (unpacked, streamed) = pipeline::run(reader, &options.limits, options.progress, |plain| {
        let mut archive = tar::Reader::new(plain, tar::Limits::default());
        Unpacker::new(dir, &options.limits, umask, Rules::Layer).run(&mut archive)
    })
    .context(|| "apply layer")?;
    Ok(Applied {
        diff_id: streamed.diff_id,
        bytes: streamed.bytes,
        content: unpacked.content,
        entries: unpacked.entries,
        dropped_xattrs: unpacked.dropped_xattrs,
        implied: unpacked.implied,
    })
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("limits", &self.limits).finish_non_exhaustive()
    }
}
