//! Places inside the root to mount on or to work in, made when they are missing.
//!
//! Images have links to what is not there: `/etc/resolv.conf → ../run/systemd/resolve/stub-resolv.conf` without a
//! `/run/systemd`. As with Docker, what such a link leads to is made, inside the root. Every look-up is the kernel's, from
//! the root (`RESOLVE_IN_ROOT`): whoever swaps directories and links meanwhile only chooses another place inside.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::dir::Dir;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Opens the directory `path` (`O_PATH`), making it and what is missing above it.
pub(super) fn directory(root: &Dir, path: &Path) -> std::io::Result<OwnedFd> {
    ensure(root, path, Kind::Directory, MOST_LINKS)
}

/// Opens the file `path` (`O_PATH`), which may be of any type, or makes an empty one and what is missing above it.
pub(super) fn file(root: &Dir, path: &Path) -> std::io::Result<OwnedFd> {
    ensure(root, path, Kind::File, MOST_LINKS)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

fn ensure(root: &Dir, path: &Path, kind: Kind, links: usize) -> std::io::Result<OwnedFd> {
    let flags =
        if kind == Kind::Directory { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH };
    let open = || root.open_in_root(path, flags, Mode::empty());
    match open() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        done => return done,
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT.into());
    };
    let parent = ensure(root, above, Kind::Directory, links)?;
    let made = match kind {
        Kind::Directory => rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            rustix::fs::mknodat(&parent, name, FileType::RegularFile, Mode::from_raw_mode(0o755), 0)
        }
    };
    match made {
        Err(Errno::EXIST) => {}
        result => {
            result?;
            return open();
        }
    }
    // It exists and yet leads nowhere: a link, or somebody was faster.
    let target = match rustix::fs::readlinkat(&parent, name, Vec::new()) {
        Err(Errno::INVAL) => return open(),
        target => target?,
    };
    let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
    ensure(root, &above.join(OsString::from_vec(target.into_bytes())), kind, links)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("runtime-place-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("root")).unwrap();
        path
    }

    #[test]
    fn links_to_nowhere_are_made_true_inside_the_root() {
        let scratch = scratch("links");
        let path = scratch.join("root");
        let root = Dir::open(&path).unwrap();
        let link =
            |target: &str, name: &str| std::os::unix::fs::symlink(target, path.join(name)).unwrap();
        std::fs::create_dir(path.join("etc")).unwrap();
        link("../run/systemd/stub", "etc/resolv.conf");
        link("/run", "var");
        link("../../../../outside", "escape");
        file(&root, Path::new("/etc/resolv.conf")).unwrap();
        assert!(path.join("run/systemd/stub").is_file());
        directory(&root, Path::new("/var/lib/x")).unwrap();
        assert!(path.join("run/lib/x").is_dir());
        directory(&root, Path::new("/escape/y")).unwrap();
        assert!(path.join("outside/y").is_dir() && !scratch.join("outside").exists());
        link("loop-b", "loop-a");
        link("loop-a", "loop-b");
        assert!(directory(&root, Path::new("/loop-a")).is_err());
        assert!(file(&root, Path::new("/loop-b/x")).is_err());
        std::fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn what_exists_stays_and_mismatches_are_told() {
        let scratch = scratch("exists");
        let path = scratch.join("root");
        let root = Dir::open(&path).unwrap();
        std::fs::write(path.join("file"), "text").unwrap();
        file(&root, Path::new("/file")).unwrap();
        assert_eq!(std::fs::read(path.join("file")).unwrap(), b"text");
        let error = directory(&root, Path::new("/file")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTDIR.raw_os_error()));
        assert!(file(&root, Path::new("/file/x")).is_err());
        // A directory is a place for a file only in name; the kernel refuses the mount.
        std::fs::create_dir(path.join("dir")).unwrap();
        file(&root, Path::new("/dir")).unwrap();
        std::fs::remove_dir_all(scratch).unwrap();
    }
}
