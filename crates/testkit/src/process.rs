//! Running a program to its end, with a limit on the time, and looking at processes.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a command may take that says nothing else. A bound for hangs, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a program did.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// The exit code, or 128 + the signal that ended it.
    pub code: i32,
    /// Standard output, bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Requires success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Requires an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Requires the whole of standard output.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "{self}");
        self
    }

    /// Requires a piece of standard output or standard error.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "expected \"{text}\"\n{self}"
        );
        self
    }

    /// Requires that a piece of text is in neither output.
    #[track_caller]
    pub fn lacks(self, text: &str) -> Self {
        assert!(
            !self.stdout.contains(text) && !self.stderr.contains(text),
            "did not expect \"{text}\"\n{self}"
        );
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(e) => panic!("no JSON: {e}\n{self}"),
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "$ {line}\nexit code {code}\n── stdout\n{stdout}── stderr\n{stderr}──")
    }
}

/// The exit code of a status as a shell would tell it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A program that was started and is not waited for yet. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: std::process::Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts `command` with pipes for its outputs; `input` is written to it, then closed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command, input: Option<Vec<u8>>) -> Self {
        let line = line(&command);
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {line}: {e}"));
        if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
            // A reader that goes away early is the program's own business.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { line, child, stdout, stderr }
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is an i32")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than `patience`; it is killed and what it printed is shown.
    #[track_caller]
    pub fn end(mut self, patience: Duration) -> Output {
        let late = !wait_end(self.pid(), patience) && self.is_running();
        if late {
            let _killed = self.child.kill();
        }
        let status = self.child.wait().expect("a child can be waited for");
        let text = |thread: Option<JoinHandle<Vec<u8>>>| {
            let bytes = thread.and_then(|t| t.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        let output = Output { line: self.line.clone(), code: code(status), stdout, stderr };
        assert!(!late, "not done after {} s\n{output}", patience.as_secs());
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started or takes longer than [`PATIENCE`].
#[track_caller]
pub fn run(command: Command) -> Output {
    Running::start(command, None).end(PATIENCE)
}

/// Runs a program of the machine that the harness itself needs.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn must(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args);
    Running::start(command, None).end(Duration::from_secs(900)).ok()
}

/// Waits until process `pid` has ended, whoever's child it is. `false`: it still runs after `patience`.
pub fn wait_end(pid: i32, patience: Duration) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    readable(&pidfd, patience)
}

/// Waits until a descriptor is readable or hung up.
pub fn readable(fd: impl AsFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}

/// Sends a signal; a process that is gone is fine.
pub fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, signal);
    }
}

/// Asks again and again until the answer is yes.
///
/// # Panics
/// When it is not within `patience`.
#[track_caller]
pub fn eventually(what: &str, patience: Duration, mut question: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !question() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes as (pid, parent, state, name), by the numbers of this `/proc`.
pub fn table(proc: &Path) -> Vec<(i32, i32, char, String)> {
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(proc, pid)).collect()
}

fn stat(proc: &Path, pid: i32) -> Option<(i32, i32, char, String)> {
    let text = std::fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((pid, fields.next()?.parse().ok()?, state, name))
}

/// All descendants of a process of the machine, nearest first.
pub fn descendants(root: i32) -> Vec<(i32, char, String)> {
    let table = table(Path::new("/proc"));
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while !next.is_empty() {
        let parents = std::mem::take(&mut next);
        for (pid, parent, state, name) in &table {
            if parents.contains(parent) {
                found.push((*pid, *state, name.clone()));
                next.push(*pid);
            }
        }
    }
    found
}

/// The last lines of a text file.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn collect(mut pipe: impl std::io::Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is what is looked at.
        let _end = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, arg| format!("{line} {}", arg.to_string_lossy()))
}
