//! What each command does.

mod events;
mod exec;
mod features;
mod list;
mod make;
mod spec;
mod update;

use std::os::fd::AsFd as _;
use std::path::Path;

use runtime::{Agent, Status as Phase, Who};
use stdx::{Context as _, Error, Result};

use crate::args::{Command, Global, Invocation};
use crate::state::{self, Dir, Record, Status};
use crate::{bundle, log, signal};

/// Carries the command out; the exit code.
pub(crate) fn run(invocation: &Invocation) -> Result<u8> {
    let global = &invocation.global;
    log::debug(global, &format!("{:?}", invocation.command));
    let done = match &invocation.command {
        Command::Create(request) => make::create(global, request),
        Command::Run { make: request, detach, keep } => {
            return make::run(global, request, *detach, *keep);
        }
        Command::Exec(options) => return exec::exec(global, options),
        Command::Start { id } => start(global, id),
        Command::State { id } => print_state(global, id),
        Command::Kill { id, signal, all } => kill(global, id, signal, *all),
        Command::Delete { id, force } => delete(global, id, *force),
        Command::List { quiet, json } => list::list(global, *quiet, *json),
        Command::Pause { id } => pause(global, id, true),
        Command::Resume { id } => pause(global, id, false),
        Command::Ps { id, json, args } => list::ps(global, id, *json, args),
        Command::Update { id, file, resources } => {
            update::update(global, id, file.as_deref(), resources)
        }
        Command::Events { id, once, interval } => events::events(global, id, *once, *interval),
        Command::Spec { bundle, rootless } => spec::write(bundle, *rootless),
        Command::Features => {
            println!("{:#}", features::features());
            Ok(())
        }
        Command::Version => {
            println!(
                "gantry-runtime version {}\nspec: {}",
                env!("CARGO_PKG_VERSION"),
                features::NEWEST
            );
            Ok(())
        }
        Command::Help => {
            println!("{HELP}");
            Ok(())
        }
    };
    done.map(|()| 0)
}

/// The text of a failure, in the form that callers of runc look for.
pub(crate) fn explain(command: &Command, error: &Error) -> String {
    match command {
        Command::Create(_) => format!("gantry-runtime create failed: {error}"),
        Command::Run { .. } => format!("gantry-runtime run failed: {error}"),
        Command::Exec(_) => format!("exec failed: {error}"),
        _ => error.to_string(),
    }
}

/// runc's exit code of a failed command: its own failure to exec is told apart from the program's codes.
pub(crate) fn failure_code(command: &Command) -> u8 {
    if matches!(command, Command::Exec(_)) { 255 } else { 1 }
}

/// An error of making a process, in runc's words.
fn not_started(error: runtime::Error) -> Error {
    let kind = stdx::Classify::kind(&error);
    Error::new(kind, format!("unable to start container process: {error}"))
}

const HELP: &str = "\
gantry-runtime runs containers from OCI bundles, with runc's command line.

usage: gantry-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND ...

  create [-b BUNDLE] [--console-socket SOCKET] [--pidfd-socket SOCKET] [--pid-file FILE] [--preserve-fds N]
         [--no-new-keyring] ID
  start  ID
  run    [-d] [--keep] [options of create] ID
  exec   [-p PROCESS.json | -t -e ENV --cwd DIR -u USER -g GID --cap CAP --no-new-privs --apparmor PROFILE
         --process-label LABEL] [-d] [--console-socket SOCKET] [--pidfd-socket SOCKET] [--pid-file FILE]
         [--preserve-fds N] [--cgroup PATH] [--ignore-paused] ID [COMMAND...]
  state  ID
  kill   [--all] ID [SIGNAL]
  delete [--force] ID
  pause  ID
  resume ID
  update [-r FILE|-] [--memory BYTES] [--memory-reservation BYTES] [--memory-swap BYTES] [--cpu-share N]
         [--cpu-quota N] [--cpu-period N] [--cpu-burst N] [--cpu-idle N] [--cpu-rt-period N] [--cpu-rt-runtime N]
         [--cpuset-cpus LIST] [--cpuset-mems LIST] [--pids-limit N] [--blkio-weight N] ID
  events [--stats] [--interval DURATION] ID
  ps     [--format json|table] ID [options of ps]
  list   [-q] [-f json|table]
  spec   [-b BUNDLE] [--rootless]
  features";

