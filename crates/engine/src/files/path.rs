//! Paths that a client names in a container, as Docker understands them, and what is there.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result};
use sys::dir::Dir;

/// Links in one path, as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// What is at a path of a container (`X-Docker-Container-Path-Stat`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Its last name; `/` for the root, `.` when the path ends so.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// `st_mode`: what it is, and its permissions.
    pub mode: u32,
    /// When its content last changed.
    pub modified: Timestamp,
    /// Where a link leads in the end, from the container's root; empty for everything else.
    pub link_target: String,
}

/// A path, cleaned, from the container's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// As the client wrote it, for errors.
    pub(crate) asked: String,
    /// Clean and absolute, but for a `/` or `/.` at its end, which follow a link there and want a directory.
    pub(crate) whole: PathBuf,
    /// What the archive calls it.
    pub(crate) base: String,
}

impl Named {
    /// [`Kind::InvalidArgument`] for an empty path and one with a NUL.
    pub(crate) fn new(asked: &str) -> Result<Self> {
        if asked.is_empty() {
            return Err(Error::invalid("bad parameter: pathcannot be empty"));
        }
        if asked.contains('\0') {
            return Err(Error::invalid("bad parameter: path has a zero byte"));
        }
        let mut clean: Vec<&str> = Vec::new();
        for component in asked.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(clean.pop()),
                name => clean.push(name),
            }
        }
        let mut whole = format!("/{}", clean.join("/"));
        let mut base = clean.last().copied().unwrap_or("/").to_owned();
        if asked.ends_with("/.") || asked == "." {
            whole.push_str(if clean.is_empty() { "." } else { "/." });
            ".".clone_into(&mut base);
        } else if asked.ends_with('/') && !clean.is_empty() {
            whole.push('/');
        }
        Ok(Self { asked: asked.to_owned(), whole: whole.into(), base })
    }

    /// Docker's words for what happened at this path of the container that the client calls `container`.
    pub(crate) fn explain(&self, error: io::Error, container: &str) -> Error {
        let at = self.whole.display();
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!(
                "Could not find the file {} in container {container}",
                self.asked
            )),
            io::ErrorKind::NotADirectory => Error::invalid(format!("lstat {at}: not a directory")),
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                Error::invalid(format!("lstat {at}: too many levels of symbolic links"))
            }
            _ if error.raw_os_error() == Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()) => {
                Error::invalid(format!("lstat {at}: file name too long"))
            }
            _ => {
                let kind = stdx::error::kind_of_io(&error);
                let kind = if kind == Kind::NotFound { Kind::Internal } else { kind };
                Error::new(kind, format!("lstat {at}")).caused_by(error)
            }
        }
    }
}

/// What is at a path, a link itself. What is in the kernel's own file systems is not there, as in Docker, which has them
/// not mounted.
pub(crate) fn look(root: &Dir, named: &Named) -> io::Result<Stat> {
    let found = root.open_in_root(&named.whole, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = fstat(&found)?;
    if layer::is_kernels(&found)? {
        // The place where it is mounted is there.
        let above = root.open_in_root(
            named.whole.parent().unwrap_or(Path::new("/")),
            OFlags::PATH,
            Mode::empty(),
        );
        if above.and_then(|above| Ok(fstat(above)?)).is_ok_and(|above| above.st_dev == stat.st_dev)
        {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    Ok(stat)
}

/// The answer to `HEAD`.
pub(crate) fn describe(root: &Dir, named: &Named) -> io::Result<PathStat> {
    let stat = look(root, named)?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => resolve(root, &named.whole, true)?.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    Ok(PathStat {
        name: named.base.clone(),
        size: stat.st_size,
        mode: stat.st_mode,
        modified: Timestamp::from_unix(
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        link_target,
    })
}

/// Where a path leads with all links followed, as a path without links. It is a text to show and to look up anew: what
/// it names may change at any time. `partly`: what is missing is left as it is.
pub(crate) fn resolve(root: &Dir, path: &Path, partly: bool) -> io::Result<PathBuf> {
    let mut pending: VecDeque<OsString> = names(path);
    let mut done = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&name);
        match root.read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    pending.push_front(name);
                }
            }
            // It is there, and no link.
            Err(e) if Some(rustix::io::Errno::INVAL.raw_os_error()) == e.raw_os_error() => {
                done = next
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Not a link, or not there: only a look can tell.
                match root.symlink_metadata(&next) {
                    Ok(_) => done = next,
                    Err(e) if e.kind() == io::ErrorKind::NotFound && partly => done = next,
                    Err(e) => return Err(e),
                }
            }
            Err(_) if partly => done = next,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_are_cleaned_and_keep_what_their_end_means() {
        let check = |asked: &str, whole: &str, base: &str| {
            let named = Named::new(asked).unwrap();
            assert_eq!(
                (named.whole.to_str().unwrap(), named.base.as_str()),
                (whole, base),
                "{asked}"
            );
        };
        check("/d", "/d", "d");
        check("d/f", "/d/f", "f");
        check("/d/", "/d/", "d");
        check("/d/.", "/d/.", ".");
        check("/", "/", "/");
        check("/.", "/.", ".");
        check(".", "/.", ".");
        check("/d/../e", "/e", "e");
        check("../../e", "/e", "e");
        check("//a//b", "/a/b", "b");
        assert_eq!(Named::new("").unwrap_err().to_string(), "bad parameter: pathcannot be empty");
        Named::new("a\0b").unwrap_err();
    }

    #[test]
    fn links_lead_nowhere_but_into_the_root() {
        let folder = std::env::temp_dir().join(format!("files-path-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        for (target, link) in [
            ("/a", "abs"),
            ("../../../../a/b", "a/up"),
            ("/etc/passwd", "out"),
            ("loop", "loop"),
            ("missing/x", "dangling"),
        ] {
            let _old = std::fs::remove_file(folder.join(link));
            symlink(target, folder.join(link)).unwrap();
        }
        let root = Dir::open(&folder).unwrap();
        let check = |path: &str, wanted: &str| {
            let found = resolve(&root, Path::new(path), true).unwrap();
            assert_eq!(found, Path::new(wanted), "{path}");
        };
        check("/abs/b", "/a/b");
        check("/a/up", "/a/b");
        check("/out", "/etc/passwd");
        check("/dangling", "/missing/x");
        check("/abs/../abs/b/..", "/a");
        resolve(&root, Path::new("/dangling"), false).unwrap_err();
        resolve(&root, Path::new("/loop"), true).unwrap_err();
        let stat = describe(&root, &Named::new("/out").unwrap()).unwrap();
        assert_eq!((stat.link_target.as_str(), stat.size), ("/etc/passwd", 11));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
