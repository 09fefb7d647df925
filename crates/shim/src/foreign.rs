//! A container that another OCI runtime makes: its program, called by runc's command line.
//!
//! ```text
//!   shim                                                   the runtime's program, one process a call
//!   bundle/config.json, plain OCI         ── create ──▶    in a mount namespace of its own, where bundle/rootfs is the
//!                                                          container's root; the container's process becomes our child
//!                                         ── start ──▶     when the program ends, because we are its subreaper
//!                                         ── exec ──▶      the same
//!                          pause, resume, update, kill, delete
//! ```
//!
//! Streams, log, limits, notices of memory, exits and records are the shim's own, as for every container. Nothing is
//! mounted on the host: what `create` mounts goes with its namespace, but for what the container took along. All files
//! are in the container's runtime folder, so whoever finds a shim that was killed has nothing more to look for.
//!
//! Two things are as with Docker rather than as with our own runtime: no time namespace, and on a hybrid host no part
//! in the v2 hierarchy, which is hidden from the program (crun refuses to run otherwise).

mod bundle;
mod console;
mod program;

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroups::Hierarchies;
use oci::runtime::{Process, Resources, Spec};
use runtime::Stdio;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use stdx::{Context as _, Error, Result, fail_point};
use sys::dir::Dir;
use sys::tty::Size;
use task::protocol::{self, Create, Failure, FailureKind, RuntimeProgram};

use crate::container::{failure, runtime_failure};
use bundle::Bundle;
use program::{Call, Place};

/// The number of `SIGKILL`.
const KILL: i32 = 9;

/// A container that another runtime made.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    runtime: Runtime,
    /// Its root file system, where the users of further processes are looked up.
    root: Dir,
}

/// How the program is called.
#[derive(Debug)]
struct Runtime {
    program: RuntimeProgram,
    id: String,
    bundle: Bundle,
    /// The v2 hierarchy of a hybrid host.
    hidden: Option<PathBuf>,
}

/// The hierarchies that a container of another runtime is in, and the one that is hidden from it.
pub(crate) fn hierarchies(all: Hierarchies) -> (Hierarchies, Option<PathBuf>) {
    all.without_hybrid()
}

/// Has the container made as `spec` has it, up to its start.
pub(crate) fn create(
    program: &RuntimeProgram,
    create: &Create,
    spec: &Spec,
    netns: Option<BorrowedFd<'_>>,
    hidden: Option<PathBuf>,
    stdio: Stdio<'_>,
) -> Result<(Foreign, Option<OwnedFd>), Failure> {
    let told = |e: Error| failure(&e);
    let rootfs = crate::container::rootfs(create).mount().map_err(|e| runtime_failure(&e))?;
    let root = rootfs.try_clone().and_then(Dir::from_fd).context(|| "open the root file system");
    let root = root.map_err(told)?;
    let bundle = Bundle::begin(&create.runtime_dir).map_err(told)?;
    if let Some(netns) = netns {
        program::loopback_up(netns).context(|| "bring the loopback device up").map_err(told)?;
    }
    let (plain, mut places) = bundle::plain(spec, &bundle, netns).map_err(told)?;
    let mut plain = plain;
    if let Some(process) = &mut plain.process {
        *process = runtime::plain(process, &root).map_err(|e| runtime_failure(&e))?;
    }
    places.insert(0, Place::detached(rootfs, bundle.rootfs()));
    bundle.write("config.json", &plain).map_err(told)?;
    let runtime = Runtime { program: program.clone(), id: create.id.clone(), bundle, hidden };
    let terminal = plain.process.as_ref().and_then(|p| p.terminal.then_some(p));
    let made = runtime.make(&["create", "--bundle", "."], terminal, stdio, &places);
    let (pid, pidfd, console) = made.map_err(|error| create_failed(&error))?;
    let point = || -> Result<()> {
        fail_point!("shim.foreign.after-create");
        Ok(())
    };
    point().map_err(told)?;
    Ok((Foreign { pid, pidfd, runtime, root }, console))
}

