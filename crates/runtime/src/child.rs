//! The container's own first process, from clone to exec. It is a copy of its creator, on its way into the container:
//! everything it still has of the host is closed at exec at the latest.
//!
//! In order: namespaces and cgroup, the tree of mounts, pivot, terminal, identity, program. Each step is a function
//! that fails with what it was doing; the parent returns that error as its own.

mod console;
mod copy_up;
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

use crate::birth;
use crate::error::{Result, Step as _};
use crate::filter::Filter;
use crate::hooks;
use crate::ids;
use crate::plan::{self, Plan};
use crate::sources::{Origin, Sources};
use crate::sync::{Need, Sync};

pub(crate) use console::open as open_console;
pub(crate) use finish::{Finish, finish};
pub(crate) use procfs::Procfs;

/// What the child needs beside its descriptors.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    /// What the parent has opened; `None` when the child must, being the one who may.
    pub(crate) sources: Option<&'a Sources>,
    pub(crate) origin: Origin<'a>,
    pub(crate) joins: &'a [(NamespaceKind, OwnedFd)],
    pub(crate) netns: Option<BorrowedFd<'a>>,
    pub(crate) cgroup: Option<&'a cgroups::Group>,
    pub(crate) stdio: Stdio<'a>,
    pub(crate) hold: Hold<'a>,
    pub(crate) confinement: Confinement<'a>,
    /// What hooks are told, but for pid and status.
    pub(crate) state: Option<&'a serde_json::Value>,
    pub(crate) preserve: &'a [BorrowedFd<'a>],
    pub(crate) own_keyring: bool,
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
    /// Whether an agent answers some calls.
    pub(crate) listened_to: bool,
}

impl<'a> Confinement<'a> {
    pub(crate) fn of(filter: Option<&'a Filter>) -> Self {
        Self {
            filter: filter.map(|f| (&f.program[..], f.flags)),
            listened_to: filter.is_some_and(|f| f.listened_to),
        }
    }
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
        let mut all: Vec<_> = self.sources.into_iter().flat_map(Sources::descriptors).collect();
        all.extend(self.preserve);
        all.extend(self.joins.iter().map(|(_, fd)| fd.as_fd()));
        all.extend(self.netns);
        all.extend(self.stdio.descriptors());
        all.extend(self.cgroup.into_iter().flat_map(cgroups::Group::descriptors));
        if let Hold::Listen(listener) = self.hold {
            all.push(listener);
        }
        all
    }

    /// The go-between's part: everything that counts for children only, and everything that takes rights which a member of
    /// the container's user namespace no more has.
    pub(crate) fn enter_for_child(&self) -> Result<()> {
        if let Some(group) = self.cgroup.filter(|_| self.plan.has_user_namespace()) {
            group.enter_v1()?;
        }
        if let Some(offsets) = &self.plan.time_offsets {
            birth::set_time_offsets(offsets)?;
        }
        let user = self.joins.iter().find(|(kind, _)| *kind == NamespaceKind::User);
        if user.is_some()
            && let Some(value) = self.plan.process.oom_score_adj
        {
            crate::create::set_oom_score_adj("self", value)?;
        }
        if user.is_some() {
            crate::ids::use_creators_rights(&self.plan.process, self.own_keyring)?;
        }
        let mut rest = Vec::new();
        for (kind, namespace) in self.joins.iter().filter(|(k, _)| *k != NamespaceKind::User) {
            match sys::process::set_namespaces(namespace.as_fd(), plan::flag(*kind)) {
                // It belongs to the user namespace that is to be joined.
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied && user.is_some() => {
                    rest.push((kind, namespace));
                }
                result => result.step(|| format!("join the {kind:?} namespace"))?,
            }
        }
        if let Some(netns) = self.netns {
            sys::process::set_namespaces(netns, clone::NEWNET)
                .step(|| "join the network namespace")?;
        }
        if let Some((_, namespace)) = user {
            sys::process::set_namespaces(namespace.as_fd(), clone::NEWUSER)
                .step(|| "join the user namespace")?;
            ids::become_root(!ids::denies_groups("self"))?;
        }
        rest.into_iter().try_for_each(|(kind, namespace)| {
            sys::process::set_namespaces(namespace.as_fd(), plan::flag(*kind))
                .step(|| format!("join the {kind:?} namespace"))
        })
    }
}

