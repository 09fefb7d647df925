//! Files that are whole or not there.

use crate::error::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::Path;

/// How much a write shall survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `kill -9` of the writer: written and renamed, not synced.
    Process,
    /// A power cut: file and directory are synced (two fsyncs).
    Power,
}

/// Replaces `path` with `bytes` in one step: readers see the old content or the new, never a part.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tmp = dir.join(format!(".{name}.{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::open(&tmp, flags, Mode::from_raw_mode(mode))?);
        file.write_all(bytes)?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        std::fs::rename(&tmp, path)?;
        if durability == Durability::Power {
            sync_dir(dir)?;
        }
        Ok(())
    };
    write()
        .inspect_err(|_| drop(std::fs::remove_file(&tmp)))
        .context(|| format!("write {}", path.display()))
}

/// Makes the names in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Syncs the file system that `fd` is on, as after unpacking a layer.
pub fn sync_filesystem(fd: impl AsFd) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

/// Removes a file; that it is gone already is success.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a tree without following links; that it is gone already is success.
pub fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Creates `path` and what is above it with `mode`; an existing directory is left as it is.
pub fn create_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .context(|| format!("create directory {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_no_temporary_file() {
        let dir = std::env::temp_dir().join(format!("stdx-{}", std::process::id()));
        create_dir(&dir, 0o700).unwrap();
        let path = dir.join("a");
        replace(&path, b"one", 0o600, Durability::Process).unwrap();
        replace(&path, b"two", 0o600, Durability::Power).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        remove_tree(&dir).unwrap();
        remove_tree(&dir).unwrap();
    }
}
