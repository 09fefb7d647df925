//! Making a container: the parent's side.
//!
//! What must be opened in the host's mount namespace is opened here, before the child exists: the root file system,
//! sources of bind mounts, cgroup directories, namespaces. The child inherits the descriptors and needs no path of the
//! host but `/dev/null`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::{NamespaceKind, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use sys::clone::{self, Clone3};

use crate::birth::{self, GoBetween};
use crate::child::{self, Confinement, Hold, Job, Stdio, View};
use crate::error::{Error, Result, Step as _};
use crate::plan::mounts::Source;
use crate::plan::{self, Plan};
use crate::rootfs::Rootfs;
use crate::sync::{Message, Sync};

/// What a container is to be made of.
#[derive(Debug)]
pub struct Create<'a> {
    /// Its specification.
    pub spec: &'a Spec,
    /// Its root file system; `root.path` of the specification, which must then be absolute, when `None`.
    pub rootfs: Option<Rootfs>,
    /// The network namespace to use, whatever the specification says.
    pub netns: Option<BorrowedFd<'a>>,
    /// Standard streams when there is no terminal.
    pub stdio: Stdio<'a>,
    /// The cgroup to live in, with its limits already set; `None` leaves the process in its creator's.
    pub cgroup: Option<&'a cgroups::Group>,
    /// The compiled seccomp filter. `linux.seccomp` of the specification is compiled when there is none.
    pub seccomp: Option<&'a [u8]>,
}

/// A container whose first process exists.
#[derive(Debug)]
pub struct Container {
    /// The first process, in the caller's pid namespace. It is the caller's child, to be waited for by the caller.
    pub pid: i32,
    /// The same as a descriptor.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if it has one.
    pub console: Option<OwnedFd>,
    /// Its root file system as mounted.
    ///
    /// Whoever closes the last descriptor of it, or ends as its last process, waits until an overlay's whole upper file
    /// system is synced (`ovl_sync_fs` at unmounting). Keeping this one until the exit is reported keeps that wait out
    /// of the container's last moment; a layer that is to be deleted anyway is best deleted before.
    pub root: OwnedFd,
    /// Its mount namespace, for the same reason: taking its mounts apart waits for every processor (RCU), and the
    /// namespace's last process would do that before its end is known. `None` when the process has ended already.
    pub mounts: Option<OwnedFd>,
    waiting: Option<Sync>,
}

/// Makes a container up to the point at which only exec is missing.
///
/// The calling process must be single-threaded. On an error nothing is left behind and no child is left unreaped.
pub fn create(request: &Create<'_>) -> Result<Container> {
    make(request, Hold::Socket)
}

/// As [`create`] and [`Container::start`], but in one round.
pub fn run(request: &Create<'_>) -> Result<Container> {
    make(request, Hold::No)
}

/// As [`create`] for a creator that does not stay: the container waits at a listening `SOCK_SEQPACKET` UNIX socket for
/// whoever calls [`start_at`].
pub fn create_listening(request: &Create<'_>, listener: BorrowedFd<'_>) -> Result<Container> {
    make(request, Hold::Listen(listener))
}

/// Starts a container that waits at the socket `path`. An error of exec is returned as by [`Container::start`].
pub fn start_at(path: &Path) -> Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let step = || format!("connect to {}", path.display());
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(step)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).step(step)?).step(step)?;
    release(&Sync::from_socket(socket))
}

impl Container {
    /// Lets the process execute its program; returns when it has, or with why it could not.
    ///
    /// After an error the process has ended and must be waited for. Starting twice is an error.
    pub fn start(&mut self) -> Result<()> {
        let sync = self
            .waiting
            .take()
            .ok_or_else(|| Error::Invalid("the container is already started".to_owned()))?;
        release(&sync)
    }
}

fn release(sync: &Sync) -> Result<()> {
    let ended = || Error::Ended("the container's process ended before it was started".to_owned());
    sync.send(&Message::Start).map_err(|_| ended())?;
    let mut executing = false;
    loop {
        match sync.receive()? {
            Some(Message::Executing) => executing = true,
            Some(Message::Failed(error)) => return Err(error),
            Some(_) => {}
            None if executing => return Ok(()),
            None => return Err(ended()),
        }
    }
}