/// Becomes the container.
pub(crate) fn container(job: &Job<'_>, sync: &Sync) -> Result<Infallible> {
    let plan = job.plan;
    sys::process::reset_signals();
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().step(|| "start a session")?;
    let no_groups = enter_user_namespace(plan, sync)?;
    enter_namespaces(job)?;
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).step(|| format!("set hostname {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .step(|| format!("set domainname {name:?}"))?;
    }
    let own;
    let sources = match job.sources {
        Some(sources) => sources,
        None => {
            mounts::cut_off()?;
            own = Sources::open(plan, job.origin)?;
            &own
        }
    };
    let root = mounts::assemble(job, sources)?;
    creating_hooks(job, sync)?;
    let terminal = match plan.process.terminal {
        true => Some(console::open(&root, &plan.process, sync, true)?),
        false => None,
    };
    hide::read_only(&root, &plan.readonly)?;
    hide::mask(&root, &plan.masked)?;
    make_cwd(&root, plan);
    let labels = plan.process.labels.prepare()?;
    if plan.readonly_root {
        let read_only = Attributes { set: sys::mount::RDONLY, ..Attributes::default() };
        sys::mount::set_attributes(&sources.rootfs, read_only, false)
            .step(|| "make the root read-only")?;
    }
    pivot(&sources.rootfs, plan)?;
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
        labels,
        start_hooks: &plan.hooks.start_container,
        state: job.state,
        preserve: job.preserve,
        own_keyring: job.own_keyring && !plan.joins(NamespaceKind::User),
        no_groups,
    })
}

/// Gets this process's new user namespace its ids and becomes its root; whether it refuses setgroups.
fn enter_user_namespace(plan: &Plan, sync: &Sync) -> Result<bool> {
    if !plan.has_user_namespace() {
        return Ok(false);
    }
    if plan.ids.is_some() {
        sync.need(Need::IdMaps)?;
    }
    let no_groups = ids::denies_groups("self");
    if plan.ids.is_some() {
        ids::become_root(!no_groups)?;
    }
    Ok(no_groups)
}

/// The hooks that find the container's mounts in place and the host's root still around them.
fn creating_hooks(job: &Job<'_>, sync: &Sync) -> Result<()> {
    let all = &job.plan.hooks;
    if !(all.prestart.is_empty() && all.create_runtime.is_empty()) {
        sync.need(Need::Hooks)?;
    }
    let Some(state) = job.state.filter(|_| !all.create_container.is_empty()) else {
        return Ok(());
    };
    let mut state = state.clone();
    // As the container sees it (runtime-spec, `runtime.md`, state).
    state["pid"] = rustix::process::getpid().as_raw_nonzero().get().into();
    hooks::run_hooks("createContainer", &all.create_container, &state)
}

fn enter_namespaces(job: &Job<'_>) -> Result<()> {
    if !job.plan.needs_go_between() {
        for (kind, namespace) in job.joins {
            sys::process::set_namespaces(namespace.as_fd(), plan::flag(*kind))
                .step(|| format!("join the {kind:?} namespace"))?;
        }
        if let Some(netns) = job.netns {
            sys::process::set_namespaces(netns, clone::NEWNET)
                .step(|| "join the network namespace")?;
        }
    }
    if job.netns.is_none() && job.plan.new & clone::NEWNET != 0 {
        sys::process::loopback_up().step(|| "bring the loopback interface up")?;
    }
    if let Some(group) = job.cgroup.filter(|_| !job.plan.has_user_namespace()) {
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
fn pivot(rootfs: &OwnedFd, plan: &Plan) -> Result<()> {
    rustix::process::fchdir(rootfs).step(|| "enter the root file system")?;
    // The old root ends up on top of the new one (pivot_root(2), NOTES), where it is taken off; no directory is needed.
    rustix::process::pivot_root(c".", c".").step(|| "pivot to the root file system")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).step(|| "detach the host's root")?;
    rustix::process::chdir(c"/").step(|| "enter the new root")?;
    let propagation = plan.root_propagation;
    if propagation != sys::mount::PRIVATE {
        let attributes = Attributes { propagation, ..Attributes::default() };
        sys::mount::set_attributes_at(CWD, c"/", attributes, false)
            .step(|| "set the root's propagation")?;
    }
    Ok(())
}
