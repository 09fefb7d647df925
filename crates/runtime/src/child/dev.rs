//! `/dev`: device nodes and the links that every Unix program expects.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::dir::Dir;

use crate::error::{Result, Step as _};
use crate::plan::{DeviceKind, DevicePlan};

/// Names in `/dev` and what they lead to (runtime-spec, `runtime-linux.md`, dev symbolic links).
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Makes nodes and links. What exists stays: an image or a mount may bring its own.
///
/// `/dev` is opened once, inside the root, and everything is made by its descriptor: an image whose `/dev` is a link
/// gets its nodes where the link leads inside the container, never on the host (CVE-2026-41579).
///
/// `hosts`: the host's nodes, detached, one a device, where the container cannot make its own.
pub(super) fn fill(root: &Dir, devices: &[DevicePlan], hosts: &[Option<OwnedFd>]) -> Result<()> {
    let dev = root.make_dirs("/dev", 0o755).step(|| "open /dev")?;
    for (at, device) in devices.iter().enumerate() {
        let step = || format!("make device {}", device.path.display());
        if let Some(Some(node)) = hosts.get(at) {
            bind(root, device, node)?;
            continue;
        }
        let name = device.path.file_name().unwrap_or_default();
        if device.path.parent() == Some(Path::new("/dev")) {
            make(&dev, name, device).step(step)?;
        } else {
            let parent = device.path.parent().unwrap_or(Path::new("/"));
            make(&root.make_dirs(parent, 0o755).step(step)?, name, device).step(step)?;
        }
    }
    for (name, target) in LINKS {
        // Only where the kernel has it.
        if name == "core" && root.symlink_metadata(target).is_err() {
            continue;
        }
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e).step(|| format!("make link /dev/{name}")),
        }
    }
    Ok(())
}

/// Puts the host's node on an empty file.
fn bind(root: &Dir, device: &DevicePlan, node: &OwnedFd) -> Result<()> {
    let step = || format!("bind device {}", device.path.display());
    let parent = device.path.parent().unwrap_or(Path::new("/"));
    let dir = root.make_dirs(parent, 0o755).step(step)?;
    let name = device.path.file_name().unwrap_or_default();
    match rustix::fs::mknodat(&dir, name, FileType::RegularFile, Mode::from_raw_mode(0o666), 0) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(e) => return Err(e).step(step),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty()).step(step)?;
    sys::mount::attach(node, &place).step(step)
}

fn make(dir: &Dir, name: &std::ffi::OsStr, device: &DevicePlan) -> rustix::io::Result<()> {
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = sys::process::device(device.major, device.minor);
    match rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(device.mode), number) {
        Err(Errno::EXIST) => return Ok(()),
        result => result?,
    }
    if device.uid != 0 || device.gid != 0 {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