impl Foreign {
    /// Lets the container's process execute its program.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        self.runtime.call("start", &[]).map_err(|error| create_failed(&error))
    }

    /// Runs a further process; the terminal that it brings, if it has one.
    pub(crate) fn exec(
        &self,
        exec: &protocol::Exec,
        stdio: Stdio<'_>,
    ) -> Result<((i32, OwnedFd), Option<OwnedFd>), Failure> {
        let process = runtime::plain(&exec.process, &self.root).map_err(|e| runtime_failure(&e))?;
        self.runtime.bundle.write("process.json", &process).map_err(|e| failure(&e))?;
        let command = ["exec", "--detach", "--process", "process.json"];
        let terminal = process.terminal.then_some(&process);
        let made = self.runtime.make(&command, terminal, stdio, &[]);
        let (pid, pidfd, console) = made.map_err(|error| program_failed(&error.to_string()))?;
        Ok(((pid, pidfd), console))
    }

    /// Sends a signal to the container's first process.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        match self.runtime.call("kill", &[&signal.to_string()]) {
            // It ended meanwhile, which is success.
            Err(_) if self.has_ended() => Ok(()),
            Err(_) if signal == KILL => {
                sys::process::signal(&self.pidfd, signal).context(|| "signal the process")
            }
            other => other,
        }
    }

    /// Stops every process of the container.
    pub(crate) fn pause(&self) -> Result<()> {
        self.runtime.call("pause", &[])
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.runtime.call("resume", &[])
    }

    /// Changes limits.
    pub(crate) fn update(&self, resources: &Resources) -> Result<()> {
        self.runtime.bundle.write("resources.json", resources)?;
        self.runtime.run(&["update", "--resources", "resources.json"], None, &[], &[])
    }

    /// Has the runtime forget the container, whose processes have ended.
    pub(crate) fn delete(&self) -> Result<()> {
        self.runtime.run(&["delete", "--force"], None, &[], &[])
    }

    fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl Runtime {
    /// A command that makes a process: its pid, a descriptor of it, and the terminal that it brings.
    fn make(
        &self,
        command: &[&str],
        terminal: Option<&Process>,
        stdio: Stdio<'_>,
        places: &[Place],
    ) -> Result<(i32, OwnedFd, Option<OwnedFd>)> {
        let mut words = command.to_vec();
        words.extend(["--pid-file", "pid"]);
        self.bundle.remove("pid")?;
        let mut console = None;
        if terminal.is_some() {
            console = Some(console::Listener::bind(self.bundle.dir())?);
            words.extend(["--console-socket", console::NAME]);
        }
        let stdio = match stdio {
            Stdio::Streams { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
            Stdio::Inherit => None,
        };
        self.run(&words, stdio, &[], places)?;
        let master = console.map(console::Listener::take).transpose()?;
        if let (Some(master), Some(size)) = (&master, terminal.and_then(|p| p.console_size)) {
            let size = Size { rows: size.height, columns: size.width };
            // A terminal of no size is one, too.
            let _unsized = sys::tty::set_size(master, size);
        }
        let pid = self.pid()?;
        let pidfd = Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
            .map_err(std::io::Error::from)
            .context(|| format!("open the runtime's process {pid}"))?;
        Ok((pid, pidfd, master))
    }

    fn pid(&self) -> Result<i32> {
        let path = self.bundle.dir().join("pid");
        let text = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
        pid.ok_or_else(|| Error::internal(format!("the runtime's pid file says {text:?}")))
    }

    /// A command about the container with words after its id.
    fn call(&self, command: &str, after: &[&str]) -> Result<()> {
        self.run(&[command], None, after, &[])
    }

    fn run(
        &self,
        command: &[&str],
        stdio: Option<[BorrowedFd<'_>; 3]>,
        after: &[&str],
        places: &[Place],
    ) -> Result<()> {
        let own = ["--root", "state", "--log", "log.json", "--log-format", "json"];
        // State outlives a call, and programs change their directory: only whole paths mean the same always.
        let whole = |word: &str| match word {
            "state" | "log.json" => self.bundle.dir().join(word).display().to_string(),
            word => word.to_owned(),
        };
        let mut args: Vec<String> = self.program.args.clone();
        args.extend(own.into_iter().map(whole));
        args.extend(command.iter().copied().map(str::to_owned));
        args.push(self.id.clone());
        args.extend(after.iter().copied().map(str::to_owned));
        self.bundle.remove("log.json")?;
        let call = Call {
            program: &self.program.path,
            args: &args,
            folder: self.bundle.dir(),
            stdio,
            places,
            hidden: self.hidden.as_deref(),
        };
        match program::run(&call)? {
            None => Ok(()),
            Some(how) => Err(Error::internal(self.bundle.complaint().unwrap_or(how))),
        }
    }
}

/// A container that could not be made, in the words of Docker's daemon and its containerd.
fn create_failed(error: &Error) -> Failure {
    program_failed(&format!(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: {error}: unknown"
    ))
}

/// What cannot be executed is the user's mistake.
fn program_failed(text: &str) -> Failure {
    let words =
        ["executable file", "no such file or directory", "permission denied", "is a directory"];
    let lower = text.to_lowercase();
    let kind = match words.iter().any(|word| lower.contains(word)) {
        true => FailureKind::Invalid,
        false => FailureKind::Internal,
    };
    // Clients choose exit codes by the kernel's words, as Go writes them.
    let go = |text: &str, words: &str| {
        let capital = words[..1].to_uppercase() + &words[1..];
        text.replace(&format!(": {capital}"), &format!(": {words}"))
    };
    let message = go(&go(text, "no such file or directory"), "permission denied");
    Failure { kind, message }
}

/// Whether a path is a descriptor of ours.
fn is_own_descriptor(path: &Path) -> bool {
    path.starts_with("/proc/self/fd")
}