fn make(request: &Create<'_>, hold: Hold<'_>) -> Result<Container> {
    let plan = Plan::from_spec(request.spec, request.netns.is_some())?;
    let filter = crate::filter::of(request.spec, request.seccomp)?;
    let rootfs = match (&request.rootfs, &plan.root_path) {
        (Some(rootfs), _) => rootfs.mount()?,
        (None, Some(path)) if path.is_absolute() => Rootfs::Directory(path.clone()).mount()?,
        (None, _) => return Err(plan::invalid("the container has no root file system")),
    };
    let binds =
        plan.mounts.iter().map(|mount| bind_source(&mount.source)).collect::<Result<Vec<_>>>()?;
    let wants_views = plan.mounts.iter().any(|m| m.source == Source::Cgroup);
    let views = match request.cgroup {
        Some(group) if wants_views => views(group)?,
        _ => Vec::new(),
    };
    let mut joins = open_namespaces(&plan.join)?;
    let pid_namespace = take(&mut joins, NamespaceKind::Pid);
    let job = Job {
        plan: &plan,
        rootfs,
        binds,
        views,
        joins,
        netns: request.netns,
        cgroup: request.cgroup,
        stdio: request.stdio,
        hold,
        confinement: Confinement { filter: filter.as_ref().map(|f| (&f.program[..], f.flags)) },
    };
    // The cgroup namespace is made by the child once it is in its cgroup, which becomes the namespace's root.
    let mut how = Clone3 { namespaces: plan.new & !clone::NEWCGROUP, ..Clone3::default() };
    how.cgroup = request.cgroup.and_then(cgroups::Group::enter_fd);
    let between =
        || birth::enter_for_children(pid_namespace.as_ref(), plan.time_offsets.as_deref());
    if plan.time_offsets.is_some() {
        how.namespaces &= !clone::NEWTIME;
    }
    let mut keep = job.descriptors();
    keep.extend(pid_namespace.as_ref().map(|fd| fd.as_fd()));
    let between = plan.needs_go_between().then_some(GoBetween { work: &between, keep: &keep });
    let born = birth::bear(how, between, &|sync| child::container(&job, sync))?;
    let console = birth::meet(&born)?;
    let waiting = matches!(hold, Hold::Socket).then_some(born.sync);
    // The process is our child and not waited for, so the number is still its.
    let mounts = rustix::fs::open(
        format!("/proc/{}/ns/mnt", born.pid),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mounts = mounts.ok();
    Ok(Container { pid: born.pid, pidfd: born.pidfd, console, root: job.rootfs, mounts, waiting })
}

fn bind_source(source: &Source) -> Result<Option<OwnedFd>> {
    let Source::Bind { path, inside, recursive } = source else { return Ok(None) };
    let step = || format!("open bind mount source {}", path.display());
    if path.starts_with("/proc/self/fd") {
        return own_descriptor(path).map(Some);
    }
    if inside.as_os_str().is_empty() {
        return Ok(Some(sys::mount::clone_tree(CWD, path.as_path(), *recursive).step(step)?));
    }
    // Containers write there: links lead back inside, and what was looked up is what is mounted.
    let step = || format!("open {} in bind mount source {}", inside.display(), path.display());
    let found = sys::dir::Dir::open(path)
        .and_then(|dir| dir.open_in_root(inside, OFlags::PATH, Mode::empty()))
        .step(step)?;
    Ok(Some(sys::mount::clone_tree(&found, c"", *recursive).step(step)?))
}

/// A bind mount source that the caller holds open: a detached mount as it is (older kernels do not copy those), anything
/// else as a copy.
fn own_descriptor(path: &Path) -> Result<OwnedFd> {
    let step = || format!("open bind mount source {}", path.display());
    match sys::mount::clone_tree(CWD, path, false) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step(step)
        }
        cloned => cloned.step(step),
    }
}

fn views(group: &cgroups::Group) -> Result<Vec<View>> {
    group
        .views()
        .into_iter()
        .map(|view| {
            let tree = sys::mount::clone_tree(view.dir, c"", false)
                .step(|| format!("clone cgroup {} of {}", group.path(), view.target))?;
            Ok(View { tree, target: view.target, links: view.links })
        })
        .collect()
}

fn open_namespaces(
    join: &[(NamespaceKind, std::path::PathBuf)],
) -> Result<Vec<(NamespaceKind, OwnedFd)>> {
    let open = |(kind, path): &(NamespaceKind, std::path::PathBuf)| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .step(|| format!("open namespace {}", path.display()))?;
        Ok((*kind, fd))
    };
    join.iter().map(open).collect()
}

fn take(joins: &mut Vec<(NamespaceKind, OwnedFd)>, kind: NamespaceKind) -> Option<OwnedFd> {
    let at = joins.iter().position(|(k, _)| *k == kind)?;
    Some(joins.remove(at).1)
}