fn start(global: &Global, id: &str) -> Result<()> {
    let dir = Dir::of(&global.root, id)?;
    let record = dir.load()?;
    match dir.status(&record) {
        Status::Created => {}
        Status::Running | Status::Paused => {
            return Err(Error::conflict("cannot start an already running container"));
        }
        Status::Stopped => {
            return Err(Error::conflict("cannot start a container that has stopped"));
        }
    }
    let process = process(&record)?;
    let profile = record.spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let told = || runtime::state(who(&record), &record.spec, record.pid, Phase::Created);
    let agent = profile.and_then(|p| Agent::of(p, &record.spec.oci_version, told()));
    let started = runtime::start_at(&dir.socket(), (record.pid, &process), agent.as_ref());
    // Whether it runs or has failed to: it waits no longer.
    stdx::fs::remove_file(&dir.socket())?;
    started.map_err(not_started)?;
    after_start(&record, &process)
}

/// Runs what is to be run once the program runs; when that fails, the container is ended.
fn after_start(record: &Record, process: &std::os::fd::OwnedFd) -> Result<()> {
    let hooks = bundle::hooks(&record.spec, "poststart");
    if hooks.is_empty() {
        return Ok(());
    }
    let state = runtime::state(who(record), &record.spec, record.pid, Phase::Running);
    runtime::run_hooks("poststart", &hooks, &state).map_err(|error| {
        let _gone = sys::process::signal(process, 9);
        error.into()
    })
}

fn who(record: &Record) -> Who<'_> {
    Who { id: &record.id, bundle: &record.bundle }
}

fn print_state(global: &Global, id: &str) -> Result<()> {
    let dir = Dir::of(&global.root, id)?;
    let record = dir.load()?;
    let text = serde_json::to_string_pretty(&state::describe(&record, dir.status(&record)));
    println!("{}", text.map_err(|e| Error::internal("print the state").caused_by(e))?);
    Ok(())
}

fn kill(global: &Global, id: &str, signal: &str, all: bool) -> Result<()> {
    let signal = signal::parse(signal).map_err(Error::invalid)?;
    let dir = Dir::of(&global.root, id)?;
    let record = dir.load()?;
    if all {
        let group = state::group(&record)?;
        for pid in group.pids()? {
            // It may have ended meanwhile.
            let _gone = sys::process::kill(i32::try_from(pid).unwrap_or(0), signal);
        }
        return Ok(());
    }
    if dir.status(&record) == Status::Stopped {
        return Err(Error::conflict("container not running"));
    }
    sys::process::signal(process(&record)?, signal)
        .context(|| format!("send signal {signal} to process {}", record.pid))
}

fn delete(global: &Global, id: &str, force: bool) -> Result<()> {
    let dir = Dir::of(&global.root, id)?;
    let record = match dir.load() {
        // A create that was cut short leaves a directory without a record.
        Err(e) if force && e.kind() == stdx::Kind::NotFound => {
            return if dir.exists() { dir.remove() } else { Ok(()) };
        }
        record => record?,
    };
    match dir.status(&record) {
        Status::Stopped => {}
        Status::Created => end(&record)?,
        Status::Running | Status::Paused if force => end(&record)?,
        status => {
            let word = status.word();
            return Err(Error::conflict(format!(
                "cannot delete container {id} that is not stopped: {word}"
            )));
        }
    }
    destroy(global, &dir, &record)
}

