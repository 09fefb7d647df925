//! The container itself: its cgroup and its processes, by way of the runtime library.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use cgroups::{Group, Hierarchies, OomWatch};
use oci::runtime::{NamespaceKind, Resources, Spec};
use runtime::Stdio;
use stdx::{Context as _, Error, Kind, Result};
use task::protocol::{self, Failure, FailureKind};

use crate::session::{Pipes, Session};

/// A container with its cgroup.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) group: Group,
    pub(crate) memory: Option<OomWatch>,
    /// Its first process, as the runtime knows it.
    pub(crate) handle: runtime::Container,
    /// The end of its first process does not end the others, because it is not their pid namespace's first.
    pub(crate) shares_pids: bool,
}

impl Container {
    /// Runs a further process, with streams of its own.
    pub(crate) fn exec(&self, exec: &protocol::Exec) -> Result<Made<runtime::Process>, Failure> {
        let seccomp = read_program(exec.seccomp.as_deref()).map_err(|e| failure(&e))?;
        with_streams(exec.process.terminal, exec.stdin, |stdio| {
            let mut made = runtime::exec(&runtime::Exec {
                target: self.handle.pidfd.as_fd(),
                process: &exec.process,
                stdio,
                cgroup: Some(&self.group),
                seccomp: seccomp.as_deref(),
                within: None,
                profile: None,
                agent: None,
                preserve: &[],
            })?;
            let console = made.console.take();
            Ok((made, console))
        })
    }
}

/// A process that the runtime made.
#[derive(Debug)]
pub(crate) struct Made<T> {
    pub(crate) what: T,
    pub(crate) session: Session,
}

/// Makes the cgroup, with its limits and the watch over its memory.
pub(crate) fn make_group(create: &protocol::Create) -> Result<(Group, Option<OomWatch>)> {
    let hierarchies = match create.hierarchies.as_str() {
        "" => Hierarchies::detect()?,
        text => text.parse()?,
    };
    let nothing = Resources::default();
    let linux = create.spec.linux.as_ref();
    let resources = linux.and_then(|l| l.resources.as_ref()).unwrap_or(&nothing);
    let group = Group::create(&hierarchies, &create.cgroup, resources)?;
    // Where there is no memory controller nothing is killed for its limits either.
    let memory = group.oom_watch().ok();
    Ok((group, memory))
}

/// Makes the container's first process, and has it execute its program when `create.start` says so.
pub(crate) fn make(
    create: &protocol::Create,
    group: &Group,
    netns: Option<BorrowedFd<'_>>,
) -> Result<Made<runtime::Container>, Failure> {
    let terminal = create.spec.process.as_ref().is_some_and(|p| p.terminal);
    let seccomp = read_program(create.seccomp.as_deref()).map_err(|e| failure(&e))?;
    let rootfs = match create.rootfs.clone() {
        protocol::Rootfs::Overlay { lower, upper, work } => {
            runtime::Rootfs::Overlay { lower, upper, work }
        }
        protocol::Rootfs::Directory(path) => runtime::Rootfs::Directory(path),
    };
    with_streams(terminal, create.stdin, |stdio| {
        let request = runtime::Create {
            spec: &create.spec,
            rootfs: Some(rootfs),
            netns,
            stdio,
            cgroup: Some(group),
            seccomp: seccomp.as_deref(),
            who: Some(runtime::Who { id: &create.id, bundle: &create.runtime_dir }),
            preserve: &[],
            creators_keyring: false,
        };
        let mut made =
            if create.start { runtime::run(&request)? } else { runtime::create(&request)? };
        let console = made.console.take();
        Ok((made, console))
    })
}

/// Whether the container's processes outlive its first one.
pub(crate) fn shares_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux.iter().flat_map(|l| &l.namespaces);
    !namespaces.into_iter().any(|n| n.kind == NamespaceKind::Pid && n.path.is_none())
}

/// Makes a process with streams of its own: pipes, or the terminal that it brings.
pub(crate) fn with_streams<T>(
    terminal: bool,
    stdin: bool,
    make: impl FnOnce(Stdio<'_>) -> runtime::Result<(T, Option<OwnedFd>)>,
) -> Result<Made<T>, Failure> {
    let internal = |e: std::io::Error| failure(&Error::io("streams", e));
    if terminal {
        let (what, console) = make(Stdio::Inherit).map_err(|e| runtime_failure(&e))?;
        let console =
            console.ok_or_else(|| failure(&Error::internal("the process brought no terminal")))?;
        return Ok(Made {
            what,
            session: Session::with_terminal(console, stdin).map_err(internal)?,
        });
    }
    let Pipes { theirs: [stdin, stdout, stderr], ours } = Pipes::new(stdin).map_err(internal)?;
    let stdio =
        Stdio::Streams { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    let (what, _) = make(stdio).map_err(|e| runtime_failure(&e))?;
    Ok(Made { what, session: Session::with_pipes(ours) })
}

/// Reads a compiled seccomp program.
pub(crate) fn read_program(path: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let read = |path: &Path| {
        std::fs::read(path).context(|| format!("read seccomp program {}", path.display()))
    };
    path.map(read).transpose()
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
