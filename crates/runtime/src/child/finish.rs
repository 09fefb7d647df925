//! The last steps before exec, the same for a container's first process and for one that is added: streams, limits,
//! identity, working directory, program, filter.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use oci::runtime::Hook;
use rustix::fs::{Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::dir::Dir;

use super::{Confinement, Hold, Stdio, identity, null, program};
use crate::capability;
use crate::error::{Error, Result, Step as _, words};
use crate::hooks;
use crate::label::Prepared;
use crate::plan::process::ProcessPlan;
use crate::sync::{self, Message, Need, Sync};
use crate::user::{self, Identity};

/// What is needed for it; the process is inside the container already.
#[derive(Debug)]
pub(crate) struct Finish<'a> {
    pub(crate) process: &'a ProcessPlan,
    /// `/` of the container.
    pub(crate) root: &'a Dir,
    pub(crate) sync: &'a Sync,
    pub(crate) hold: Hold<'a>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) stdio: Stdio<'a>,
    pub(crate) confinement: Confinement<'a>,
    pub(crate) labels: Prepared,
    /// Hooks that find the container as its program will.
    pub(crate) start_hooks: &'a [Hook],
    pub(crate) state: Option<&'a serde_json::Value>,
    pub(crate) preserve: &'a [BorrowedFd<'a>],
    pub(crate) own_keyring: bool,
    /// The user namespace refuses setgroups.
    pub(crate) no_groups: bool,
}

/// Becomes the program.
pub(crate) fn finish(task: &Finish<'_>) -> Result<Infallible> {
    let process = task.process;
    set_streams(task)?;
    null::reopen_streams(task.root)?;
    for (resource, soft, hard) in &process.limits {
        sys::process::limit_clipped(*resource, *soft, *hard)
            .step(|| format!("set limit {resource:?}"))?;
    }
    process.schedule.apply()?;
    if task.own_keyring {
        sys::process::join_session_keyring().step(|| "join a session keyring")?;
    }
    let who =
        user::resolve(task.root, &process.user, &process.extra_groups, &process.extra_group_names)?;
    own_streams(&who)?;
    let mut entered = enter(task.root, process);
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs")?;
    }
    identity::limit_bounding(process)?;
    // Loading a filter takes no_new_privs or CAP_SYS_ADMIN.
    let wants_admin = task.confinement.filter.is_some() && !process.no_new_privileges;
    let keep = if wants_admin { capability::SYS_ADMIN } else { 0 };
    identity::become_user(process, &who, keep, task.no_groups)?;
    if matches!(entered, Err(Errno::ACCESS)) {
        // A directory that only this user may enter, on a file system on which root is nobody.
        entered = enter(task.root, process);
    }
    entered.map_err(|e| cwd_failed(process, e))?;
    check_cwd()?;
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    let environment = environment(process, &who);
    let path = program::find(&process.args[0], &environment)?;
    let connection = wait_for_start(task)?;
    let sync = connection.as_ref().unwrap_or(task.sync);
    let failed = |error| match &connection {
        // The creator is gone; it is the starter who must hear it.
        Some(starter) => {
            let _heard = starter.send(&Message::Failed(error));
            sys::process::exit_now(1)
        }
        None => error,
    };
    start_hooks(task).map_err(failed)?;
    close_at_exec(task.preserve).step(|| "close descriptors at exec").map_err(failed)?;
    sync.send(&Message::Executing)?;
    task.labels.put().map_err(failed)?;
    if let Some((filter, flags)) = task.confinement.filter {
        confine(filter, flags, task.confinement.listened_to, sync)
            .step(|| "install the seccomp filter")
            .map_err(failed)?;
    }
    let error = sys::process::exec(&path, &process.args, &environment);
    Err(failed(program::exec_failed(&path, &error)))
}

fn start_hooks(task: &Finish<'_>) -> Result<()> {
    let Some(state) = task.state.filter(|_| !task.start_hooks.is_empty()) else { return Ok(()) };
    let mut state = state.clone();
    state["status"] = "created".into();
    state["pid"] = rustix::process::getpid().as_raw_nonzero().get().into();
    hooks::run_hooks("startContainer", task.start_hooks, &state)
}

