//! Adding a process to a container that runs.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use oci::runtime::Seccomp;
use rustix::fs::Mode;
use rustix::io::Errno;
use sys::clone::{self, Clone3};
use sys::dir::Dir;

use crate::birth::{self, Born, GoBetween};
use crate::child::{Confinement, Finish, Hold, Stdio, finish, open_console};
use crate::create::{hand_over, set_oom_score_adj};
use crate::error::{Error, Result, Step as _};
use crate::filter::Filter;
use crate::ids;
use crate::notify::Agent;
use crate::plan::process::ProcessPlan;
use crate::plan::schedule::set_affinity;
use crate::sync::{Need, Sync};

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
    /// A group beneath `cgroup` to live in, in those hierarchies in which it exists.
    pub within: Option<&'a cgroups::Group>,
    /// The compiled seccomp filter. `profile` is compiled when there is none.
    pub seccomp: Option<&'a [u8]>,
    /// The container's profile, for the filter's flags and its agent.
    pub profile: Option<&'a Seccomp>,
    /// The agent of the filter; needed when the profile asks one.
    pub agent: Option<&'a Agent>,
    /// The container has a user namespace that is not ours: what takes our own rights is done before it is joined.
    pub user_namespace: bool,
    /// Descriptors 3, 4... that the program keeps, in this order and without a gap.
    pub preserve: &'a [BorrowedFd<'a>],
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

/// All namespaces but the user namespace.
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
    let filter = crate::filter::of(request.profile, request.seccomp)?;
    plan.labels.check()?;
    let mut keep = vec![request.target];
    keep.extend(request.stdio.descriptors());
    let groups = request.cgroup.into_iter().chain(request.within);
    keep.extend(groups.flat_map(cgroups::Group::descriptors));
    keep.extend(request.preserve);
    // Root may always; who is not root may not in a namespace that he has made.
    let no_groups = !ids::is_privileged() && denies_groups(request.target);
    let between = || enter(request, &plan, no_groups);
    let part = |sync: &Sync| become_process(request, &plan, filter.as_ref(), no_groups, sync);
    let deepest = request.within.and_then(cgroups::Group::enter_fd);
    let cgroup = deepest.or_else(|| request.cgroup.and_then(cgroups::Group::enter_fd));
    let bear = |cgroup| {
        let between = GoBetween { work: &between, keep: &keep };
        birth::bear(Clone3 { cgroup, ..Clone3::default() }, Some(between), false, &part)
    };
    let born = match bear(cgroup) {
        Err(error) if is_busy(&error) => match beside_first(request)? {
            Some(group) => bear(Some(group.as_fd()))?,
            None => return Err(error),
        },
        born => born?,
    };
    let serve = |born: &Born, need: Need| match need {
        Need::Agent(number) => hand_over(request.agent, &born.pidfd, born.pid, number),
        Need::IdMaps | Need::Hooks => {
            Err(Error::Ended("an added process asked for what only a first one needs".to_owned()))
        }
    };
    let console = birth::meet(&born, &serve)?;
    Ok(Process { pid: born.pid, pidfd: born.pidfd, console })
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::System { errno, .. } if *errno == Errno::BUSY.raw_os_error())
}

/// The group in which the container's first process lives, when nobody may be in the container's own: it has given
/// controllers to groups beneath. runc goes there, too. What was asked for by name is not replaced.
fn beside_first(request: &Exec<'_>) -> Result<Option<OwnedFd>> {
    let (Some(group), None, Some(pid)) = (request.cgroup, request.within, pid_of(request.target))
    else {
        return Ok(None);
    };
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).step(|| format!("read {path}"))?;
    Ok(group.beneath(&text)?)
}

/// The go-between: into the cgroup while its directories can be reached, then into the namespaces.
fn enter(request: &Exec<'_>, plan: &ProcessPlan, no_groups: bool) -> Result<()> {
    let [before, after] = &plan.schedule.affinity;
    set_affinity(before.as_ref())?;
    for group in request.cgroup.into_iter().chain(request.within) {
        group.enter_v1()?;
    }
    set_affinity(after.as_ref())?;
    if let Some(value) = plan.oom_score_adj {
        // Here, where the host's procfs can be reached; the process inherits it.
        set_oom_score_adj("self", value)?;
    }
    if request.user_namespace {
        ids::use_creators_rights(plan, true)?;
    }
    let step = || "join the container's namespaces";
    match sys::process::set_namespaces(request.target, NAMESPACES | clone::NEWUSER) {
        Ok(()) => ids::become_root(!no_groups),
        // Without root: those that the container shares with us are not its user namespace's to be joined.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied && !ids::is_privileged() => {
            let kinds = others(request.target) | clone::NEWUSER;
            sys::process::set_namespaces(request.target, kinds).step(step)?;
            ids::become_root(!no_groups)
        }
        // It has our own user namespace, and nobody can join that.
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            sys::process::set_namespaces(request.target, NAMESPACES).step(step)
        }
        Err(e) => Err(e).step(step),
    }
}

/// The process, inside the container's namespaces already.
fn become_process(
    request: &Exec<'_>,
    plan: &ProcessPlan,
    filter: Option<&Filter>,
    no_groups: bool,
    sync: &Sync,
) -> Result<Infallible> {
    sys::process::reset_signals();
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().step(|| "start a session")?;
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
        confinement: Confinement::of(filter),
        labels: plan.labels.prepare()?,
        start_hooks: &[],
        state: None,
        preserve: request.preserve,
        own_keyring: !request.user_namespace,
        no_groups,
    })
}

/// Whether the user namespace of the process behind a pidfd refuses setgroups.
fn denies_groups(process: BorrowedFd<'_>) -> bool {
    pid_of(process).is_some_and(|pid| ids::denies_groups(&pid))
}

/// The namespaces of the process behind a pidfd that are not our own.
fn others(process: BorrowedFd<'_>) -> u64 {
    const KINDS: [(&str, u64); 7] = [
        ("mnt", clone::NEWNS),
        ("cgroup", clone::NEWCGROUP),
        ("uts", clone::NEWUTS),
        ("ipc", clone::NEWIPC),
        ("pid", clone::NEWPID),
        ("net", clone::NEWNET),
        ("time", clone::NEWTIME),
    ];
    let Some(pid) = pid_of(process) else { return NAMESPACES };
    let link = |of: &str, kind: &str| std::fs::read_link(format!("/proc/{of}/ns/{kind}")).ok();
    let differ = |(kind, _): &&(&str, u64)| link(&pid, kind) != link("self", kind);
    KINDS.iter().filter(differ).fold(0, |all, (_, flag)| all | flag)
}

/// The number of the process behind a pidfd, in this procfs.
fn pid_of(process: BorrowedFd<'_>) -> Option<String> {
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:").map(|n| n.trim().to_owned()))
}
