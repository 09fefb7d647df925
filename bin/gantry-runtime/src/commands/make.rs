//! `create` and `run`.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci::runtime::Spec;
use runtime::{Container, Create, Rootfs, Stdio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use stdx::{Context as _, Error, Result, Undo};

use super::{destroy, load_spec, protect, wait, write_pid};
use crate::args::{Global, Make};
use crate::console;
use crate::state::{Dir, Record, start_time};

/// The container exists and waits.
pub(crate) fn create(global: &Global, request: &Make) -> Result<()> {
    protect()?;
    make(global, request, true).map(drop)
}

/// The container runs; unless detached, until it ends, with its exit code.
pub(crate) fn run(global: &Global, request: &Make, detach: bool, keep: bool) -> Result<u8> {
    protect()?;
    let terminal = load_spec(&request.bundle)?.process.is_some_and(|p| p.terminal);
    if detach && terminal && request.console_socket.is_none() {
        return Err(Error::invalid(
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    if !detach {
        // What is sent to us is for the container.
        sys::process::block_signals().context(|| "block signals")?;
    }
    let made = make(global, request, false)?;
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
        destroy(&made.dir, &made.cgroup)?;
    }
    Ok(code)
}

struct Made {
    dir: Dir,
    cgroup: String,
    container: Container,
}

fn make(global: &Global, request: &Make, waiting: bool) -> Result<Made> {
    let bundle = std::fs::canonicalize(&request.bundle)
        .context(|| format!("bundle {}", request.bundle.display()))?;
    let spec = load_spec(&bundle)?;
    check(&spec, request)?;
    let dir = Dir::of(&global.root, &request.id)?;
    dir.create()?;
    let mut undo = Undo::new();
    // Its own error would hide the one that led here.
    undo.push(|| drop(dir.remove()));
    let cgroup = cgroup_path(&spec, &request.id);
    let resources = spec.linux.as_ref().and_then(|l| l.resources.clone()).unwrap_or_default();
    let group = cgroups::Group::create(&cgroups::Hierarchies::detect()?, &cgroup, &resources)?;
    let mut undo_group = Undo::new();
    undo_group.push(|| drop(group.kill().and_then(|()| group.remove())));
    let root = spec.root.as_ref().ok_or_else(|| Error::invalid("the specification has no root"))?;
    let description = Create {
        spec: &spec,
        rootfs: Some(Rootfs::Directory(bundle.join(&root.path))),
        netns: None,
        stdio: Stdio::Inherit,
        cgroup: Some(&group),
        seccomp: None,
    };
    let container = if waiting {
        let listener = listen(&dir.socket())?;
        runtime::create_listening(&description, listener.as_fd())?
    } else {
        runtime::run(&description)?
    };
    let record = Record {
        id: request.id.clone(),
        pid: container.pid,
        // It may have ended already.
        start_time: start_time(container.pid).unwrap_or(0),
        bundle,
        cgroup: cgroup.clone(),
        created: stdx::time::Timestamp::now().to_string(),
        spec: spec.clone(),
    };
    let told = tell(&dir, &record, request, container.console.as_ref());
    if let Err(error) = told {
        let _gone = sys::process::signal(&container.pidfd, 9);
        drop(wait(&container.pidfd));
        return Err(error);
    }
    undo_group.disarm();
    undo.disarm();
    Ok(Made { dir, cgroup, container })
}

fn check(spec: &Spec, request: &Make) -> Result<()> {
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    if !terminal && request.console_socket.is_some() {
        return Err(Error::invalid(
            "cannot use console socket if runc will not detach or allocate tty",
        ));
    }
    Ok(())
}

fn tell(dir: &Dir, record: &Record, request: &Make, console: Option<&OwnedFd>) -> Result<()> {
    dir.save(record)?;
    if let (Some(master), Some(socket)) = (console, &request.console_socket) {
        console::hand_over(socket, master)?;
    }
    // Last: whoever waits for this file takes everything else for done.
    request.pid_file.as_ref().map_or(Ok(()), |path| write_pid(path, record.pid))
}

fn cgroup_path(spec: &Spec, id: &str) -> String {
    let given = spec.linux.as_ref().and_then(|l| l.cgroups_path.clone());
    given.filter(|p| !p.is_empty()).unwrap_or_else(|| format!("gantry-runtime/{id}"))
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