/// Kills whatever is left in the cgroup, removes it, forgets the container and tells those who wanted to know.
fn destroy(global: &Global, dir: &Dir, record: &Record) -> Result<()> {
    match state::group(record) {
        Ok(group) => {
            group.kill()?;
            group.remove()?;
        }
        Err(e) if e.kind() == stdx::Kind::NotFound => {}
        Err(e) => return Err(e),
    }
    dir.remove()?;
    let hooks = bundle::hooks(&record.spec, "poststop");
    let state = runtime::state(who(record), &record.spec, 0, Phase::Stopped);
    for hook in hooks {
        // The container is gone all the same, and the others have a right to know (runtime-spec, `runtime.md`).
        if let Err(error) = runtime::run_hooks("poststop", &[hook], &state) {
            log::warning(global, &error.to_string());
        }
    }
    Ok(())
}

/// Kills the first process, and with it its pid namespace, and waits until it is gone.
fn end(record: &Record) -> Result<()> {
    let process = process(record)?;
    if let Ok(group) = state::group(record) {
        group.kill()?;
    }
    let _gone = sys::process::signal(&process, 9);
    let ten_seconds = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&ten_seconds)) {
        Ok(0) => Err(Error::new(stdx::Kind::Timeout, "the container's process does not end")),
        _ => Ok(()),
    }
}

fn process(record: &Record) -> Result<std::os::fd::OwnedFd> {
    let pid = rustix::process::Pid::from_raw(record.pid)
        .ok_or_else(|| Error::conflict("container not running"))?;
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(std::io::Error::from)
        .context(|| format!("open process {}", record.pid))?;
    // Open now, so the number cannot be reused behind the comparison.
    if state::start_time(record.pid) == Some(record.start_time) {
        Ok(fd)
    } else {
        Err(Error::conflict("container not running"))
    }
}

fn pause(global: &Global, id: &str, freeze: bool) -> Result<()> {
    let dir = Dir::of(&global.root, id)?;
    let record = dir.load()?;
    let group = state::group(&record)?;
    match (dir.status(&record), freeze) {
        (Status::Running | Status::Created, true) => group.freeze(),
        (Status::Paused, false) => group.thaw(),
        (_, true) => Err(Error::conflict("container not running or created: cannot pause")),
        (_, false) => Err(Error::conflict("container not paused")),
    }
}

/// Our own program through a read-only mount from here on, so that no container can write to it (CVE-2019-5736).
fn protect() -> Result<()> {
    use std::os::unix::ffi::OsStringExt as _;
    let program = match sys::mount::read_only_self() {
        // Without root nobody may do that, and the program is somebody else's: what the container cannot write to either.
        Err(e)
            if e.kind() == std::io::ErrorKind::PermissionDenied
                && !rustix::process::geteuid().is_root() =>
        {
            return Ok(());
        }
        program => program.context(|| "open this program through a read-only mount")?,
    };
    let Some(program) = program else { return Ok(()) };
    let string = |s: std::ffi::OsString| {
        std::ffi::CString::new(s.into_vec()).map_err(|_| Error::invalid("NUL byte"))
    };
    let arguments = std::env::args_os().map(string).collect::<Result<Vec<_>>>()?;
    let environment = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            string(name)
        })
        .collect::<Result<Vec<_>>>()?;
    Err(Error::io(
        "execute this program anew",
        sys::process::exec_fd(program.as_fd(), &arguments, &environment),
    ))
}

fn write_pid(path: &Path, pid: i32) -> Result<()> {
    stdx::fs::replace(path, pid.to_string().as_bytes(), 0o644, stdx::fs::Durability::Process)
}

/// Waits for a child and returns its code, or 128 and the number of the signal that ended it.
fn wait(process: &std::os::fd::OwnedFd) -> Result<u8> {
    let options = rustix::process::WaitIdOptions::EXITED;
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(rustix::process::WaitId::PidFd(process.as_fd()), options)
    })
    .map_err(std::io::Error::from)
    .context(|| "wait for the process")?;
    let code =
        status.and_then(|s| s.exit_status().or_else(|| s.terminating_signal().map(|n| 128 + n)));
    Ok(code.and_then(|c| u8::try_from(c & 0xff).ok()).unwrap_or(u8::MAX))
}
