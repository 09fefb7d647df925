//! An archive of files that name each other, kept beside the data until it is understood.
//!
//! `manifest.json` and `index.json` usually come last, so nothing can be understood before everything was read. Files lie
//! under numbers in a scratch directory; the names that the archive gives them are only ever looked up in a map, so that
//! no name can lead anywhere (CVE-2014-9356, CVE-2014-9357 and their kin).

use crate::Scratch;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use stdx::{Context as _, Error, Result};
use sys::dir::Dir;
use sys::jail::Access;

/// The most entries of one archive: images have a handful of files a layer.
const MAX_ENTRIES: usize = 100_000;
/// Links to links to links.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 256 * 1024;

/// Files of an archive by name.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Holds the files.
    _scratch: Scratch,
    members: HashMap<String, Member>,
    /// How often each file is still going to be read.
    uses: Mutex<HashMap<PathBuf, usize>>,
}

#[derive(Debug)]
enum Member {
    File {
        path: PathBuf,
        size: u64,
    },
    /// Another name, whole.
    Link(String),
}

impl Archive {
    /// Reads a tar, compressed or not, to its end; on a thread that can reach nothing but `scratch`.
    pub(crate) fn read(reader: &mut (dyn Read + Send), scratch: Scratch) -> Result<Self> {
        let path = scratch.path().to_owned();
        let dir = Dir::open(&path).context(|| format!("open {}", path.display()))?;
        let members =
            sys::jail::run("load", &[(&dir, Access::Write)], |_walls| spool(reader, &path))
                .context(|| "jail the loading thread")??;
        Ok(Self { _scratch: scratch, members, uses: Mutex::default() })
    }
}

/// Reads an archive's files into `dir`.
fn spool(reader: &mut (dyn Read + Send), dir: &Path) -> Result<HashMap<String, Member>> {
    let compressed = AtomicU64::new(0);
    let limits = layer::Limits::default();
    let plain = layer::decompress(Counted { inner: reader, count: &compressed })?;
    let mut plain =
        Bounded { inner: plain, compressed: &compressed, plain: 0, ratio: limits.ratio };
    let mut archive = tar::Reader::new(&mut plain, tar::Limits::default());
    let mut members = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut number = 0;
    while let Some(entry) = archive.next_entry().map_err(invalid)? {
        number += 1;
        if number > MAX_ENTRIES {
            return Err(Error::invalid(format!(
                "invalid archive: more than {MAX_ENTRIES} entries"
            )));
        }
        let name = plain_name("", &entry.path)?;
        let member = match &entry.kind {
            tar::Kind::Directory => continue,
            tar::Kind::Symlink { target } => {
                let above = name.rsplit_once('/').map_or("", |(above, _)| above);
                Member::Link(plain_name(above, target)?)
            }
            tar::Kind::HardLink { target } => Member::Link(plain_name("", target)?),
            tar::Kind::File => {
                let path = dir.join(number.to_string());
                let file = create(&path)?;
                while let Some(chunk) = archive.next_chunk(&mut buffer).map_err(invalid)? {
                    file.write_all_at(&buffer[..chunk.len], chunk.offset)
                        .context(|| format!("write {}", path.display()))?;
                }
                // What ends in a hole.
                file.set_len(entry.size).context(|| format!("write {}", path.display()))?;
                Member::File { path, size: entry.size }
            }
            _ => return Err(Error::invalid(format!("invalid archive: {name} is no file"))),
        };
        // The last one counts, as with every tar program.
        members.insert(name, member);
    }
    Ok(members)
}

impl Archive {
    /// Whether a file is there under this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// A file that is going to be read once by whoever has the answer.
    pub(crate) fn usage(&self, name: &str) -> Result<Used<'_>> {
        let (path, size) = self.find(name)?;
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        *uses.entry(path.clone()).or_default() += 1;
        Ok(Used { archive: self, path, size })
    }

    /// A file and its size.
    pub(crate) fn open(&self, name: &str) -> Result<(File, u64)> {
        let (path, size) = self.find(name)?;
        Ok((File::open(path).context(|| format!("open {}", path.display()))?, size))
    }

    /// All bytes of a small file.
    pub(crate) fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let (mut file, size) = self.open(name)?;
        if size > limit {
            return Err(Error::invalid(format!("invalid archive: {name} is over {limit} bytes")));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).context(|| format!("read {name}"))?;
        Ok(bytes)
    }

    fn find(&self, name: &str) -> Result<(&PathBuf, u64)> {
        let mut at = plain_name("", name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&at) {
                Some(Member::File { path, size }) => return Ok((path, *size)),
                Some(Member::Link(target)) => at = target.clone(),
                None => {
                    return Err(Error::invalid(format!("invalid archive: {name} is not in it")));
                }
            }
        }
        Err(Error::invalid(format!("invalid archive: {name} is a link to itself")))
    }
}

/// A big file of an archive. When nobody needs it any more it is removed at once: what is still in memory then is never
/// written to the disk, and committing a layer does not have to wait for it.
#[derive(Debug)]
pub(crate) struct Used<'a> {
    archive: &'a Archive,
    path: &'a PathBuf,
    pub(crate) size: u64,
}

impl Used<'_> {
    /// Its bytes.
    pub(crate) fn open(&self) -> Result<File> {
        File::open(self.path).context(|| format!("open {}", self.path.display()))
    }

    /// One user less.
    pub(crate) fn done(&self) {
        let mut uses = self.archive.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let left = uses.get_mut(self.path).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            // Its directory goes at the end anyway.
            drop(std::fs::remove_file(self.path));
        }
    }
}

/// The name of `path` as seen from `dir`, without `.` and `..`. What would leave the archive is refused.
fn plain_name(dir: &str, path: &[u8]) -> Result<String> {
    let shown = String::from_utf8_lossy(path);
    let leaves = || Error::invalid(format!("invalid archive: path \"{shown}\" leads out of it"));
    let path = std::str::from_utf8(path)
        .map_err(|_| Error::invalid(format!("invalid archive: name \"{shown}\" is not UTF-8")))?;
    if path.starts_with('/') {
        return Err(leaves());
    }
    let mut parts: Vec<&str> = dir.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(leaves)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn create(path: &PathBuf) -> Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("create {}", path.display()))
}

fn invalid(error: tar::Error) -> Error {
    Error::from(error)
}

/// Counts what is read.
struct Counted<'a> {
    inner: &'a mut (dyn Read + Send),
    count: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Ends a stream that expands beyond reason (CVE-2017-14992).
struct Bounded<'a> {
    inner: layer::Decompressed<'a>,
    compressed: &'a AtomicU64,
    plain: u64,
    ratio: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.plain += n as u64;
        let most = self.compressed.load(Ordering::Relaxed).saturating_mul(self.ratio);
        if self.plain > layer::Limits::RATIO_AFTER && self.plain > most {
            return Err(std::io::Error::other(format!(
                "archive expands more than {} times",
                self.ratio
            )));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        let check = |dir: &str, path: &str, expected: &str| {
            assert_eq!(plain_name(dir, path.as_bytes()).unwrap(), expected, "{dir} {path}");
        };
        check("", "./a/b", "a/b");
        check("", "a//b/", "a/b");
        check("x/y", "../z/layer.tar", "x/z/layer.tar");
        check("x", "layer.tar", "x/layer.tar");
        for (dir, path) in
            [("", "/a"), ("", ".."), ("", "../a"), ("a", "../../b"), ("", "a/../../b")]
        {
            assert!(plain_name(dir, path.as_bytes()).is_err(), "{dir} {path}");
        }
        assert!(plain_name("", b"\xff").is_err());
    }
}
