//! One call of the runtime's program, from clone to its end.

use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{WaitId, WaitIdOptions};
use stdx::{Context as _, Error, Result};
use sys::clone::{self, Clone3, Cloned};
use sys::mount;

/// How long one call may take; the daemon gives a shim a minute.
const PATIENCE: Duration = Duration::from_secs(45);
/// Programs that a runtime runs itself (hooks, `newuidmap`) are looked up there.
const ENVIRONMENT: &[&str] = &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// One call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) program: &'a Path,
    /// All but its name.
    pub(super) args: &'a [String],
    /// Where it runs.
    pub(super) folder: &'a Path,
    /// Standard input, output and error; `/dev/null` when there are none.
    pub(super) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// What it finds mounted, and nobody else.
    pub(super) places: &'a [Place],
    /// A mount that it does not find.
    pub(super) hidden: Option<&'a Path>,
}

/// Something that is mounted for one call.
#[derive(Debug)]
pub(super) struct Place {
    what: What,
    target: PathBuf,
}

#[derive(Debug)]
enum What {
    /// A detached mount.
    Detached(OwnedFd),
    /// A copy of what is there, or the detached mount that it is.
    Path(PathBuf),
}

impl Place {
    pub(super) fn detached(mount: OwnedFd, target: PathBuf) -> Self {
        Self { what: What::Detached(mount), target }
    }

    pub(super) fn bind(path: PathBuf, target: PathBuf) -> Self {
        Self { what: What::Path(path), target }
    }

    fn attach(&self) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let target = rustix::fs::open(&self.target, flags, Mode::empty())?;
        match &self.what {
            What::Detached(tree) => mount::attach(tree, target),
            What::Path(path) => match mount::clone_tree(CWD, path.as_path(), false) {
                // Older kernels do not copy what is attached nowhere: it is moved.
                Err(e) if mount::errno(&e) == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                    mount::attach(rustix::fs::open(path, flags, Mode::empty())?, target)
                }
                tree => mount::attach(tree?, target),
            },
        }
    }
}

/// Calls it and waits for its end. `None`: it succeeded; otherwise how it failed, for when it said nothing itself.
pub(super) fn run(call: &Call<'_>) -> Result<Option<String>> {
    let string =
        |text: &[u8]| CString::new(text).map_err(|_| Error::invalid("an argument has a NUL byte"));
    let path = string(call.program.as_os_str().as_bytes())?;
    let mut args = vec![path.clone()];
    for arg in call.args {
        args.push(string(arg.as_bytes())?);
    }
    let environment: Vec<CString> =
        ENVIRONMENT.iter().map(|e| string(e.as_bytes())).collect::<Result<_>>()?;
    let (errors, complain) = io::pipe().context(|| "make a pipe")?;
    let cloned = clone::clone3(Clone3::default()).context(|| "clone for the runtime")?;
    let Cloned::Parent { pidfd, .. } = cloned else {
        become_program(call, &path, &args, &environment, &complain.into());
    };
    drop(complain);
    let status = wait(&pidfd)?;
    let mut why = String::new();
    let mut errors = errors;
    // The program is gone, and with it the pipe's other end, unless something that it left holds it: then it was
    // executed, and there is nothing to read.
    rustix::io::ioctl_fionbio(&errors, true).map_err(io::Error::from).context(|| "read a pipe")?;
    let _nothing = errors.read_to_string(&mut why);
    Ok(match status {
        Status::Code(0) => None,
        _ if !why.is_empty() => Some(format!("fork/exec {}: {why}", call.program.display())),
        Status::Code(code) => Some(format!("{}: exit status {code}", call.program.display())),
        Status::Signal(signal) => Some(format!("{}: signal {signal}", call.program.display())),
        Status::Late => {
            let seconds = PATIENCE.as_secs();
            Some(format!("{}: not done after {seconds} s, killed", call.program.display()))
        }
    })
}

