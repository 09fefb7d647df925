//! Adding a process to a container that runs.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use sys::clone::{self, Clone3};
use sys::dir::Dir;

use crate::birth::{self, GoBetween};
use crate::child::{Confinement, Finish, Hold, Procfs, Stdio, finish, open_console};
use crate::error::{Result, Step as _};
use crate::plan::process::ProcessPlan;
use crate::sync::Sync;

/// What is to be run in which container.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The container's first process, or any other that lives in it.
    pub target: BorrowedFd<'a>,
    /// What to run.
    pub process: &'a oci::runtime::Process,
    /// Standard streams when there is no terminal.
    pub stdio: Stdio<'a>,
    /// The container's cgroup; its directories must have been opened in the caller's mount namespace.
    pub cgroup: Option<&'a cgroups::Group>,
    /// The compiled seccomp filter.
    pub seccomp: Option<&'a [u8]>,
}

/// A process that was added.
#[derive(Debug)]
pub struct Process {
    /// In the caller's pid namespace. It is the caller's child, to be waited for by the caller.
    pub pid: i32,
    /// The same as a descriptor.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if it has one.
    pub console: Option<OwnedFd>,
}

/// All namespaces but the user namespace, which is the caller's own.
const NAMESPACES: u64 = clone::NEWNS
    | clone::NEWCGROUP
    | clone::NEWUTS
    | clone::NEWIPC
    | clone::NEWPID
    | clone::NEWNET
    | clone::NEWTIME;

/// Runs a further process in a container; returns when its program has been executed, or with why it was not.
///
/// The calling process must be single-threaded. On an error no child is left unreaped.
pub fn exec(request: &Exec<'_>) -> Result<Process> {
    let plan = ProcessPlan::from_spec(request.process)?;
    let mut keep = vec![request.target];
    keep.extend(request.stdio.descriptors());
    keep.extend(request.cgroup.into_iter().flat_map(cgroups::Group::descriptors));
    let between = || enter(request);
    let part = |sync: &Sync| become_process(request, &plan, sync);
    let how =
        Clone3 { cgroup: request.cgroup.and_then(cgroups::Group::enter_fd), ..Clone3::default() };
    let born = birth::bear(how, Some(GoBetween { work: &between, keep: &keep }), &part)?;
    let console = birth::meet(&born)?;
    Ok(Process { pid: born.pid, pidfd: born.pidfd, console })
}

/// The go-between: into the cgroup while its directories can be reached, then into the namespaces.
fn enter(request: &Exec<'_>) -> Result<()> {
    if let Some(group) = request.cgroup {
        group.enter_v1()?;
    }
    sys::process::set_namespaces(request.target, NAMESPACES)
        .step(|| "join the container's namespaces")
}

/// The process, inside the container's namespaces already.
fn become_process(request: &Exec<'_>, plan: &ProcessPlan, sync: &Sync) -> Result<Infallible> {
    sys::process::reset_signals();
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().step(|| "start a session")?;
    if let Some(value) = plan.oom_score_adj {
        Procfs::private()?.set_oom_score_adj(value)?;
    }
    let root = Dir::open("/").step(|| "open the container's root")?;
    let terminal = match plan.terminal {
        true => Some(open_console(&root, plan, sync, false)?),
        false => None,
    };
    finish(&Finish {
        process: plan,
        root: &root,
        sync,
        hold: Hold::No,
        terminal,
        stdio: request.stdio,
        confinement: Confinement { filter: request.seccomp.map(|program| (program, 0)) },
    })
}
