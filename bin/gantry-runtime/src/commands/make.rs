//! `create` and `run`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::Spec;
use runtime::{Container, Create, Rootfs, Stdio, Who};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use stdx::{Context as _, Error, Result, Undo};

use super::{after_start, destroy, not_started, protect, wait, write_pid};
use crate::args::{Global, Make};
use crate::state::{Dir, Record, start_time};
use crate::{bundle, console};

/// The container exists and waits.
pub(crate) fn create(global: &Global, request: &Make) -> Result<()> {
    protect()?;
    make(global, request, Then::Waits).map(drop)
}

/// The container runs; unless detached, until it ends, with its exit code.
pub(crate) fn run(global: &Global, request: &Make, detach: bool, keep: bool) -> Result<u8> {
    protect()?;
    let made = make(global, request, if detach { Then::RunsAlone } else { Then::Runs })?;
    if let Err(error) = after_start(&made.record, &made.container.pidfd) {
        drop(wait(&made.container.pidfd));
        destroy(global, &made.dir, &made.record)?;
        return Err(error);
    }
    if detach {
        return Ok(0);
    }
    if let Some(master) =
        made.container.console.as_ref().filter(|_| request.console_socket.is_none())
    {
        console::join(master, &made.container.pidfd)?;
    }
    let code = pass_signals_until_end(&made.container.pidfd)?;
    if !keep {
        destroy(global, &made.dir, &made.record)?;
    }
    Ok(code)
}

struct Made {
    dir: Dir,
    record: Record,
    container: Container,
}

/// What becomes of it once it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It waits for its start.
    Waits,
    /// It runs, and nobody stays with it.
    RunsAlone,
    /// It runs, and we stay with it.
    Runs,
}

fn make(global: &Global, request: &Make, then: Then) -> Result<Made> {
    let path = std::fs::canonicalize(&request.bundle)
        .context(|| format!("bundle {}", request.bundle.display()))?;
    let mut spec = bundle::load(&path)?;
    check(&spec, request, then != Then::Runs)?;
    let kept = match &mut spec.process {
        Some(process) => bundle::inherit(process, request.preserve_fds)?,
        None => Vec::new(),
    };
    let kept: Vec<BorrowedFd<'_>> = kept.iter().map(|fd| fd.as_fd()).collect();
    if then == Then::Runs {
        // What is sent to us is for the container.
        sys::process::block_signals().context(|| "block signals")?;
    }
    let dir = Dir::of(&global.root, &request.id)?;
    dir.create()?;
    let mut undo = Undo::new();
    // Its own error would hide the one that led here.
    undo.push(|| drop(dir.remove()));
    let group = make_group(&spec, &request.id)?;
    let mut undo_group = Undo::new();
    undo_group.push(|| {
        if let Some(group) = &group {
            drop(group.kill().and_then(|()| group.remove()));
        }
    });
    let root = spec.root.as_ref().ok_or_else(|| Error::invalid("the specification has no root"))?;
    let description = Create {
        spec: &spec,
        rootfs: Some(Rootfs::Directory(root.path.clone())),
        mapped_rootfs: false,
        netns: None,
        stdio: Stdio::Inherit,
        cgroup: group.as_ref(),
        seccomp: None,
        who: Some(Who { id: &request.id, bundle: &path }),
        preserve: &kept,
        creators_keyring: request.no_new_keyring,
    };
    let container = match then {
        Then::Runs | Then::RunsAlone => runtime::run(&description).map_err(not_started)?,
        Then::Waits => {
            let listener = listen(&dir.socket())?;
            runtime::create_listening(&description, listener.as_fd()).map_err(not_started)?
        }
    };
    let record = Record {
        id: request.id.clone(),
        pid: container.pid,
        // It may have ended already.
        start_time: start_time(container.pid).unwrap_or(0),
        bundle: path.clone(),
        cgroup: group.as_ref().map(|g| g.path().to_owned()).unwrap_or_default(),
        created: stdx::time::Timestamp::now().to_string(),
        spec,
    };
    if let Err(error) = tell(&dir, &record, request, &container) {
        let _gone = sys::process::signal(&container.pidfd, 9);
        drop(wait(&container.pidfd));
        return Err(error);
    }
    undo_group.disarm();
    undo.disarm();
    Ok(Made { dir, record, container })
}

/// Makes the cgroup. Somebody who may not make one goes without, unless he asks for one.
fn make_group(spec: &Spec, id: &str) -> Result<Option<cgroups::Group>> {
    let linux = spec.linux.as_ref();
    let given = linux.and_then(|l| l.cgroups_path.clone()).filter(|p| !p.is_empty());
    let path = given.clone().unwrap_or_else(|| format!("gantry-runtime/{id}"));
    let resources = linux.and_then(|l| l.resources.clone()).unwrap_or_default();
    match cgroups::Group::create(&cgroups::Hierarchies::detect()?, &path, &resources) {
        Err(e)
            if given.is_none() && !rustix::process::geteuid().is_root() && is_not_permitted(&e) =>
        {
            Ok(None)
        }
        group => group.map(Some),
    }
}

fn is_not_permitted(error: &Error) -> bool {
    use std::io::ErrorKind;
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |e| e.source())
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem))
}

fn check(spec: &Spec, request: &Make, detach: bool) -> Result<()> {
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    match (terminal, &request.console_socket) {
        (true, None) if detach => Err(Error::invalid(
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        (false, Some(_)) => {
            Err(Error::invalid("cannot use console socket if runc will not detach or allocate tty"))
        }
        _ => Ok(()),
    }
}

fn tell(dir: &Dir, record: &Record, request: &Make, container: &Container) -> Result<()> {
    dir.save(record)?;
    if let (Some(master), Some(socket)) = (&container.console, &request.console_socket) {
        console::hand_over(socket, b"/dev/pts/ptmx", master)?;
    }
    if let Some(socket) = &request.pidfd_socket {
        console::hand_over(socket, b"pidfd", &container.pidfd)?;
    }
    // Last: whoever waits for this file takes everything else for done.
    request.pid_file.as_ref().map_or(Ok(()), |path| write_pid(path, record.pid))
}

fn listen(path: &Path) -> Result<OwnedFd> {
    let listen = || -> std::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 1)?;
        Ok(socket)
    };
    listen().context(|| format!("listen at {}", path.display()))
}

/// Waits for the process; passes on what we are told meanwhile.
fn pass_signals_until_end(process: &OwnedFd) -> Result<u8> {
    use rustix::process::{WaitId, WaitIdOptions};
    /// `SIGCHLD`
    const CHILD: i32 = 17;
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::PidFd(process.as_fd()), options)
            .map_err(std::io::Error::from)
            .context(|| "wait for the container")?;
        if status.is_some() {
            return wait(process);
        }
        let signal = sys::process::next_signal().context(|| "wait for signals")?;
        if signal != CHILD {
            let _gone = sys::process::signal(process, signal);
        }
    }
}
