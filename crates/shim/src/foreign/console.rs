//! Where a runtime sends the terminal that it made: a socket in the bundle.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use stdx::{Context as _, Error, Result};

/// The socket's name in the bundle, which is the program's working directory: whole paths may be longer than a
/// socket's name can be (108 bytes).
pub(super) const NAME: &str = "console";

/// The socket, until the terminal has come.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens in the bundle.
    pub(super) fn bind(bundle: &Path) -> Result<Self> {
        let path = bundle.join(NAME);
        stdx::fs::remove_file(&path)?;
        let listen = || -> io::Result<UnixListener> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(bundle, flags, Mode::empty())?;
            let before = rustix::process::umask(Mode::from_raw_mode(0o177));
            let socket = UnixListener::bind(sys::dir::proc_path(dir.as_fd()).join(NAME));
            rustix::process::umask(before);
            let socket = socket?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = listen().context(|| "listen for the terminal")?;
        Ok(Self { socket, path })
    }

    /// The terminal that was sent. The program that sent it has ended: what has not come will not come.
    pub(super) fn take(self) -> Result<OwnedFd> {
        stdx::fs::remove_file(&self.path)?;
        let receive = || -> io::Result<Vec<OwnedFd>> {
            let (connection, _) = self.socket.accept()?;
            connection.set_nonblocking(true)?;
            let (mut name, mut fds) = ([0; 4096], Vec::new());
            sys::scm::recv_with_fds(&connection, &mut name, &mut fds)?;
            Ok(fds)
        };
        let fds = receive().context(|| "take the terminal from the runtime")?;
        let master = fds.into_iter().next();
        let master = master.filter(|fd| sys::tty::is_terminal(fd));
        master.ok_or_else(|| Error::internal("the runtime sent no terminal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_terminal_is_taken_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let send = |fd: &OwnedFd| {
            let listener = Listener::bind(folder.path()).unwrap();
            let socket = UnixStream::connect(folder.path().join(NAME)).unwrap();
            sys::scm::send_with_fds(&socket, b"name", &[fd.as_fd()]).unwrap();
            listener.take()
        };
        let (master, _other) = sys::tty::open_pair().unwrap();
        assert!(sys::tty::is_terminal(send(&master).unwrap()));
        send(&std::fs::File::open("/dev/null").unwrap().into()).unwrap_err();
        assert!(!folder.path().join(NAME).exists());
        Listener::bind(folder.path()).unwrap().take().unwrap_err();
    }
}
