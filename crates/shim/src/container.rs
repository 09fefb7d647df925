//! The container itself: its cgroup and its processes, by way of the runtime library.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroups::{Group, Hierarchies, OomWatch};
use oci::runtime::{IdMapping, NamespaceKind, Resources, Spec};
use runtime::Stdio;
use rustix::io::Errno;
use stdx::{Context as _, Error, Kind, Result};
use task::protocol::{self, Failure, FailureKind};

use crate::foreign::{self, Foreign};
use crate::session::{Pipes, Session};

/// A container with its cgroup.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) group: Group,
    pub(crate) memory: Option<OomWatch>,
    /// Its first process, as the runtime knows it.
    pub(crate) handle: Handle,
    /// The end of its first process does not end the others, because it is not their pid namespace's first.
    pub(crate) shares_pids: bool,
    /// What user and group 0 of its user namespace are outside, when it has one.
    pub(crate) root: Option<(u32, u32)>,
}

/// A container as its runtime knows it.
#[derive(Debug)]
pub(crate) enum Handle {
    /// The runtime in this program.
    BuiltIn(runtime::Container),
    /// Another one's program.
    Foreign(Foreign),
}

impl Handle {
    /// The container's first process.
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Self::BuiltIn(container) => container.pid,
            Self::Foreign(container) => container.pid,
        }
    }

    /// The same, for good.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        match self {
            Self::BuiltIn(container) => &container.pidfd,
            Self::Foreign(container) => &container.pidfd,
        }
    }
}

impl Container {
    /// Lets the first process execute its program. After an error it has ended, or is about to.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        match &mut self.handle {
            Handle::BuiltIn(container) => container.start().map_err(|e| runtime_failure(&e)),
            Handle::Foreign(container) => container.start().inspect_err(|_| {
                // It may wait for another start, which nobody would ask for.
                let _ended = self.group.kill();
            }),
        }
    }

    /// Sends a signal to the first process.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        match &self.handle {
            Handle::BuiltIn(container) => {
                sys::process::signal(&container.pidfd, signal).context(|| "signal the process")
            }
            Handle::Foreign(container) => container.kill(signal),
        }
    }

    /// Stops every process.
    pub(crate) fn freeze(&self) -> Result<()> {
        match &self.handle {
            Handle::BuiltIn(_) => self.group.freeze(),
            Handle::Foreign(container) => container.pause(),
        }
    }

    /// Lets every process go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        match &self.handle {
            Handle::BuiltIn(_) => self.group.thaw(),
            Handle::Foreign(container) => container.resume(),
        }
    }

    /// Changes limits: all of them in the group, and what the runtime knows of them.
    pub(crate) fn update(&self, resources: &Resources) -> Result<()> {
        if let Handle::Foreign(container) = &self.handle {
            container.update(resources)?;
        }
        self.group.update(resources)
    }

    /// Takes away what is left of it when its processes have ended.
    pub(crate) fn remove(&self) -> Result<()> {
        let forgotten = match &self.handle {
            Handle::BuiltIn(_) => Ok(()),
            Handle::Foreign(container) => container.delete(),
        };
        self.group.remove().and(forgotten)
    }

    /// Runs a further process, with streams of its own.
    pub(crate) fn exec(&self, exec: &protocol::Exec) -> Result<Made<(i32, OwnedFd)>, Failure> {
        let target = match &self.handle {
            Handle::BuiltIn(container) => container.pidfd.as_fd(),
            Handle::Foreign(container) => {
                return with_streams(exec.process.terminal, exec.stdin, None, |stdio| {
                    container.exec(exec, stdio)
                });
            }
        };
        let seccomp = read_program(exec.seccomp.as_deref()).map_err(|e| failure(&e))?;
        with_streams(exec.process.terminal, exec.stdin, self.root, |stdio| {
            let mut made = runtime::exec(&runtime::Exec {
                target,
                process: &exec.process,
                stdio,
                cgroup: Some(&self.group),
                seccomp: seccomp.as_deref(),
                within: None,
                profile: None,
                agent: None,
                user_namespace: self.root.is_some(),
                preserve: &[],
            })
            .map_err(|e| exec_failure(&e))?;
            let console = made.console.take();
            Ok(((made.pid, made.pidfd), console))
        })
    }
}

