//! What each command does.

mod exec;
mod make;

use std::os::fd::AsFd as _;
use std::path::Path;

use oci::runtime::Spec;
use serde_json::json;
use stdx::{Context as _, Error, Result};

use crate::args::{Command, Global, Invocation};
use crate::signal;
use crate::state::{self, Dir, Record, Status};

/// Carries the command out; the exit code.
pub(crate) fn run(invocation: &Invocation) -> Result<u8> {
    let global = &invocation.global;
    match &invocation.command {
        Command::Create(request) => make::create(global, request).map(|()| 0),
        Command::Run { make: request, detach, keep } => make::run(global, request, *detach, *keep),
        Command::Start { id } => start(global, id).map(|()| 0),
        Command::State { id } => print_state(global, id).map(|()| 0),
        Command::Kill { id, signal, all } => kill(global, id, signal, *all).map(|()| 0),
        Command::Delete { id, force } => delete(global, id, *force).map(|()| 0),
        Command::Exec(options) => exec::exec(global, options),
        Command::List { quiet, json } => list(global, *quiet, *json).map(|()| 0),
        Command::Pause { id } => pause(global, id, true).map(|()| 0),
        Command::Resume { id } => pause(global, id, false).map(|()| 0),
        Command::Ps { id } => ps(global, id).map(|()| 0),
        Command::Features => {
            println!("{}", features());
            Ok(0)
        }
        Command::Version => {
            println!("gantry-runtime version {}\nspec: 1.2.0", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        Command::Help => {
            println!("{HELP}");
            Ok(0)
        }
    }
}

const HELP: &str = "\
gantry-runtime runs containers from OCI bundles, with runc's command line.

usage: gantry-runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND ...

  create [-b BUNDLE] [--console-socket SOCKET] [--pid-file FILE] ID
  start ID
  run    [-b BUNDLE] [-d] [--keep] [--console-socket SOCKET] [--pid-file FILE] ID
  exec   [-p PROCESS.json | -t -e ENV --cwd DIR -u USER] [-d] [--console-socket SOCKET] [--pid-file FILE] ID [COMMAND...]
  state  ID
  kill   [--all] ID [SIGNAL]
  delete [--force] ID
  pause  ID
  resume ID
  ps     --format json ID
  list   [-q] [-f json]
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
    let started = runtime::start_at(&dir.socket());
    // Whether it runs or has failed to: it waits no longer.
    stdx::fs::remove_file(&dir.socket())?;
    Ok(started?)
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
        Err(e) if force && e.kind() == stdx::Kind::NotFound => return dir.remove(),
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
    destroy(&dir, &record.cgroup)
}

/// Kills whatever is left in the cgroup, removes it and forgets the container.
fn destroy(dir: &Dir, cgroup: &str) -> Result<()> {
    match cgroups::Group::open(&cgroups::Hierarchies::detect()?, cgroup) {
        Ok(group) => {
            group.kill()?;
            group.remove()?;
        }
        Err(e) if e.kind() == stdx::Kind::NotFound => {}
        Err(e) => return Err(e),
    }
    dir.remove()
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

fn list(global: &Global, quiet: bool, json: bool) -> Result<()> {
    let mut all = Vec::new();
    let entries = match std::fs::read_dir(&global.root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.context(|| format!("read {}", global.root.display()))?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.context(|| format!("read {}", global.root.display()))?;
        let Some(dir) = entry.file_name().to_str().and_then(|id| Dir::of(&global.root, id).ok())
        else {
            continue;
        };
        // Half made or just removed.
        let Ok(record) = dir.load() else { continue };
        let status = dir.status(&record);
        all.push((record, status));
    }
    all.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    if json {
        let all: Vec<_> =
            all.iter().map(|(record, status)| state::describe(record, *status)).collect();
        println!("{}", json!(all));
        return Ok(());
    }
    if !quiet {
        println!("{:<24}{:<12}{:<12}{:<40}CREATED", "ID", "PID", "STATUS", "BUNDLE");
    }
    for (record, status) in all {
        if quiet {
            println!("{}", record.id);
        } else {
            let pid = if status == Status::Stopped { 0 } else { record.pid };
            let bundle = record.bundle.display().to_string();
            println!(
                "{:<24}{pid:<12}{:<12}{bundle:<40}{}",
                record.id,
                status.word(),
                record.created
            );
        }
    }
    Ok(())
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

fn ps(global: &Global, id: &str) -> Result<()> {
    let record = Dir::of(&global.root, id)?.load()?;
    println!("{}", json!(state::group(&record)?.pids()?));
    Ok(())
}

/// Our own program through a read-only mount from here on, so that no container can write to it (CVE-2019-5736).
fn protect() -> Result<()> {
    use std::os::unix::ffi::OsStringExt as _;
    let Some(program) =
        sys::mount::read_only_self().context(|| "open this program through a read-only mount")?
    else {
        return Ok(());
    };
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

fn load_spec(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::not_found(format!(
                "JSON specification file {} not found",
                path.display()
            )));
        }
        text => text.context(|| format!("read {}", path.display()))?,
    };
    serde_json::from_slice(&text).map_err(|e| Error::invalid(format!("{}: {e}", path.display())))
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

fn features() -> serde_json::Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": [],
        "mountOptions": [
            "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "lazytime", "noatime", "nodev",
            "nodiratime", "noexec", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime",
            "relatime", "rexec", "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnosuid", "rnosymfollow", "ro",
            "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime", "rsuid", "rsymfollow",
            "runbindable", "rw", "shared", "slave", "strictatime", "suid", "symfollow", "sync", "unbindable",
        ],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "uts"],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": { "enabled": true, "actions": seccomp::ACTIONS, "operators": seccomp::OPERATORS, "archs": seccomp::ARCHITECTURES },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } },
        },
    })
}
