//! The container's own first process, from clone to exec. It is a copy of its creator, on its way into the container:
//! everything it still has of the host is closed at exec at the latest.
//!
//! In order: namespaces and cgroup, the tree of mounts, pivot, terminal, identity, program. Each step is a function
//! that fails with what it was doing; the parent returns that error as its own.

mod console;
mod dev;
mod finish;
mod hide;
mod identity;
mod mounts;
mod null;
mod place;
mod procfs;
mod program;

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci::runtime::NamespaceKind;
use rustix::fs::{CWD, Mode};
use rustix::mount::UnmountFlags;
use sys::clone;
use sys::dir::Dir;
use sys::mount::Attributes;

use crate::error::{Result, Step as _};
use crate::plan::{self, Plan};
use crate::sync::Sync;

pub(crate) use console::open as open_console;
pub(crate) use finish::{Finish, finish};
pub(crate) use procfs::Procfs;

/// What the child needs beside its descriptors.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    /// The detached root file system.
    pub(crate) rootfs: OwnedFd,
    /// Detached sources, one an entry of `plan.mounts`.
    pub(crate) binds: Vec<Option<OwnedFd>>,
    pub(crate) views: Vec<View>,
    pub(crate) joins: Vec<(NamespaceKind, OwnedFd)>,
    pub(crate) netns: Option<BorrowedFd<'a>>,
    pub(crate) cgroup: Option<&'a cgroups::Group>,
    pub(crate) stdio: Stdio<'a>,
    pub(crate) hold: Hold<'a>,
    pub(crate) confinement: Confinement<'a>,
}

/// One of the container's cgroup directories, detached.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) tree: OwnedFd,
    pub(crate) target: String,
    pub(crate) links: Vec<String>,
}

/// Standard streams of a process that has no terminal.
#[derive(Debug, Clone, Copy, Default)]
pub enum Stdio<'a> {
    /// Those of the calling process.
    #[default]
    Inherit,
    /// These.
    Streams {
        /// Descriptor 0.
        stdin: BorrowedFd<'a>,
        /// Descriptor 1.
        stdout: BorrowedFd<'a>,
        /// Descriptor 2.
        stderr: BorrowedFd<'a>,
    },
}

/// Where a created container waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hold<'a> {
    /// It does not.
    No,
    /// At the socket that its creator keeps.
    Socket,
    /// At a listening socket that outlives its creator.
    Listen(BorrowedFd<'a>),
}

/// What the program may not do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Confinement<'a> {
    /// A seccomp program and its flags.
    pub(crate) filter: Option<(&'a [u8], u32)>,
}

impl<'a> Stdio<'a> {
    pub(crate) fn descriptors(self) -> Vec<BorrowedFd<'a>> {
        match self {
            Self::Inherit => Vec::new(),
            Self::Streams { stdin, stdout, stderr } => vec![stdin, stdout, stderr],
        }
    }
}

impl Job<'_> {
    /// Every descriptor that is needed until exec.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.rootfs.as_fd()];
        all.extend(self.binds.iter().flatten().map(|fd| fd.as_fd()));
        all.extend(self.views.iter().map(|view| view.tree.as_fd()));
        all.extend(self.joins.iter().map(|(_, fd)| fd.as_fd()));
        all.extend(self.netns);
        all.extend(self.stdio.descriptors());
        all.extend(self.cgroup.into_iter().flat_map(cgroups::Group::descriptors));
        if let Hold::Listen(listener) = self.hold {
            all.push(listener);
        }
        all
    }
}

/// Becomes the container.
pub(crate) fn container(job: &Job<'_>, sync: &Sync) -> Result<Infallible> {
    let plan = job.plan;
    sys::process::reset_signals();
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().step(|| "start a session")?;
    enter_namespaces(job)?;
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).step(|| format!("set hostname {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .step(|| format!("set domainname {name:?}"))?;
    }
    let root = mounts::assemble(job)?;
    let terminal = match plan.process.terminal {
        true => Some(console::open(&root, &plan.process, sync, true)?),
        false => None,
    };
    hide::read_only(&root, &plan.readonly)?;
    hide::mask(&root, &plan.masked)?;
    make_cwd(&root, plan);
    if plan.readonly_root {
        let read_only = Attributes { set: sys::mount::RDONLY, ..Attributes::default() };
        sys::mount::set_attributes(&job.rootfs, read_only, false)
            .step(|| "make the root read-only")?;
    }
    pivot(job)?;
    if let Some(persona) = plan.personality {
        sys::process::set_personality(persona).step(|| "set personality")?;
    }
    finish(&Finish {
        process: &plan.process,
        root: &root,
        sync,
        hold: job.hold,
        terminal,
        stdio: job.stdio,
        confinement: job.confinement,
    })
}

fn enter_namespaces(job: &Job<'_>) -> Result<()> {
    for (kind, namespace) in &job.joins {
        sys::process::set_namespaces(namespace.as_fd(), plan::flag(*kind))
            .step(|| format!("join the {kind:?} namespace"))?;
    }
    if let Some(netns) = job.netns {
        sys::process::set_namespaces(netns, clone::NEWNET).step(|| "join the network namespace")?;
    } else if job.plan.new & clone::NEWNET != 0 {
        sys::process::loopback_up().step(|| "bring the loopback interface up")?;
    }
    if let Some(group) = job.cgroup {
        group.enter_v1()?;
    }
    if job.plan.new & clone::NEWCGROUP != 0 {
        sys::process::unshare(clone::NEWCGROUP).step(|| "make a cgroup namespace")?;
    }
    Ok(())
}

/// Makes the working directory when the image lacks it, as Docker does. Inside the root, whatever links lie on the way
/// (CVE-2026-55686). What goes wrong is told by entering it later.
fn make_cwd(root: &Dir, plan: &Plan) {
    let cwd = &plan.process.cwd;
    if cwd.as_os_str() != "/" {
        let _told_later = place::directory(root, cwd);
    }
}

/// Makes the assembled tree the root of this mount namespace and lets go of the host's.
fn pivot(job: &Job<'_>) -> Result<()> {
    rustix::process::fchdir(&job.rootfs).step(|| "enter the root file system")?;
    // The old root ends up on top of the new one (pivot_root(2), NOTES), where it is taken off; no directory is needed.
    rustix::process::pivot_root(c".", c".").step(|| "pivot to the root file system")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).step(|| "detach the host's root")?;
    rustix::process::chdir(c"/").step(|| "enter the new root")?;
    let propagation = job.plan.root_propagation;
    if propagation != sys::mount::PRIVATE {
        let attributes = Attributes { propagation, ..Attributes::default() };
        sys::mount::set_attributes_at(CWD, c"/", attributes, false)
            .step(|| "set the root's propagation")?;
    }
    Ok(())
}