/// Everything but the three standard streams, and what the caller wants kept, closes at exec, whatever the creator had
/// open (CVE-2024-21626).
fn close_at_exec(preserve: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    for fd in preserve {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    sys::process::close_on_exec_from(u32::try_from(3 + preserve.len()).unwrap_or(3))
}

/// Installs the filter; from here on only what it allows can be done.
fn confine(filter: &[u8], flags: u32, listened_to: bool, sync: &Sync) -> std::io::Result<()> {
    if !listened_to {
        return sys::seccomp::install(filter, flags);
    }
    let listener = sys::seccomp::install_with_listener(filter, flags)?;
    sync.need(Need::Agent(listener.as_raw_fd())).map_err(std::io::Error::other)
}

/// Puts the terminal or the given streams on 0, 1 and 2.
fn set_streams(task: &Finish<'_>) -> Result<()> {
    let step = || "set the standard streams";
    let put = |streams: [BorrowedFd<'_>; 3]| {
        // Copies above 2 first: a given stream may have one of the three numbers.
        let copy = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let [stdin, stdout, stderr] = streams;
        let (stdin, stdout, stderr) = (copy(stdin)?, copy(stdout)?, copy(stderr)?);
        rustix::stdio::dup2_stdin(&stdin)?;
        rustix::stdio::dup2_stdout(&stdout)?;
        rustix::stdio::dup2_stderr(&stderr)
    };
    match (&task.terminal, task.stdio) {
        (Some(terminal), _) => {
            rustix::process::ioctl_tiocsctty(terminal)
                .step(|| "make the terminal the controlling one")?;
            rustix::stdio::dup2_stdin(terminal).step(step)?;
            rustix::stdio::dup2_stdout(terminal).step(step)?;
            rustix::stdio::dup2_stderr(terminal).step(step)
        }
        (None, Stdio::Streams { stdin, stdout, stderr }) => put([stdin, stdout, stderr]).step(step),
        (None, Stdio::Inherit) => Ok(()),
    }
}

/// Gives the streams to the user, so that it can open `/dev/stdout` again. Those of others (`/dev/null`, read-only
/// file systems, what we do not own) stay as they are.
fn own_streams(who: &Identity) -> Result<()> {
    if who.uid == 0 {
        return Ok(());
    }
    let [stdin, stdout, stderr] =
        [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for stream in [stdin, stdout, stderr] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if null::is_null(&stat) || stat.st_uid == who.uid {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(who.uid)), None) {
            Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL) => {}
            Err(e) => return Err(e).step(|| "give the standard streams to the user"),
        }
    }
    Ok(())
}

/// Enters the working directory, resolved inside the root: `/proc/self/fd/N` leads nowhere (CVE-2024-21626).
fn enter(root: &Dir, process: &ProcessPlan) -> std::result::Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = root
        .open_in_root(&process.cwd, flags, Mode::empty())
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    rustix::process::fchdir(dir)
}

fn cwd_failed(process: &ProcessPlan, errno: Errno) -> Error {
    if errno == Errno::NOTDIR {
        // Docker's words.
        return Error::Invalid(format!(
            "Cannot mkdir: {} is not a directory",
            process.cwd.display()
        ));
    }
    let text =
        format!("chdir to cwd ({:?}) set in config.json failed", process.cwd.display().to_string());
    Error::System { step: text, errno: errno.raw_os_error(), cause: words(&errno.into()) }
}

/// The kernel calls a directory outside of the root "(unreachable)".
fn check_cwd() -> Result<()> {
    let cwd = rustix::process::getcwd(Vec::new()).step(|| "look where the working directory is")?;
    if cwd.to_bytes().starts_with(b"/") {
        return Ok(());
    }
    let text = "current working directory is outside of container mount namespace root";
    Err(Error::Invalid(format!("{text} -- possible container breakout detected")))
}

fn environment(process: &ProcessPlan, who: &Identity) -> Vec<CString> {
    let mut environment = process.env.clone();
    if !environment.iter().any(|e| e.to_bytes().starts_with(b"HOME=")) {
        environment.extend(CString::new(format!("HOME={}", who.home)).ok());
    }
    environment
}

/// Waits for whoever starts the container; returns the connection on which to report from then on.
fn wait_for_start(task: &Finish<'_>) -> Result<Option<Sync>> {
    let connection = match task.hold {
        Hold::No => return Ok(None),
        Hold::Socket => {
            task.sync.send(&Message::Ready)?;
            None
        }
        Hold::Listen(listener) => {
            task.sync.send(&Message::Ready)?;
            Some(sync::accept(listener)?)
        }
    };
    match connection.as_ref().unwrap_or(task.sync).receive()? {
        Some(Message::Start) => Ok(connection),
        // Whoever made the container is gone; nobody can start it any more.
        _ => sys::process::exit_now(1),
    }
}
