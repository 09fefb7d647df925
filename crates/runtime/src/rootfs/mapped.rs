//! Root file systems that are seen with the ids of a user namespace.
//!
//! Overlay itself cannot be id-mapped; its layers can (Linux 5.19): it is made of detached, mapped copies of them, which it
//! keeps for itself. Nothing on disk is changed, so one image serves containers with and without user namespaces.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use sys::clone::{self, Clone3};
use sys::mount::{self, Attributes};

use crate::birth;
use crate::error::{Error, Result, Step as _};
use crate::sync::{Message, Sync};

/// Since this release an overlay takes layers that are attached nowhere.
const DETACHED: (u32, u32) = (6, 15);

/// A directory as it is, mapped.
pub(super) fn tree(path: &Path, namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let step = || format!("map the ids of {} (does its file system support that?)", path.display());
    let tree = mount::clone_tree(CWD, path, false).step(|| format!("open {}", path.display()))?;
    let private = Attributes { propagation: mount::PRIVATE, ..Attributes::default() };
    mount::set_attributes(&tree, private, false).step(step)?;
    mount::map_ids(&tree, namespace, false).step(step)?;
    Ok(tree)
}

/// An overlay of mapped layers.
pub(super) fn overlay(
    lower: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    namespace: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    let layers = Layers::open(lower, writable, namespace)?;
    if super::kernel_is_at_least(DETACHED) { layers.mount() } else { layers.mount_attached() }
}

/// Mapped copies of an overlay's layers.
struct Layers {
    lower: Vec<OwnedFd>,
    /// The directory that holds both writable ones, which must be on one mount, and their names in it.
    writable: Option<(OwnedFd, [PathBuf; 2])>,
}

impl Layers {
    fn open(
        lower: &[PathBuf],
        writable: Option<(&Path, &Path)>,
        namespace: BorrowedFd<'_>,
    ) -> Result<Self> {
        let lower = lower.iter().map(|path| tree(path, namespace)).collect::<Result<_>>()?;
        let Some((upper, work)) = writable else { return Ok(Self { lower, writable: None }) };
        let both = upper.parent().filter(|parent| work.parent() == Some(parent));
        let (Some(parent), Some(names)) = (both, upper.file_name().zip(work.file_name())) else {
            return Err(Error::Invalid(format!(
                "{} and {} must be in one directory to be mapped",
                upper.display(),
                work.display()
            )));
        };
        let names = [names.0.into(), names.1.into()];
        Ok(Self { lower, writable: Some((tree(parent, namespace)?, names)) })
    }

    fn mount(&self) -> Result<OwnedFd> {
        let named = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let lower: Vec<PathBuf> = self.lower.iter().map(named).collect();
        let Some((parent, [upper, work])) = &self.writable else {
            return super::overlay(&lower, None);
        };
        // Overlay works with the rights of who makes it, in its work directory too: that one must be somebody whom the
        // mapping knows. The directory is ours, so it shows who root is.
        let step = || "look at the writable layer";
        let root = rustix::fs::fstat(parent).step(step)?;
        let (upper, work) = (named(parent).join(upper), named(parent).join(work));
        sys::process::with_file_owner(root.st_uid, root.st_gid, || {
            super::overlay(&lower, Some((&upper, &work)))
        })
        .step(|| "become the container's root for its files")?
    }

    /// For kernels that want layers attached: in a mount namespace that ends with the process that makes the overlay.
    fn mount_attached(&self) -> Result<OwnedFd> {
        let how = Clone3 { namespaces: clone::NEWNS, ..Clone3::default() };
        let born = birth::bear(how, None, false, &|sync| self.make_and_send(sync))?;
        let made = birth::meet(&born, &|_, _| Ok(()));
        birth::reap(&born.pidfd);
        made?.ok_or_else(|| Error::Ended("the overlay's maker brought none".to_owned()))
    }

    fn make_and_send(&self, sync: &Sync) -> Result<Infallible> {
        let private = Attributes { propagation: mount::PRIVATE, ..Attributes::default() };
        mount::set_attributes_at(CWD, c"/", private, true)
            .step(|| "cut the mounts off from the host's")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).step(|| "open /")?;
        // One on the other: that they are attached is what counts, and they are named by descriptor.
        for layer in self.lower.iter().chain(self.writable.iter().map(|(parent, _)| parent)) {
            mount::attach(layer, root.as_fd()).step(|| "attach a layer")?;
        }
        sync.send(&Message::Console(self.mount()?))?;
        sync.send(&Message::Ready)?;
        sys::process::exit_now(0)
    }
}
