//! One layer's archive into one snapshot, on a thread of its own.

use crate::chain;
use layer::Applied;
use ring::digest::{Context, SHA256};
use snapshot::{Key, Mounts, Name, Snapshotter};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stdx::{Context as _, Error, Kind, Result};
use sys::dir::Dir;
use types::Digest;

/// What the keys of half-made layers begin with: nobody owns them after a crash.
pub(crate) const KEY_PREFIX: &str = "pull-";

/// What a layer's archive must turn out to be.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// Of the archive as it is stored or sent, if that is known.
    pub(crate) blob: Option<(Digest, u64)>,
    /// What the layer is called in an error.
    pub(crate) number: usize,
}

/// An active snapshot that is thrown away unless it is committed.
#[derive(Debug)]
pub(crate) struct Active {
    snapshots: Arc<dyn Snapshotter>,
    key: Key,
    is_committed: bool,
}

/// A layer that is unpacked and was what it should be. Nobody sees it yet.
#[derive(Debug)]
pub(crate) struct Unpacked {
    active: Active,
    applied: Applied,
}

impl Active {
    fn prepare(snapshots: &Arc<dyn Snapshotter>, parent: Option<&Name>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = Key::new(format!("{KEY_PREFIX}{}-{number}", std::process::id()))?;
        snapshots.prepare(&key, parent)?;
        Ok(Self { snapshots: Arc::clone(snapshots), key, is_committed: false })
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.is_committed {
            return;
        }
        if let Err(error) = self.snapshots.remove_active(&self.key) {
            tracing::warn!(key = %self.key, %error, "half-made layer stays until the next start");
        }
    }
}

impl Unpacked {
    /// Bytes of file content.
    pub(crate) fn size(&self) -> u64 {
        self.applied.content
    }

    /// Of the uncompressed archive.
    pub(crate) fn diff_id(&self) -> &Digest {
        &self.applied.diff_id
    }

    /// Makes the layer visible as `name` on top of `parent`, which is there by now. That somebody else did it meanwhile is
    /// success.
    pub(crate) fn commit(mut self, name: &Name, parent: Option<&Name>, rebase: bool) -> Result<()> {
        let snapshots = Arc::clone(&self.active.snapshots);
        let key = self.active.key.clone();
        if rebase && parent.is_some() {
            snapshots.rebase(&key, parent)?;
        }
        if let Mounts::Overlay { lower, .. } = snapshots.mounts(&key)?
            && parent.is_some()
        {
            let dir = open(&snapshots, &key)?;
            layer::inherit(&dir, &self.applied.implied, &lower)?;
        }
        stdx::fail_point!("image.layer.before-commit");
        match snapshots.commit(name, &key) {
            Ok(()) => self.active.is_committed = true,
            Err(error) if error.kind() == Kind::Conflict => {}
            Err(error) => return Err(error.with_context("failed to register layer")),
        }
        stdx::fail_point!("image.layer.after-commit");
        Ok(())
    }
}

/// Unpacks `archive` into a new snapshot and checks that it is what it should be. Blocks; on a thread of its own.
pub(crate) fn unpack(
    snapshots: &Arc<dyn Snapshotter>,
    parent: Option<&Name>,
    archive: &mut (dyn Read + Send),
    expected: &Expected,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Unpacked> {
    let active = Active::prepare(snapshots, parent)?;
    stdx::fail_point!("image.layer.after-prepare");
    let dir = open(snapshots, &active.key)?;
    let mut archive = Hashed { inner: archive, hash: Context::new(&SHA256), count: 0 };
    let limits = layer::Limits::default();
    let options = layer::Options { limits, progress: Some(progress) };
    let applied = layer::apply_jailed(&dir, &mut archive, &options);
    // Usually at its end already: `apply` reads on after the archive's. After a failure the rest still tells whether the
    // archive is bad or its bytes are not what they should be.
    let rest = io::copy(&mut archive, &mut io::sink()).context(|| "read layer");
    if rest.is_ok() {
        archive.check(expected)?;
    }
    let applied = applied.map_err(|e| e.with_context("failed to register layer"))?;
    rest?;
    if applied.diff_id != expected.diff_id {
        return Err(Error::new(
            Kind::DataLoss,
            format!(
                "invalid diffID for layer {}: expected \"{}\", got \"{}\"",
                expected.number, expected.diff_id, applied.diff_id
            ),
        ));
    }
    Ok(Unpacked { active, applied })
}

/// Unpacks `archive`, whatever it is, into a new snapshot. Blocks; on a thread of its own.
pub(crate) fn unpack_new(
    snapshots: &Arc<dyn Snapshotter>,
    parent: Option<&Name>,
    archive: &mut (dyn Read + Send),
) -> Result<Unpacked> {
    let active = Active::prepare(snapshots, parent)?;
    stdx::fail_point!("image.layer.after-prepare");
    let dir = open(snapshots, &active.key)?;
    let applied = layer::apply_jailed(&dir, archive, &layer::Options::default())
        .map_err(|e| e.with_context("failed to register layer"))?;
    Ok(Unpacked { active, applied })
}

fn open(snapshots: &Arc<dyn Snapshotter>, key: &Key) -> Result<Dir> {
    let path = snapshots.writable(key)?;
    Dir::open(&path).context(|| format!("open {}", path.display()))
}

/// Hashes and counts what is read.
struct Hashed<'a> {
    inner: &'a mut (dyn Read + Send),
    hash: Context,
    count: u64,
}

impl Hashed<'_> {
    /// At its end: whether these were the expected bytes.
    fn check(self, expected: &Expected) -> Result<()> {
        let Some((digest, size)) = &expected.blob else { return Ok(()) };
        if self.count != *size {
            return Err(content::wrong_size(digest, *size, self.count));
        }
        // Only sha256 names layers: the few that use sha512 are told apart by their diff id alone.
        let actual = chain::finish(&self.hash.finish());
        if digest.algorithm() == types::Algorithm::Sha256 && actual != *digest {
            return Err(content::mismatch(digest, &actual));
        }
        Ok(())
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

/// Puts what was being done before an error.
pub(crate) trait WithContext {
    fn with_context(self, doing: &str) -> Self;
}

impl WithContext for Error {
    fn with_context(self, doing: &str) -> Self {
        Err::<(), _>(self).context(|| doing).expect_err("it was an error before")
    }
}
