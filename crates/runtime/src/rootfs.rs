//! The root file system as a detached mount, made by the parent before the child exists.
//!
//! Nothing is attached to the host's tree at any time: the mount lives in descriptors until the child attaches it in
//! its own mount namespace, and goes with it.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use sys::mount::{self, Attributes, Context};

use crate::error::{Error, Result, Step as _};

mod mapped;

/// A root file system that is described, not attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// An overlay.
    Overlay {
        /// Read-only layers, top first.
        lower: Vec<PathBuf>,
        /// The writable layer; without one the root is read-only.
        upper: Option<PathBuf>,
        /// The overlay's work directory, on the same file system as `upper`.
        work: Option<PathBuf>,
    },
    /// A directory as it is, with the mounts beneath it.
    Directory(PathBuf),
}

/// The longest value that one option takes (fsconfig(2), 256 with the NUL).
const LONGEST: usize = 255;

impl Rootfs {
    /// Makes the detached mount. It goes with its descriptor unless it is attached somewhere.
    pub fn mount(&self) -> Result<OwnedFd> {
        match self {
            Self::Directory(path) => directory(path),
            // An overlay of one directory is refused by the kernel, and would show nothing else.
            Self::Overlay { lower, upper: None, .. } if lower.len() == 1 => {
                let tree = directory(&lower[0])?;
                let read_only = Attributes { set: mount::RDONLY, ..Attributes::default() };
                mount::set_attributes(&tree, read_only, true)
                    .step(|| "make the root file system read-only")?;
                Ok(tree)
            }
            Self::Overlay { lower, upper, work } => {
                overlay(lower, upper.as_deref().zip(work.as_deref())).map_err(|e| match e {
                    Error::System { step, errno, cause } if errno == 0 || !cause.is_empty() => {
                        Error::System {
                            step: format!("mount the overlay root file system: {step}"),
                            errno,
                            cause,
                        }
                    }
                    other => other,
                })
            }
        }
    }
}

impl Rootfs {
    /// As [`mount`](Self::mount), with the ids of its files mapped by a user namespace: what a layer calls user 0 is root
    /// inside of the namespace, and what is written there belongs to user 0 on disk.
    pub fn mount_mapped(&self, namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
        match self {
            Self::Overlay { lower, upper: None, .. } if lower.len() == 1 => {
                let tree = mapped::tree(&lower[0], namespace)?;
                let read_only = Attributes { set: mount::RDONLY, ..Attributes::default() };
                mount::set_attributes(&tree, read_only, false)
                    .step(|| "make the root file system read-only")?;
                Ok(tree)
            }
            Self::Directory(path) => mapped::tree(path, namespace),
            Self::Overlay { lower, upper, work } => {
                let writable = upper.as_deref().zip(work.as_deref());
                mapped::overlay(lower, writable, namespace)
            }
        }
    }
}

fn directory(path: &Path) -> Result<OwnedFd> {
    let shown = path.display();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())
        .step(|| format!("open root file system {shown}"))?;
    let tree =
        mount::clone_tree(&dir, c"", true).step(|| format!("clone root file system {shown}"))?;
    // Where the host shares its mounts, what the container mounts in its root must not appear on the host.
    let private = Attributes { propagation: mount::PRIVATE, ..Attributes::default() };
    mount::set_attributes(&tree, private, true)
        .step(|| format!("make root file system {shown} private"))?;
    Ok(tree)
}

