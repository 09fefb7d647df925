//! Content as files named by digest.
//!
//! ```text
//! ROOT/
//! ├── blobs/sha256/<64 hex>     immutable, mode 0400, whole from the moment the name exists
//! ├── blobs/sha512/<128 hex>
//! └── ingest/<n>                being written; whatever is here at start is from a crash, and goes
//! ```
//!
//! A blob is hashed while it is written, synced, renamed to its name, and the directory is synced: three steps of which
//! any may be the last before a power cut without a wrong blob ever having a name.

#![forbid(unsafe_code)]

use content::{Expected, Info, Ingester, Manager, Provider, Writer};
use ring::digest::{Context as Hasher, SHA256, SHA512};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use stdx::{Context, Error, Kind, Result};
use types::{Algorithm, Digest};

/// The store below one directory.
#[derive(Debug)]
pub struct BlobDir {
    root: PathBuf,
    next: AtomicU64,
}

impl BlobDir {
    /// Opens or creates the store and forgets what a crash left half-written. One process at a time: whoever opens it
    /// holds the data-root's lock.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for dir in ["blobs/sha256", "blobs/sha512"] {
            stdx::fs::create_dir(&root.join(dir), 0o700)?;
        }
        let ingest = root.join("ingest");
        stdx::fs::remove_tree(&ingest)?;
        stdx::fs::create_dir(&ingest, 0o700)?;
        Ok(Self { root, next: AtomicU64::new(0) })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        // A digest is checked when it is made: it has no slash and no dot.
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn open_file(&self, digest: &Digest) -> Result<File> {
        match File::open(self.path(digest)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(content::not_found(digest)),
            other => other.context(|| format!("open content {digest}")),
        }
    }
}

impl Provider for BlobDir {
    fn info(&self, digest: &Digest) -> Result<Info> {
        match std::fs::symlink_metadata(self.path(digest)) {
            Ok(meta) => Ok(Info { digest: digest.clone(), size: meta.len() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(content::not_found(digest)),
            Err(e) => Err(Error::io(format!("look at content {digest}"), e)),
        }
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.open_file(digest)?))
    }

    fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.open_file(digest)?.take(limit.saturating_add(1));
        file.read_to_end(&mut bytes).context(|| format!("read content {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::new(
                Kind::DataLoss,
                format!("content {digest} is over {limit} bytes"),
            ));
        }
        let mut hash = hasher(digest.algorithm());
        hash.update(&bytes);
        let actual = finish(hash, digest.algorithm());
        if actual != *digest {
            return Err(Error::new(
                Kind::DataLoss,
                format!("content {digest} is damaged: it reads as {actual}"),
            ));
        }
        Ok(bytes)
    }
}

impl Ingester for BlobDir {
    fn writer(&self, expected: Expected) -> Result<Box<dyn Writer>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("ingest").join(number.to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
            .context(|| format!("create {}", path.display()))?;
        let hash = hasher(expected.digest.algorithm());
        let target = self.path(&expected.digest);
        Ok(Box::new(FileWriter { file, path: Some(path), target, expected, hash, written: 0 }))
    }
}

impl Manager for BlobDir {
    fn remove(&self, digest: &Digest) -> Result<()> {
        // Not synced: a blob that comes back after a power cut does no harm, it is what its name says.
        stdx::fs::remove_file(&self.path(digest))
    }

