//! A private host: network, mount and process namespaces for one daemon and its friends.
//!
//! Its first process is a shell that reaps what is orphaned and ends when the pipe to it closes. So a test that is
//! killed takes its host along, and the kernel ends every process in it: no daemon, shim or container outlives its test.
//! `/sys/fs/cgroup` is the machine's own (`ip netns exec` would hide it).

use crate::process::{descendants, run, table, wait_end};
use crate::{Output, need};
use rustix::process::Signal;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// `wait` in a loop of `wait3` is what makes a shell reap orphans.
const FIRST: &str =
    "exec 3<&0; ip link set lo up || exit 1; echo ready; cat <&3 >/dev/null & wait $!";

/// Namespaces that end with this value.
#[derive(Debug)]
pub struct Host {
    outer: Child,
    /// Closed by the drop: the first process ends.
    alive: Option<ChildStdin>,
    first: i32,
}

/// The network of a [`Host`].
#[derive(Debug)]
pub struct Network(std::fs::File);

impl Network {
    /// Brings the calling thread there for good, and those that it starts.
    ///
    /// # Panics
    /// Without the right to.
    pub fn enter(&self) {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("enter a network namespace");
    }
}

impl Host {
    /// Makes a host with a loopback device and nothing else.
    ///
    /// # Panics
    /// When namespaces cannot be made.
    pub fn start() -> Self {
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "--mount",
                "--propagation",
                "private",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
            ])
            .args(["sh", "-c", FIRST])
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut outer = command.spawn().expect("start unshare (package util-linux)");
        let mut line = String::new();
        let stdout = outer.stdout.take().expect("a pipe was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("read from the first process");
        assert_eq!(line, "ready\n", "a private host cannot be made");
        let pid = i32::try_from(outer.id()).expect("a pid is an i32");
        let first = descendants(pid).first().expect("unshare has a child").0;
        let alive = outer.stdin.take();
        Self { outer, alive, first }
    }

    /// The host's first process, as the machine numbers it.
    pub fn first(&self) -> i32 {
        self.first
    }

    /// A command that runs inside.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string(), "--net", "--mount", "--pid", "--"])
            .arg(program.as_ref())
            .env("PATH", search_path());
        command
    }

    /// Runs a program inside to its end.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = self.command(program);
        command.args(args);
        run(command)
    }

    /// Its network, for threads of a test that are to speak inside.
    ///
    /// # Panics
    /// When the host has ended.
    pub fn network(&self) -> Network {
        let path = format!("/proc/{}/ns/net", self.first);
        Network(std::fs::File::open(path).expect("the host runs"))
    }

    /// The process that a command of [`Self::command`] became, as the machine numbers it: `nsenter` forks to enter.
    pub fn inner(&self, nsenter: &Child) -> Option<i32> {
        let pid = i32::try_from(nsenter.id()).expect("a pid is an i32");
        descendants(pid).first().map(|(pid, ..)| *pid)
    }

    /// Ends every process inside. The drop does the same.
    pub fn end(&mut self) {
        if self.alive.take().is_none() {
            return;
        }
        if !wait_end(self.first, Duration::from_secs(5)) {
            crate::process::send(self.first, Signal::KILL);
        }
        let _reaped = self.outer.wait();
    }

    /// The `/proc` of the host: its processes by the numbers that programs inside know.
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/proc", self.first))
    }

    /// All processes inside, containers' too, but for the first and its helper: (number inside, state, name).
    pub fn processes(&self) -> Vec<(i32, char, String)> {
        let all = table(&self.proc()).into_iter();
        let own = |pid: i32, parent: i32, name: &str| pid == 1 || (parent == 1 && name == "cat");
        all.filter(|(pid, parent, _, name)| !own(*pid, *parent, name))
            .map(|(pid, _, s, n)| (pid, s, n))
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

/// `PATH` with the system folders that a login shell of root has.
pub fn search_path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// Whether the programs that a host is made of are there.
pub fn possible() -> bool {
    ["unshare", "nsenter", "ip"].iter().all(|name| need::find(name).is_some())
}