fn overlay(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> Result<OwnedFd> {
    let context = Context::open("overlay").step(|| "open the file system type")?;
    let set = |key: &str, value: &[u8]| {
        context.set(key, value).step(|| format!("{key}={}", String::from_utf8_lossy(value)))
    };
    set("source", b"overlay")?;
    // Directories whose paths do not fit an option are opened and named by descriptor; they stay open until the file
    // system exists.
    let mut open = Vec::new();
    let (links, _back);
    if one_option_each() {
        for directory in lower {
            let value = short(directory, &mut open)?;
            set("lowerdir+", value.as_os_str().as_bytes())?;
        }
    } else {
        let plain = joined(lower);
        if fits(&plain) {
            set("lowerdir", &plain)?;
        } else {
            // Names of one byte in a folder that nobody else can see: as many layers as an overlay takes at all.
            links = Links::new(lower)?;
            _back = links.enter()?;
            set("lowerdir", &links.names)?;
        }
    }
    if let Some((upper, work)) = writable {
        set("upperdir", &escaped(&short(upper, &mut open)?, b"\\"))?;
        set("workdir", &escaped(&short(work, &mut open)?, b"\\"))?;
    }
    // What is in the upper directory must mean the same without this kernel's defaults: layers are taken from it.
    for feature in ["redirect_dir", "metacopy", "index", "xino"] {
        set(feature, b"off")?;
    }
    context.mount(0).step(|| "create")
}

/// Whether overlay takes `lowerdir+`, once for each directory: since Linux 6.8.
///
/// Asked of the version, since a kernel before 6.5 only finds out when it makes the file system, and logs it.
fn one_option_each() -> bool {
    kernel_is_at_least((6, 8))
}

fn kernel_is_at_least(wanted: (u32, u32)) -> bool {
    let uname = rustix::system::uname();
    at_least(&uname.release().to_string_lossy(), wanted)
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// Whether an option can have this value. Before Linux 6.5 options of overlay are joined with commas.
fn fits(value: &[u8]) -> bool {
    value.len() <= LONGEST && !value.contains(&b',')
}

/// A name for `path` that fits an option; opens it when the path itself does not.
fn short(path: &Path, open: &mut Vec<OwnedFd>) -> Result<PathBuf> {
    if fits(&escaped(path, b"\\")) {
        return Ok(path.to_owned());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .step(|| format!("open {}", path.display()))?;
    let name = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    open.push(fd);
    Ok(PathBuf::from(name))
}

/// All lower directories in one value, for kernels without `lowerdir+`.
fn joined(lower: &[PathBuf]) -> Vec<u8> {
    lower.iter().map(|n| escaped(n, b"\\:")).collect::<Vec<_>>().join(&b':')
}

/// Links of one byte to directories, in a detached file system of their own.
struct Links {
    folder: OwnedFd,
    /// The links, as one value of `lowerdir`.
    names: Vec<u8>,
}

impl Links {
    fn new(directories: &[PathBuf]) -> Result<Self> {
        // Bytes that mean nothing to a path, to overlay or to the mount API.
        let special = |byte: &u8| b"./:,\\=".contains(byte);
        let bytes: Vec<u8> = (b'!'..=u8::MAX).filter(|b| !special(b) && *b != 0x7f).collect();
        let limit = (LONGEST + 1).div_ceil(2);
        if directories.len() > limit {
            return Err(Error::NotImplemented(format!(
                "{} layers are too many for this kernel: before Linux 6.8 it takes {limit}",
                directories.len()
            )));
        }
        let context = Context::open("tmpfs").step(|| "open tmpfs")?;
        let folder = context.mount(0).step(|| "make a file system for links")?;
        let mut names = Vec::new();
        for (directory, byte) in directories.iter().zip(&bytes) {
            let name: &[u8] = std::slice::from_ref(byte);
            rustix::fs::symlinkat(directory.as_path(), &folder, name)
                .step(|| format!("link {}", directory.display()))?;
            if !names.is_empty() {
                names.push(b':');
            }
            names.extend(name);
        }
        Ok(Self { folder, names })
    }

    /// Makes it the working directory until the result is dropped.
    fn enter(&self) -> Result<Back> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let before =
            rustix::fs::open(".", flags, Mode::empty()).step(|| "open the working directory")?;
        rustix::process::fchdir(&self.folder).step(|| "enter the folder of links")?;
        Ok(Back(before))
    }
}

/// The working directory that was.
struct Back(OwnedFd);

impl Drop for Back {
    fn drop(&mut self) {
        // It was the working directory a moment ago; nobody of us uses relative names if it is gone.
        let _gone = rustix::process::fchdir(&self.0);
    }
}

fn escaped(path: &Path, special: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("runtime-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn layer(&self, name: &str, file: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join(file), name).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn read(root: &OwnedFd, name: &str) -> Result<Vec<u8>, Errno> {
        let fd = rustix::fs::openat(root, name, OFlags::RDONLY, Mode::empty())?;
        let mut bytes = vec![0; 300];
        let n = rustix::io::read(&fd, &mut bytes)?;
        Ok(bytes[..n].to_vec())
    }

    #[test]
    fn the_top_layer_wins_and_writes_go_to_the_upper_directory() {
        let scratch = Scratch::new("overlay");
        let lower = vec![
            scratch.layer("top:colon\\back", "a"),
            scratch.layer("bottom", "a"),
            scratch.layer("other", "b"),
        ];
        let upper = scratch.0.join("up\\per");
        let work = scratch.0.join("work");
        std::fs::create_dir_all(&upper).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        let rootfs =
            Rootfs::Overlay { lower: lower.clone(), upper: Some(upper.clone()), work: Some(work) };
        let root = rootfs.mount().unwrap();
        assert_eq!(read(&root, "a").unwrap(), b"top:colon\\back");
        assert_eq!(read(&root, "b").unwrap(), b"other");
        rustix::fs::mkdirat(&root, "made", Mode::from_raw_mode(0o755)).unwrap();
        assert!(upper.join("made").is_dir());
        let seen = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!seen.contains(scratch.0.to_str().unwrap()), "the mount is attached");
        drop(root);
        for layers in [lower.clone(), lower[..1].to_vec()] {
            let read_only =
                Rootfs::Overlay { lower: layers, upper: None, work: None }.mount().unwrap();
            assert_eq!(read(&read_only, "a").unwrap(), b"top:colon\\back");
            let error =
                rustix::fs::mkdirat(&read_only, "x", Mode::from_raw_mode(0o755)).unwrap_err();
            assert_eq!(error, Errno::ROFS);
        }
    }

    #[test]
    fn long_paths_and_many_layers_fit() {
        let scratch = Scratch::new("long");
        let deep = scratch.0.join(["d".repeat(200), "e".repeat(200)].iter().collect::<PathBuf>());
        let mut lower = Vec::new();
        for i in 0..120 {
            let layer = deep.join(i.to_string());
            std::fs::create_dir_all(&layer).unwrap();
            std::fs::write(layer.join(format!("f{i}")), "x").unwrap();
            lower.push(layer);
        }
        let root = Rootfs::Overlay { lower, upper: None, work: None }.mount().unwrap();
        for i in 0..120 {
            assert_eq!(read(&root, &format!("f{i}")).unwrap(), b"x");
        }
    }

    #[test]
    fn older_kernels_get_one_option() {
        assert_eq!(joined(&["/a:b".into(), "/c\\d".into()]), b"/a\\:b:/c\\\\d");
        for (release, has) in [
            ("6.1.0-56-cloud-amd64", false),
            ("6.8", true),
            ("6.18.5+", true),
            ("5.15", false),
            ("x", false),
        ] {
            assert_eq!(at_least(release, (6, 8)), has, "{release}");
        }
        let scratch = Scratch::new("links");
        let lower: Vec<PathBuf> =
            (0..128).map(|n| scratch.layer(&format!("comma,{n}"), &format!("f{n}"))).collect();
        let links = Links::new(&lower).unwrap();
        assert!(fits(&links.names), "{} bytes", links.names.len());
        let name: &[u8] = &links.names[2 * 90..=2 * 90];
        assert_eq!(
            rustix::fs::readlinkat(&links.folder, name, []).unwrap().to_bytes(),
            lower[90].as_os_str().as_bytes()
        );
        let error = Links::new(&vec![PathBuf::from("/usr"); 129]).err().unwrap();
        assert!(error.to_string().contains("6.8"), "{error}");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = Rootfs::Directory("/nonexistent/x".into()).mount().unwrap_err();
        assert_eq!(
            error.to_string(),
            "open root file system /nonexistent/x: no such file or directory"
        );
        let lower = vec!["/nonexistent/y".into(), "/usr".into()];
        let error =
            Rootfs::Overlay { lower, upper: None, work: None }.mount().unwrap_err().to_string();
        assert!(error.contains("overlay") && error.contains("no such file"), "{error}");
        // Before Linux 6.5 it is only found when the file system is made, and the kernel's log has the name.
        assert!(error.contains("/nonexistent/y") || !one_option_each(), "{error}");
    }
}
