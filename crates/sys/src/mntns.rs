//! Mount namespaces by descriptor: looking into a container's, and private ones for putting a tree together.
//!
//! A thread that enters another mount namespace sees another `/` from then on, so each job has a thread of its own that
//! ends with it. What it found leaves it as descriptors, which stay where they are whatever thread uses them.

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::Builder;

/// Runs `work` on a thread whose `/` is the root of the mount namespace `namespace`.
pub fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_a_thread(|| {
        // A thread that shares its root directory with others may not enter.
        unshare(UnshareFlags::FS)?;
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
        work()
    })
}

/// Runs `work` on a thread with a copy of this process's mounts, to which nothing comes back from the copy. The copy
/// lasts as long as the answered descriptor; without it, what was mounted in it falls apart.
pub fn private<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(T, OwnedFd)> {
    on_a_thread(|| {
        unshare(UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let value = work()?;
        Ok((value, current()?))
    })
}

/// The calling thread's mount namespace.
pub fn current() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/thread-self/ns/mnt", flags, Mode::empty())?)
}

fn unshare(what: UnshareFlags) -> io::Result<()> {
    // JUSTIFICATION: rustix marks unshare unsafe because of CLONE_FILES.
    // SAFETY: root, working directory, umask and mounts of this thread alone change; no descriptor or memory does.
    Ok(unsafe { unshare_unsafe(what) }?)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = Builder::new().name("mounts".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use crate::mount::{Context, attach};
    use std::os::fd::AsFd as _;

    #[test]
    fn what_is_mounted_in_a_private_copy_is_seen_through_its_descriptor_alone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = std::env::temp_dir().join(format!("mntns-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let (root, namespace) = private(|| {
            let tmpfs = Context::open("tmpfs")?.mount(0)?;
            attach(&tmpfs, Dir::open(&place)?)?;
            std::fs::create_dir(place.join("below"))?;
            let inner = Context::open("tmpfs")?.mount(0)?;
            attach(&inner, Dir::open(place.join("below"))?)?;
            std::fs::write(place.join("below/file"), "seen")?;
            Dir::open(&place)
        })
        .unwrap();
        assert!(std::fs::read_dir(&place).unwrap().next().is_none());
        assert_eq!(root.read_file("below/file", 10).unwrap(), b"seen");
        let there = inside(namespace.as_fd(), || std::fs::read(place.join("below/file"))).unwrap();
        assert_eq!(there, b"seen");
        std::fs::remove_dir(&place).unwrap();
    }
}
