//! The program on a pseudo terminal.

use super::fake::Fake;
use super::program::{Which, command};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A running program and the terminal that it has.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) child: Child,
    pub(super) master: OwnedFd,
    /// What it has shown so far.
    shown: String,
}

impl Session {
    /// Starts `args` on a new terminal of 24 rows and 80 columns.
    pub(super) fn start(which: Which, directory: &Path, fake: &Fake, args: &[String]) -> Self {
        let (master, terminal) = sys::tty::open_pair().unwrap();
        sys::tty::set_size(&master, sys::tty::Size { rows: 24, columns: 80 }).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = command(which, directory, fake, args);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { child, master, shown: String::new() }
    }

    /// Types on the keyboard.
    pub(super) fn types(&self, keys: &[u8]) {
        assert_eq!(rustix::io::write(&self.master, keys), Ok(keys.len()));
    }

    /// Waits until `text` has been shown.
    pub(super) fn until(&mut self, text: &str) {
        let start = Instant::now();
        while !self.shown.contains(text) {
            assert!(start.elapsed() < Duration::from_secs(20), "{text:?} not in {:?}", self.shown);
            self.read();
        }
    }

    /// The exit code, and everything that was shown.
    pub(super) fn finish(mut self) -> (i32, String) {
        let start = Instant::now();
        loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.read() {}
                return (status.code().unwrap_or(-1), self.shown);
            }
            if start.elapsed() > Duration::from_secs(20) {
                self.child.kill().unwrap();
                panic!("still running; shown: {:?}", self.shown);
            }
        }
    }

    /// Reads what there is within a moment; false when nothing came.
    fn read(&mut self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut fds, Some(&moment)) == Ok(0) {
            return false;
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(count) => {
                self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
                count > 0
            }
            // The other end is closed.
            Err(Errno::IO) => false,
            Err(e) => panic!("read terminal: {e}"),
        }
    }
}
