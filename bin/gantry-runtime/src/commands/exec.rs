//! `exec`.

use std::os::fd::{AsFd as _, BorrowedFd};

use oci::runtime::{Process, User};
use runtime::{Agent, Exec, Status as Phase, Stdio};
use stdx::{Context as _, Error, Result};

use super::{not_started, process, protect, wait, who, write_pid};
use crate::args::{ExecOptions, Global};
use crate::state::{self, Dir, Record, Status};
use crate::{bundle, console};

/// Runs a process in a container; unless detached, until it ends, with its exit code.
pub(crate) fn exec(global: &Global, options: &ExecOptions) -> Result<u8> {
    protect()?;
    let dir = Dir::of(&global.root, &options.id)?;
    let record = dir.load()?;
    match dir.status(&record) {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => {
            return Err(Error::conflict(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        Status::Stopped => {
            return Err(Error::conflict("cannot exec in a stopped container"));
        }
    }
    let own = record.spec.process.clone().unwrap_or_default();
    let mut wanted = describe(options, own)?;
    if options.detach && wanted.terminal && options.console_socket.is_none() {
        return Err(Error::invalid(
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    let kept = bundle::inherit(&mut wanted, options.preserve_fds)?;
    let kept: Vec<BorrowedFd<'_>> = kept.iter().map(|fd| fd.as_fd()).collect();
    let profile = record.spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let told = || runtime::state(who(&record), &record.spec, record.pid, Phase::Running);
    let agent = profile.and_then(|p| Agent::of(p, &record.spec.oci_version, told()));
    let target = process(&record)?;
    let (group, within) = groups(&record, options.cgroup.as_deref())?;
    let added = runtime::exec(&Exec {
        target: target.as_fd(),
        process: &wanted,
        stdio: Stdio::Inherit,
        cgroup: group.as_ref(),
        within: within.as_ref(),
        seccomp: None,
        profile,
        agent: agent.as_ref(),
        user_namespace: false,
        preserve: &kept,
    })
    .map_err(not_started)?;
    if let (Some(master), Some(socket)) = (&added.console, &options.console_socket) {
        console::hand_over(socket, b"/dev/pts/ptmx", master)?;
    }
    if let Some(socket) = &options.pidfd_socket {
        console::hand_over(socket, b"pidfd", &added.pidfd)?;
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

/// The container's group, if it has one, and the one beneath it that was asked for.
fn groups(
    record: &Record,
    beneath: Option<&str>,
) -> Result<(Option<cgroups::Group>, Option<cgroups::Group>)> {
    let group = match state::group(record) {
        Err(e) if e.kind() == stdx::Kind::NotFound && record.cgroup.is_empty() => None,
        group => Some(group?),
    };
    let within = match beneath.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        None => None,
        Some(path) => {
            let path = format!("{}/{path}", record.cgroup);
            Some(cgroups::Group::open(&cgroups::Hierarchies::detect()?, &path)?)
        }
    };
    Ok((group, within))
}

/// The process of the file, or the container's own with what the options change.
fn describe(options: &ExecOptions, own: Process) -> Result<Process> {
    if let Some(path) = &options.process {
        let text = std::fs::read(path).context(|| format!("read {}", path.display()))?;
        let mut process: Process = serde_json::from_slice(&text)
            .map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
        process.terminal |= options.tty;
        return Ok(process);
    }
    let mut process = Process {
        args: options.args.clone(),
        terminal: options.tty,
        console_size: None,
        exec_cpu_affinity: own.exec_cpu_affinity.clone(),
        ..own
    };
    process.env.extend(options.env.iter().cloned());
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = &options.user {
        process.user = User {
            username: Some(user.clone()),
            umask: process.user.umask,
            additional_gids: process.user.additional_gids.clone(),
            ..User::default()
        };
    }
    process.user.additional_gids.extend(&options.additional_gids);
    process.no_new_privileges |= options.no_new_privs;
    if !options.caps.is_empty() {
        let capabilities = process.capabilities.get_or_insert_default();
        for set in
            [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted]
        {
            set.extend(options.caps.iter().map(|name| full_name(name)));
        }
    }
    if options.apparmor.is_some() {
        process.apparmor_profile.clone_from(&options.apparmor);
    }
    if options.process_label.is_some() {
        process.selinux_label.clone_from(&options.process_label);
    }
    Ok(process)
}

/// `CAP_KILL` of `CAP_KILL` or `kill`.
fn full_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}
