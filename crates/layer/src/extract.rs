//! An archive into a tree that is somebody's: `cp` into a container.
//!
//! What differs from a layer: names are taken literally (there are no whiteouts), what exists may be kept from being
//! replaced by something else, an owner may be prescribed, and directories on the way show that something was put in.

use crate::limits::Limits;
use crate::unpack::{Rules, Unpacker};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use stdx::{Error, Result};
use sys::dir::Dir;
use sys::userns::IdMaps;

/// Where to, and how.
#[derive(Debug, Clone, Copy)]
pub struct Extract<'a> {
    /// The directory in the tree, from its root and without links. Links below it are followed within the tree, as by a
    /// process that lives in it.
    pub into: &'a Path,
    /// Refuse to put a directory where something else is, and something else where a directory is.
    pub keep_kinds: bool,
    /// Who everything shall belong to; `None`: as the archive says.
    pub owner: Option<(u32, u32)>,
    /// The tree is seen with a user namespace's ids outside; the archive, and `owner`, have those inside.
    pub ids: Option<&'a IdMaps>,
    /// How much it may cost.
    pub limits: Limits,
}

/// Unpacks an archive, compressed or not. To be run on a jailed thread, which has no umask; what was unpacked before an
/// error stays, as with tar.
///
/// [`stdx::Kind::InvalidArgument`] for an archive that is malformed, ambiguous, over a limit or leads out of `into`.
pub fn extract(root: &Dir, archive: &mut (dyn Read + Send), how: &Extract<'_>) -> Result<()> {
    let compressed = AtomicU64::new(0);
    let mut plain = crate::decompress(Counted { inner: archive, count: &compressed })?;
    let mut plain = Bounded {
        inner: &mut plain,
        limits: how.limits,
        compressed: &compressed,
        out: 0,
        refused: None,
    };
    let mut reader = tar::Reader::new(&mut plain, tar::Limits::default());
    let rules = Rules::copy(how.into, how.keep_kinds, how.owner, how.ids.cloned());
    let result = Unpacker::new(root, &how.limits, 0, rules).run(&mut reader);
    match plain.refused {
        Some(refused) => Err(refused),
        None => result.map(drop),
    }
}

struct Counted<'a> {
    inner: &'a mut (dyn Read + Send),
    count: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Plain bytes, as long as they are not more than the limits allow in all.
struct Bounded<'a, 'd> {
    inner: &'a mut crate::Decompressed<'d>,
    limits: Limits,
    compressed: &'a AtomicU64,
    out: u64,
    refused: Option<Error>,
}

impl Read for Bounded<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.out = self.out.saturating_add(n as u64);
        let ratio = self.limits.check_ratio(self.compressed.load(Ordering::Relaxed), self.out);
        let refused = if self.out > self.limits.bytes {
            Some(Error::invalid(format!("archive has more than {} bytes", self.limits.bytes)))
        } else {
            ratio.err()
        };
        if refused.is_some() {
            self.refused = refused;
            return Err(io::Error::other("the archive is refused"));
        }
        Ok(n)
    }
}