/// A process that the runtime made.
#[derive(Debug)]
pub(crate) struct Made<T> {
    pub(crate) what: T,
    pub(crate) session: Session,
}

/// A container's cgroup.
pub(crate) struct MadeGroup {
    pub(crate) group: Group,
    /// The watch over its memory.
    pub(crate) memory: Option<OomWatch>,
    /// The hierarchy that it has no part in.
    pub(crate) hidden: Option<PathBuf>,
}

/// Makes the cgroup, with its limits and the watch over its memory.
pub(crate) fn make_group(create: &protocol::Create) -> Result<MadeGroup> {
    let hierarchies = match create.hierarchies.as_str() {
        "" => Hierarchies::detect()?,
        text => text.parse()?,
    };
    let (hierarchies, hidden) = match create.runtime {
        None => (hierarchies, None),
        Some(_) => foreign::hierarchies(hierarchies),
    };
    let nothing = Resources::default();
    let linux = create.spec.linux.as_ref();
    let resources = linux.and_then(|l| l.resources.as_ref()).unwrap_or(&nothing);
    let group = Group::create(&hierarchies, &create.cgroup, resources)?;
    if let Some(root) = root_outside(&create.spec).filter(|_| manages_groups(&create.spec)) {
        delegate(&group, root).context(|| "give the cgroup to the container's root")?;
    }
    // Where there is no memory controller nothing is killed for its limits either.
    let memory = group.oom_watch().ok();
    Ok(MadeGroup { group, memory, hidden })
}

/// Whether the container may write to its own cgroup.
fn manages_groups(spec: &Spec) -> bool {
    let groups = spec.mounts.iter().find(|m| m.kind.as_deref() == Some("cgroup"));
    groups.is_some_and(|m| !m.options.iter().any(|o| o == "ro"))
}

