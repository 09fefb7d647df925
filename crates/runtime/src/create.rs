//! Making a container: the parent's side.
//!
//! What must be opened in the host's mount namespace is opened here, before the child exists: the root file system,
//! sources of bind mounts, cgroup directories, namespaces. The child inherits the descriptors and needs no path of the
//! host but `/dev/null`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::{NamespaceKind, Seccomp, Spec};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use sys::clone::{self, Clone3};

use crate::birth::{self, Born, GoBetween};
use crate::child::{self, Confinement, Hold, Job, Stdio};
use crate::error::{Error, Result, Step as _};
use crate::hooks::{self, Status, Who};
use crate::ids;
use crate::label;
use crate::notify::Agent;
use crate::plan::Plan;
use crate::rootfs::Rootfs;
use crate::sources::{Origin, Sources};
use crate::sync::{Message, Need, Sync};

/// What a container is to be made of.
#[derive(Debug)]
pub struct Create<'a> {
    /// Its specification.
    pub spec: &'a Spec,
    /// Its root file system; `root.path` of the specification, which must then be absolute, when `None`.
    pub rootfs: Option<Rootfs>,
    /// The ids of the files of `rootfs` are those inside of the container's user namespace: it is mounted through a
    /// mapping (Linux 5.19, and a file system below that supports it). Without a user namespace it changes nothing.
    pub mapped_rootfs: bool,
    /// The network namespace to use, whatever the specification says.
    pub netns: Option<BorrowedFd<'a>>,
    /// Standard streams when there is no terminal.
    pub stdio: Stdio<'a>,
    /// The cgroup to live in, with its limits already set; `None` leaves the process in its creator's.
    pub cgroup: Option<&'a cgroups::Group>,
    /// The compiled seccomp filter. `linux.seccomp` of the specification is compiled when there is none.
    pub seccomp: Option<&'a [u8]>,
    /// Who the container is to its hooks and to the agent of its filter; without it a specification that has any is
    /// refused.
    pub who: Option<Who<'a>>,
    /// Descriptors 3, 4... that the program keeps, in this order and without a gap.
    pub preserve: &'a [BorrowedFd<'a>],
    /// Whether it shares its creator's session keyring.
    pub creators_keyring: bool,
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
    agent: Option<Agent>,
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
///
/// `process` is the container's, `agent` that of its filter if it has one; see [`Agent::of`].
pub fn start_at(path: &Path, process: (i32, &OwnedFd), agent: Option<&Agent>) -> Result<()> {
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
    release(&Sync::from_socket(socket), process, agent)
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
        release(&sync, (self.pid, &self.pidfd), self.agent.as_ref())
    }
}

fn release(sync: &Sync, process: (i32, &OwnedFd), agent: Option<&Agent>) -> Result<()> {
    let ended = || Error::Ended("the container's process ended before it was started".to_owned());
    sync.send(&Message::Start).map_err(|_| ended())?;
    let mut executing = false;
    loop {
        match sync.receive()? {
            Some(Message::Executing) => executing = true,
            Some(Message::Failed(error)) => return Err(error),
            Some(Message::Need(Need::Agent(number))) => {
                let (pid, pidfd) = process;
                hand_over(agent, pidfd, pid, number).inspect_err(|_| {
                    // Nobody would ever answer for it.
                    let _gone = sys::process::signal(pidfd, 9);
                })?;
                sync.send(&Message::Done)?;
            }
            Some(_) => {}
            None if executing => return Ok(()),
            None => return Err(ended()),
        }
    }
}

/// Takes the listener of a filter to its agent.
pub(crate) fn hand_over(
    agent: Option<&Agent>,
    pidfd: &OwnedFd,
    pid: i32,
    number: i32,
) -> Result<()> {
    let missing = || Error::Invalid("the filter needs an agent and there is none".to_owned());
    agent.ok_or_else(missing)?.hand_over(pidfd, pid, number)
}

