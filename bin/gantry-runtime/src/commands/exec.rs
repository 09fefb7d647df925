//! `exec`.

use oci::runtime::{Process, User};
use runtime::{Exec, Stdio};
use std::os::fd::AsFd as _;
use stdx::{Context as _, Error, Result};

use super::{process, protect, wait, write_pid};
use crate::args::{ExecOptions, Global};
use crate::console;
use crate::state::{self, Dir, Status};

/// Runs a process in a container; unless detached, until it ends, with its exit code.
pub(crate) fn exec(global: &Global, options: &ExecOptions) -> Result<u8> {
    protect()?;
    let dir = Dir::of(&global.root, &options.id)?;
    let record = dir.load()?;
    match dir.status(&record) {
        Status::Running => {}
        Status::Paused => return Err(Error::conflict("cannot exec in a paused container")),
        Status::Created | Status::Stopped => {
            return Err(Error::conflict("cannot exec in a container that is not running"));
        }
    }
    let own = record.spec.process.clone().unwrap_or_default();
    let wanted = describe(options, own)?;
    if options.detach && wanted.terminal && options.console_socket.is_none() {
        return Err(Error::invalid(
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    let profile = record.spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let filter = profile.map(|p| seccomp::compile(p, seccomp::Arch::native())).transpose()?;
    let target = process(&record)?;
    let group = state::group(&record)?;
    let added = runtime::exec(&Exec {
        target: target.as_fd(),
        process: &wanted,
        stdio: Stdio::Inherit,
        cgroup: Some(&group),
        seccomp: filter.as_ref().map(seccomp::Program::as_bytes),
    })?;
    if let (Some(master), Some(socket)) = (&added.console, &options.console_socket) {
        console::hand_over(socket, master)?;
    }
    if let Some(path) = &options.pid_file {
        write_pid(path, added.pid)?;
    }
    if options.detach {
        return Ok(0);
    }
    if let Some(master) = added.console.as_ref().filter(|_| options.console_socket.is_none()) {
        console::join(master, &added.pidfd)?;
    }
    wait(&added.pidfd)
}

/// The process of the file, or the container's own with what the options change.
fn describe(options: &ExecOptions, own: Process) -> Result<Process> {
    let mut process = match &options.process {
        Some(path) => {
            let text = std::fs::read(path).context(|| format!("read {}", path.display()))?;
            serde_json::from_slice(&text)
                .map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?
        }
        None => Process { args: options.args.clone(), terminal: false, console_size: None, ..own },
    };
    process.terminal |= options.tty;
    process.env.extend(options.env.iter().cloned());
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = &options.user {
        process.user = User { username: Some(user.clone()), ..User::default() };
    }
    Ok(process)
}