/// Brings the loopback device of a network namespace up, which is the creator's duty.
pub(super) fn loopback_up(netns: BorrowedFd<'_>) -> io::Result<()> {
    match clone::clone3(Clone3::default())? {
        Cloned::Child => {
            let up = sys::process::set_namespaces(netns, clone::NEWNET)
                .and_then(|()| sys::process::loopback_up());
            let code = up.map_or_else(|e| e.raw_os_error().unwrap_or(1), |()| 0);
            sys::process::exit_now(code)
        }
        Cloned::Parent { pidfd, .. } => match wait(&pidfd) {
            Ok(Status::Code(0)) => Ok(()),
            Ok(Status::Code(errno)) => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("{other:?}"))),
        },
    }
}

fn become_program(
    call: &Call<'_>,
    path: &CString,
    args: &[CString],
    environment: &[CString],
    complain: &OwnedFd,
) -> ! {
    sys::process::reset_signals();
    let error = match surround(call) {
        Ok(()) => sys::process::exec(path, args, environment),
        Err(error) => error,
    };
    // In the kernel's words, by which clients choose exit codes.
    let words = match error.raw_os_error() {
        Some(libc_errno) => errno_words(libc_errno),
        None => error.to_string(),
    };
    let _told = rustix::io::write(complain, words.as_bytes());
    sys::process::exit_now(127)
}

/// As strerror(3) has it, in small letters, as Go has it.
fn errno_words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// Everything that is so for the program alone.
fn surround(call: &Call<'_>) -> io::Result<()> {
    if !call.places.is_empty() || call.hidden.is_some() {
        sys::process::unshare(clone::NEWNS)?;
    }
    if !call.places.is_empty() {
        // Only what the bundle is on is cut off from the host: elsewhere mounts may be meant to be seen there.
        let above = mount_of(call.folder)?;
        rustix::mount::mount_change(above, MountPropagationFlags::DOWNSTREAM)?;
        call.places.iter().try_for_each(Place::attach)?;
    }
    if let Some(hidden) = call.hidden {
        let above = mount_of(hidden.parent().unwrap_or(Path::new("/")))?;
        rustix::mount::mount_change(above, MountPropagationFlags::PRIVATE)?;
        rustix::mount::unmount(hidden, UnmountFlags::DETACH)?;
    }
    rustix::process::chdir(call.folder)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let [stdin, stdout, stderr] = call.stdio.unwrap_or([null.as_fd(); 3]);
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    sys::process::close_on_exec_from(3)
}

/// Where the mount that has `path` is mounted.
fn mount_of(path: &Path) -> io::Result<PathBuf> {
    let id = |path: &Path| -> io::Result<u64> {
        let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
        Ok(stat.stx_mnt_id)
    };
    let path = std::fs::canonicalize(path)?;
    let own = id(&path)?;
    let mut found = path.as_path();
    while let Some(above) = found.parent() {
        if id(above)? != own {
            break;
        }
        found = above;
    }
    Ok(found.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Code(i32),
    Signal(i32),
    /// It took too long and was killed.
    Late,
}

/// Waits for the end of a child and takes its status.
fn wait(pidfd: &OwnedFd) -> Result<Status> {
    let deadline = Instant::now() + PATIENCE;
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("wait for the runtime", e.into())),
            Ok(ready) => break ready > 0,
        }
    };
    if !in_time {
        sys::process::signal(pidfd, 9).context(|| "end the runtime")?;
    }
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    });
    let status = status.map_err(io::Error::from).context(|| "wait for the runtime")?;
    Ok(match status.map(|s| (s.exit_status(), s.terminating_signal())) {
        _ if !in_time => Status::Late,
        Some((_, Some(signal))) => Status::Signal(signal),
        Some((code, None)) => Status::Code(code.unwrap_or(0)),
        None => Status::Code(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_gos() {
        assert_eq!(errno_words(2), "no such file or directory");
        assert_eq!(errno_words(13), "permission denied");
    }

    #[test]
    fn a_path_is_on_a_mount() {
        assert_eq!(mount_of(Path::new("/proc/self/ns")).unwrap(), Path::new("/proc"));
        assert_eq!(mount_of(Path::new("/")).unwrap(), Path::new("/"));
    }
}
