//! Programs that we start: held through a read-only mount, spawned cheaply, waited for by descriptor.
//!
//! A container's processes can reach the file that their supervisor was executed from (`/proc/PID/exe`,
//! CVE-2019-5736). So a [`Program`] is opened once through a detached read-only clone of its mount and always executed
//! through that descriptor: whoever opens it for writing gets `EROFS`, and replacing the file on disk under a running
//! daemon changes nothing.
//!
//! Spawning never forks the daemon: the standard library uses `posix_spawn` (vfork) as long as nothing is to be run
//! between fork and exec, so nothing ever is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// An executable file, opened.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    path: PathBuf,
    notice: Option<String>,
}

impl Program {
    /// Opens the executable at `path` through a detached read-only mount.
    ///
    /// Where that is not permitted (no `CAP_SYS_ADMIN`, a sandbox) the file is opened as it is and [`notice`] says so.
    ///
    /// [`notice`]: Self::notice
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (fd, notice) = match read_only_clone(path.parent().unwrap_or(Path::new("/"))) {
            Ok(tree) => (rustix::fs::openat(tree, name, flags, Mode::empty())?, None),
            Err(error) => {
                let text = format!("{} is executed from a writable mount: {error}", path.display());
                (rustix::fs::open(&path, flags, Mode::empty())?, Some(text))
            }
        };
        // Found out here rather than at each spawn.
        let mode = rustix::fs::fstat(&fd)?.st_mode;
        if mode & 0o170_000 != 0o100_000 || mode & 0o111 == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { fd, path, notice })
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why the executable is not protected from being written to, if it is not.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }
}

/// A program about to be started: empty environment, `/dev/null` for all three standard streams, directory `/`.
#[derive(Debug)]
pub struct Spawn<'a> {
    program: &'a Program,
    command: std::process::Command,
}

impl<'a> Spawn<'a> {
    /// Starts describing a process of `program`.
    pub fn new(program: &'a Program) -> Self {
        // The magic link is followed in the child, where the descriptor still has its number.
        let path = format!("/proc/self/fd/{}", program.fd.as_raw_fd());
        #[allow(clippy::disallowed_methods, reason = "this is the replacement that the ban names")]
        let mut command = std::process::Command::new(path);
        command.arg0(program.path.file_name().unwrap_or_default());
        command.env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { program, command }
    }

    /// Sets `argv[0]`, by default the file's name.
    #[must_use]
    pub fn name(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.arg0(name);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Hands on a variable of our own environment if it is set.
    #[must_use]
    pub fn inherit_env(self, key: &str) -> Self {
        match std::env::var_os(key) {
            Some(value) => self.env(OsString::from(key), value),
            None => self,
        }
    }

    /// The standard input.
    #[must_use]
    pub fn stdin(mut self, fd: OwnedFd) -> Self {
        self.command.stdin(fd);
        self
    }

    /// The standard output.
    #[must_use]
    pub fn stdout(mut self, fd: OwnedFd) -> Self {
        self.command.stdout(fd);
        self
    }

    /// The standard error.
    #[must_use]
    pub fn stderr(mut self, fd: OwnedFd) -> Self {
        self.command.stderr(fd);
        self
    }

    /// Starts it. It is not tied to our life: it goes on when we end.
    pub fn spawn(mut self) -> io::Result<Child> {
        let process = self.command.spawn().map_err(|e| {
            io::Error::new(e.kind(), format!("execute {}: {e}", self.program.path.display()))
        })?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        // Nobody has waited for it, so the number is still its own.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Child { pid: pid.as_raw_nonzero().get(), pidfd })
    }
}

/// A process that we started. Dropping it neither ends nor waits for it.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when it ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Takes its exit status when it has ended; `ECHILD` after that was done before.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.wait_with(WaitIdOptions::EXITED) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends it by `SIGKILL`.
    pub fn kill(&mut self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }

    fn wait_with(&self, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)?;
        // Back into the form of wait(2), which is what the standard library keeps.
        Ok(status.map(|s| match (s.exit_status(), s.terminating_signal()) {
            (Some(code), _) => ExitStatus::from_raw((code & 0xff) << 8),
            (None, Some(signal)) => ExitStatus::from_raw(signal & 0x7f),
            (None, None) => ExitStatus::from_raw(0),
        }))
    }
}

/// The mount that the directory `dir` is on, cloned from `dir` downwards, attached nowhere and read-only.
fn read_only_clone(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, dir, flags)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // JUSTIFICATION: rustix has no mount_setattr.
    // SAFETY: the path is a NUL-terminated constant, the structure is initialised, outlives the call, and its true
    // size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            AtFlags::EMPTY_PATH.bits(),
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(tree) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_program_gets_what_it_is_given_and_nothing_else() {
        crate::process::close_on_exec_from(3).unwrap();
        let program = Program::open(Path::new("/bin/sh")).unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let mut child = Spawn::new(&program)
            .name("a-name")
            .arg("-c")
            .arg("echo \"$0|$A|$HOME|$PWD\"; ls /proc/self/fd; exit 3")
            .env("A", "b")
            .env("PATH", "/bin:/usr/bin")
            .stdout(writer.into())
            .spawn()
            .unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        // 3 is ls's own descriptor of the directory.
        assert_eq!(text, "a-name|b||/\n0\n1\n2\n3\n");
        assert!(child.try_wait().is_err());
    }

    #[test]
    fn the_executable_cannot_be_written_to() {
        // A copy of its own: other processes that run the same file would keep it busy.
        let copy = std::env::temp_dir().join(format!("sys-command-{}", std::process::id()));
        std::fs::copy("/bin/sleep", &copy).unwrap();
        let program = Program::open(&copy).unwrap();
        std::fs::remove_file(&copy).unwrap();
        if let Some(notice) = program.notice() {
            eprintln!("skipped: {notice}");
            return;
        }
        let mut child = Spawn::new(&program).arg("60").spawn().unwrap();
        let exe = format!("/proc/{}/exe", child.pid());
        let held = rustix::fs::open(exe, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        // While it runs the text is busy (ETXTBSY). The attack waits until it is not, holding the file by a descriptor.
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        let error = std::fs::File::options().write(true).open(again).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let kind = |path: &str| Program::open(Path::new(path)).map(|_| ()).unwrap_err().kind();
        assert_eq!(kind("/nowhere"), io::ErrorKind::NotFound);
        assert_eq!(kind("/etc/passwd"), io::ErrorKind::PermissionDenied);
        assert_eq!(kind("/bin"), io::ErrorKind::PermissionDenied);
    }
}