fn make(request: &Create<'_>, hold: Hold<'_>) -> Result<Container> {
    let spec = request.spec;
    let plan = Plan::from_spec(spec, request.netns.is_some())?;
    let profile = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let filter = crate::filter::of(profile, request.seccomp)?;
    plan.process.labels.check()?;
    if plan.mount_label.is_some() {
        label::check_selinux()?;
    }
    let state = state(request, &plan, profile)?;
    let agent = agent(spec, profile, state.as_ref());
    let joins = open_namespaces(&plan.join)?;
    let user =
        joins.iter().find(|(kind, _)| *kind == NamespaceKind::User).map(|(_, fd)| fd.as_fd());
    let origin = Origin {
        rootfs: request.rootfs.as_ref(),
        mapped_rootfs: request.mapped_rootfs && plan.has_user_namespace(),
        cgroup: request.cgroup,
        user,
    };
    let sources = match ids::is_privileged() {
        true => Some(Sources::open(&plan, origin)?),
        false => None,
    };
    let job = Job {
        plan: &plan,
        sources: sources.as_ref(),
        origin,
        joins: &joins,
        netns: request.netns,
        cgroup: request.cgroup,
        stdio: request.stdio,
        hold,
        confinement: Confinement::of(filter.as_ref()),
        state: state.as_ref(),
        preserve: request.preserve,
        own_keyring: !request.creators_keyring,
    };
    // The cgroup namespace is made by the child once it is in its cgroup, which becomes the namespace's root.
    let mut how = Clone3 { namespaces: plan.new & !clone::NEWCGROUP, ..Clone3::default() };
    how.cgroup = request.cgroup.and_then(cgroups::Group::enter_fd);
    if plan.time_offsets.is_some() {
        how.namespaces &= !clone::NEWTIME;
    }
    let work = || job.enter_for_child();
    let keep = job.descriptors();
    let between = plan.needs_go_between().then_some(GoBetween { work: &work, keep: &keep });
    let open = sources.is_none() && plan.join.is_empty();
    let born = birth::bear(how, between, open, &|sync| child::container(&job, sync))?;
    let serve = |born: &Born, need: Need| match need {
        Need::IdMaps => map_ids(&plan, request.stdio, born.pid),
        Need::Hooks => run_creating_hooks(&plan, state.as_ref(), born.pid),
        Need::Agent(number) => hand_over(agent.as_ref(), &born.pidfd, born.pid, number),
    };
    let console = birth::meet(&born, &serve)?;
    let waiting = matches!(hold, Hold::Socket).then_some(born.sync);
    // The process is our child and not waited for, so the number is still its.
    let mounts = rustix::fs::open(
        format!("/proc/{}/ns/mnt", born.pid),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mounts = mounts.ok();
    let root = match sources {
        Some(sources) => sources.rootfs,
        None => root_of(born.pid)?,
    };
    Ok(Container { pid: born.pid, pidfd: born.pidfd, console, root, mounts, waiting, agent })
}

/// What hooks and agents are told, when there are any.
fn state(
    request: &Create<'_>,
    plan: &Plan,
    profile: Option<&Seccomp>,
) -> Result<Option<serde_json::Value>> {
    let wanted = !plan.hooks.is_empty() || profile.is_some_and(crate::notify::wants);
    match request.who {
        _ if !wanted => Ok(None),
        Some(who) => Ok(Some(hooks::state(who, request.spec, 0, Status::Creating))),
        None => Err(Error::NotImplemented(
            "hooks and seccomp agents need to be told who the container is".to_owned(),
        )),
    }
}

fn agent(
    spec: &Spec,
    profile: Option<&Seccomp>,
    state: Option<&serde_json::Value>,
) -> Option<Agent> {
    Agent::of(profile?, &spec.oci_version, state?.clone())
}

/// What a new user namespace needs from outside: ids, and what only an owner of the host's files may write.
fn map_ids(plan: &Plan, stdio: Stdio<'_>, pid: i32) -> Result<()> {
    let Some(ids) = &plan.ids else { return Ok(()) };
    ids.write(pid)?;
    if let Some(value) = plan.process.oom_score_adj {
        set_oom_score_adj(&pid.to_string(), value)?;
    }
    let (Some((uid, gid)), Stdio::Streams { .. }) = (ids.root(), stdio) else { return Ok(()) };
    for stream in stdio.descriptors() {
        let pipe = rustix::fs::fstat(stream)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        if pipe {
            // So that /dev/stdout can be opened again; who may not give it away runs without that.
            let _given =
                rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
    Ok(())
}

/// Writes a process's `oom_score_adj` (`pid`: a number or `self`).
///
/// Going lower than one was started with needs `CAP_SYS_RESOURCE`; without it the value stays as it is, which kills
/// the container sooner than asked and is no reason not to run it.
pub(crate) fn set_oom_score_adj(pid: &str, value: i32) -> Result<()> {
    let step = || format!("set oom_score_adj to {value}");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let open = rustix::fs::open(format!("/proc/{pid}/oom_score_adj"), flags, Mode::empty());
    let written = open.and_then(|file| rustix::io::write(&file, value.to_string().as_bytes()));
    match written {
        Err(rustix::io::Errno::ACCESS) if value < 0 || !ids::is_privileged() => Ok(()),
        result => result.step(step).map(drop),
    }
}

fn run_creating_hooks(plan: &Plan, state: Option<&serde_json::Value>, pid: i32) -> Result<()> {
    let Some(state) = state else { return Ok(()) };
    let mut state = state.clone();
    state["pid"] = pid.into();
    hooks::run_hooks("prestart", &plan.hooks.prestart, &state)?;
    hooks::run_hooks("createRuntime", &plan.hooks.create_runtime, &state)
}

/// The root of a process that has opened its mounts itself.
fn root_of(pid: i32) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
    // It may have ended, or become somebody whom its creator may not look at.
    open(&format!("/proc/{pid}/root")).or_else(|_| open("/")).step(|| "open the container's root")
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