/// Lets the container's root make groups below its own (kernel, `cgroup-v2.rst`, delegation). Those of v1 cannot be given
/// to others safely.
fn delegate(group: &Group, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, Gid, Uid, chownat};
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    for view in group.views().into_iter().filter(|view| view.target.is_empty()) {
        chownat(view.dir, "", uid, gid, AtFlags::EMPTY_PATH)?;
        for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chownat(view.dir, file, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Makes the container's first process as `spec` has it, and has it execute its program when `create.start` says so.
pub(crate) fn make(
    create: &protocol::Create,
    spec: &Spec,
    made: &MadeGroup,
    netns: Option<BorrowedFd<'_>>,
) -> Result<Made<Handle>, Failure> {
    let terminal = create.spec.process.as_ref().is_some_and(|p| p.terminal);
    if let Some(program) = &create.runtime {
        return with_streams(terminal, create.stdin, None, |stdio| {
            let (container, console) =
                foreign::create(program, create, spec, netns, made.hidden.clone(), stdio)?;
            Ok((Handle::Foreign(container), console))
        });
    }
    let seccomp = read_program(create.seccomp.as_deref()).map_err(|e| failure(&e))?;
    with_streams(terminal, create.stdin, root_outside(spec), |stdio| {
        let request = runtime::Create {
            spec,
            rootfs: Some(rootfs(create)),
            mapped_rootfs: create.mapped_rootfs,
            netns,
            stdio,
            cgroup: Some(&made.group),
            seccomp: seccomp.as_deref(),
            who: Some(runtime::Who { id: &create.id, bundle: &create.runtime_dir }),
            preserve: &[],
            creators_keyring: false,
        };
        let made = if create.start { runtime::run(&request) } else { runtime::create(&request) };
        let mut made = made.map_err(|e| runtime_failure(&e))?;
        let console = made.console.take();
        Ok((Handle::BuiltIn(made), console))
    })
}

/// The root file system, described for the runtime library.
pub(crate) fn rootfs(create: &protocol::Create) -> runtime::Rootfs {
    match create.rootfs.clone() {
        protocol::Rootfs::Overlay { lower, upper, work } => {
            runtime::Rootfs::Overlay { lower, upper, work }
        }
        protocol::Rootfs::Directory(path) => runtime::Rootfs::Directory(path),
    }
}

/// Whether the container's processes outlive its first one.
pub(crate) fn shares_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux.iter().flat_map(|l| &l.namespaces);
    !namespaces.into_iter().any(|n| n.kind == NamespaceKind::Pid && n.path.is_none())
}

/// What root of the container's user namespace is outside; `None`: it has none.
pub(crate) fn root_outside(spec: &Spec) -> Option<(u32, u32)> {
    let linux = spec.linux.as_ref()?;
    let outside = |list: &[IdMapping]| list.iter().find(|m| m.container_id == 0).map(|m| m.host_id);
    outside(&linux.uid_mappings).zip(outside(&linux.gid_mappings))
}

/// Makes a process with streams of its own: pipes, which belong to `owner`, or the terminal that it brings.
pub(crate) fn with_streams<T>(
    terminal: bool,
    stdin: bool,
    owner: Option<(u32, u32)>,
    make: impl FnOnce(Stdio<'_>) -> Result<(T, Option<OwnedFd>), Failure>,
) -> Result<Made<T>, Failure> {
    let internal = |e: std::io::Error| failure(&Error::io("streams", e));
    // Without input it is the host's null device.
    let has_input = stdin;
    if terminal {
        let (what, console) = make(Stdio::Inherit)?;
        let console =
            console.ok_or_else(|| failure(&Error::internal("the process brought no terminal")))?;
        return Ok(Made {
            what,
            session: Session::with_terminal(console, stdin).map_err(internal)?,
        });
    }
    let Pipes { theirs: [stdin, stdout, stderr], ours } = Pipes::new(stdin).map_err(internal)?;
    if let Some(owner) = owner {
        let theirs = [&stdin, &stdout, &stderr].into_iter().skip(usize::from(!has_input));
        theirs.map(|pipe| give(pipe, owner)).collect::<Result<Vec<()>, _>>().map_err(internal)?;
    }
    let stdio =
        Stdio::Streams { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    let (what, _) = make(stdio)?;
    Ok(Made { what, session: Session::with_pipes(ours) })
}

/// So that the container's root can open `/dev/stdout` again.
fn give(pipe: &OwnedFd, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    use rustix::fs::{Gid, Uid};
    Ok(rustix::fs::fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Reads a compiled seccomp program.
pub(crate) fn read_program(path: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let read = |path: &Path| {
        std::fs::read(path).context(|| format!("read seccomp program {}", path.display()))
    };
    path.map(read).transpose()
}

/// What kept a process from joining the container, as the daemon is told it.
fn exec_failure(error: &runtime::Error) -> Failure {
    match error {
        // The container's first process has given its namespaces back: its end is on the way.
        runtime::Error::System { errno, .. } if *errno == Errno::SRCH.raw_os_error() => {
            failure(&Error::conflict("the container is not running"))
        }
        _ => runtime_failure(error),
    }
}

/// The runtime's error as the daemon is told it.
pub(crate) fn runtime_failure(error: &runtime::Error) -> Failure {
    use stdx::Classify as _;
    let kind = match error {
        runtime::Error::ProgramNotFound(_) => FailureKind::ProgramNotFound,
        runtime::Error::ProgramNotExecutable(_) => FailureKind::ProgramNotExecutable,
        _ => kind(error.kind()),
    };
    Failure { kind, message: error.to_string() }
}

/// Any other error as the daemon is told it.
pub(crate) fn failure(error: &Error) -> Failure {
    Failure { kind: kind(error.kind()), message: error.to_string() }
}

fn kind(kind: Kind) -> FailureKind {
    match kind {
        Kind::InvalidArgument | Kind::NotImplemented => FailureKind::Invalid,
        Kind::NotFound => FailureKind::NotFound,
        Kind::Conflict => FailureKind::Conflict,
        Kind::NoSpace => FailureKind::NoSpace,
        _ => FailureKind::Internal,
    }
}
