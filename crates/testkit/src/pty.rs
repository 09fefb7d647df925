//! A terminal for a client: what a user types and sees.

use crate::process::{Output, code, readable, wait_end};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A client in a terminal.
#[derive(Debug)]
pub struct Terminal {
    master: std::fs::File,
    child: Child,
    line: String,
    /// Everything that was shown.
    seen: String,
    /// Up to where [`Self::expect`] has looked.
    mark: usize,
}

impl Terminal {
    /// Starts `command` with a terminal of 24 rows and 80 columns as its controlling terminal.
    ///
    /// # Panics
    /// When there are no terminals to be had.
    pub fn start(command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("open a terminal");
        grantpt(&master).expect("grant the terminal");
        unlockpt(&master).expect("unlock the terminal");
        let name = ptsname(&master, Vec::new()).expect("name the terminal");
        let slave = rustix::fs::open(
            &*name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .expect("open the terminal's other side");
        resize(&master, 24, 80);
        // util-linux's setsid makes standard input the controlling terminal of a new session.
        let mut wrapped = Command::new("setsid");
        wrapped
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        wrapped.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        wrapped
            .stdin(Stdio::from(slave.try_clone().expect("a terminal")))
            .stdout(Stdio::from(slave.try_clone().expect("a terminal")))
            .stderr(Stdio::from(slave));
        let child = wrapped.spawn().expect("start setsid (package util-linux)");
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let line =
            command.get_args().fold(name, |line, arg| format!("{line} {}", arg.to_string_lossy()));
        Self { master: master.into(), child, line, seen: String::new(), mark: 0 }
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("type into the terminal");
    }

    /// Waits until this text is shown after what was waited for before.
    ///
    /// # Panics
    /// When it is not within twenty seconds.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen[self.mark..].find(text) {
                self.mark += at + text.len();
                return;
            }
            let more = self.read(deadline.saturating_duration_since(Instant::now()));
            assert!(more, "\"{text}\" was not shown by {}; shown: {:?}", self.line, self.seen);
        }
    }

    /// Makes the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns);
    }

    /// Waits for the client's end; what was shown is its standard output.
    ///
    /// # Panics
    /// When it does not come within twenty seconds.
    #[track_caller]
    pub fn end(mut self) -> Output {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.read(deadline.saturating_duration_since(Instant::now())) {}
        let pid = i32::try_from(self.child.id()).expect("a pid is an i32");
        let ended = wait_end(pid, deadline.saturating_duration_since(Instant::now()));
        assert!(ended, "{} did not end; shown: {:?}", self.line, self.seen);
        let status = self.child.wait().expect("a child can be waited for");
        Output {
            line: self.line.clone(),
            code: code(status),
            stdout: std::mem::take(&mut self.seen),
            stderr: String::new(),
        }
    }

    /// Reads what there is; `false` at the end or when nothing comes.
    fn read(&mut self, patience: Duration) -> bool {
        if !readable(&self.master, patience) {
            return false;
        }
        let mut piece = [0; 4096];
        // A terminal whose other side is closed everywhere answers EIO.
        let Ok(n @ 1..) = self.master.read(&mut piece) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&piece[..n]));
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn resize(master: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
        .expect("set the size");
}