    fn walk(&self, visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.root.join("blobs").join(algorithm.as_str());
            for entry in std::fs::read_dir(&dir).context(|| format!("list {}", dir.display()))? {
                let entry = entry.context(|| format!("list {}", dir.display()))?;
                let name =
                    format!("{}:{}", algorithm.as_str(), entry.file_name().to_string_lossy());
                let Ok(digest) = name.parse::<Digest>() else {
                    tracing::warn!(path = %entry.path().display(), "not a blob, left alone");
                    continue;
                };
                match self.info(&digest) {
                    Ok(info) => visit(&info)?,
                    // Removed meanwhile.
                    Err(e) if e.kind() == Kind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}

struct FileWriter {
    file: File,
    /// Where it is being written; `None` once it has its name.
    path: Option<PathBuf>,
    target: PathBuf,
    expected: Expected,
    hash: Hasher,
    written: u64,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter")
            .field("expected", &self.expected)
            .field("written", &self.written)
            .finish()
    }
}

impl Write for FileWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let after = self.written + buf.len() as u64;
        if let Some(size) = self.expected.size.filter(|size| after > *size) {
            return Err(io::Error::other(content::wrong_size(&self.expected.digest, size, after)));
        }
        let n = self.file.write(buf)?;
        self.hash.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Writer for FileWriter {
    fn commit(mut self: Box<Self>) -> Result<Info> {
        let digest = self.expected.digest.clone();
        if let Some(size) = self.expected.size.filter(|size| *size != self.written) {
            return Err(content::wrong_size(&digest, size, self.written));
        }
        let actual = finish(self.hash.clone(), digest.algorithm());
        if actual != digest {
            return Err(content::mismatch(&digest, &actual));
        }
        self.file.sync_all().context(|| format!("sync content {digest}"))?;
        stdx::fail_point!("blobdir.commit.before-rename");
        let path = self.path.take().expect("only commit takes it, and commit consumes the writer");
        rename(&path, &self.target).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        stdx::fail_point!("blobdir.commit.after-rename");
        Ok(Info { digest, size: self.written })
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What cannot be removed now is swept when the store is opened next.
            drop(std::fs::remove_file(path));
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).context(|| format!("rename to {}", to.display()))?;
    let dir = to.parent().expect("a blob is inside of a directory");
    stdx::fs::sync_dir(dir).context(|| format!("sync {}", dir.display()))
}

fn hasher(algorithm: Algorithm) -> Hasher {
    Hasher::new(match algorithm {
        Algorithm::Sha256 => &SHA256,
        Algorithm::Sha512 => &SHA512,
    })
}

fn finish(hash: Hasher, algorithm: Algorithm) -> Digest {
    let value = hash.finish();
    match algorithm {
        Algorithm::Sha256 => {
            Digest::from_sha256(value.as_ref().try_into().expect("SHA-256 has 32 bytes"))
        }
        Algorithm::Sha512 => {
            Digest::from_sha512(value.as_ref().try_into().expect("SHA-512 has 64 bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn digest(bytes: &[u8]) -> Digest {
        content::mem::digest(Algorithm::Sha256, bytes)
    }

    #[test]
    fn passes_the_suite() {
        content::suite::run(|root| BlobDir::open(root).unwrap());
    }

    #[test]
    fn what_a_crash_left_is_swept_and_blobs_stay() {
        let root = tempfile::tempdir().unwrap();
        let store = BlobDir::open(root.path()).unwrap();
        let name = digest(b"kept");
        content::put(&store, &name, b"kept").unwrap();
        let mut writer = store.writer(Expected { digest: digest(b"half"), size: None }).unwrap();
        writer.write_all(b"ha").unwrap();
        // As by kill -9: no destructor runs.
        std::mem::forget(writer);
        assert_eq!(std::fs::read_dir(root.path().join("ingest")).unwrap().count(), 1);
        let store = BlobDir::open(root.path()).unwrap();
        assert_eq!(std::fs::read_dir(root.path().join("ingest")).unwrap().count(), 0);
        assert_eq!(store.read(&name, 100).unwrap(), b"kept");
        let mode = std::fs::metadata(store.path(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
    }

    #[test]
    fn damage_is_noticed_and_healed_by_writing_again() {
        let root = tempfile::tempdir().unwrap();
        let store = BlobDir::open(root.path()).unwrap();
        let name = digest(b"truth");
        content::put(&store, &name, b"truth").unwrap();
        for damaged in [&b"trutH"[..], b"tru", b""] {
            std::fs::write(store.path(&name), damaged).unwrap();
            assert_eq!(store.read(&name, 100).unwrap_err().kind(), Kind::DataLoss);
        }
        content::put(&store, &name, b"truth").unwrap();
        assert_eq!(store.read(&name, 100).unwrap(), b"truth");
    }
}
