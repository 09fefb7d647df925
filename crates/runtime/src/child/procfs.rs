//! The one door to procfs: a detached instance that nobody can have mounted anything over.
//!
//! Runtimes wrote labels and kernel parameters through the container's `/proc`, and more than once through whatever an
//! image had put there (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2025-52881).

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use sys::mount::Context;

use crate::error::{Result, Step as _};

/// A procfs of this process's pid namespace, not attached anywhere when it is used.
#[derive(Debug)]
pub(crate) struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// Makes an instance for this purpose alone.
    pub(crate) fn private() -> Result<Self> {
        let step = || "make a private procfs";
        let root = Context::open("proc").and_then(|context| context.mount(0)).step(step)?;
        Ok(Self { root })
    }

    /// Uses a mount that is about to be attached.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// The mount again.
    pub(crate) fn into_mount(self) -> OwnedFd {
        self.root
    }

    /// Opens a file.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> std::io::Result<OwnedFd> {
        // /proc/self is a link; nothing else may be one.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// Writes `value` to a file in one write.
    pub(crate) fn write(&self, path: &str, value: &str) -> std::io::Result<()> {
        let file = self.open(path, OFlags::WRONLY)?;
        let written = rustix::io::write(&file, value.as_bytes())?;
        if written == value.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
    }

    /// Sets a kernel parameter of this process's namespaces.
    pub(crate) fn set_sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.write(&format!("sys/{path}"), value).step(|| format!("set sysctl {path} to {value:?}"))
    }

    /// Sets how soon the kernel ends this process when memory is short.
    ///
    /// Going lower than one was started with needs `CAP_SYS_RESOURCE`; without it the value stays as it is, which kills
    /// the container sooner than asked and is no reason not to run it.
    pub(crate) fn set_oom_score_adj(&self, value: i32) -> Result<()> {
        match self.write("self/oom_score_adj", &value.to_string()) {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied && value < 0 => Ok(()),
            result => result.step(|| format!("set oom_score_adj to {value}")),
        }
    }
}
