//! A group of a test's own, and shells to put into it.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use cgroups::{Group, Hierarchies, Version};
use oci::runtime::Resources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A name beneath the roots that is cleaned up, whatever happened.
pub(crate) struct Place {
    pub(crate) hierarchies: Hierarchies,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn new(name: &str, hierarchies: Hierarchies) -> Self {
        Self { hierarchies, name: format!("gantry-test-{}-{name}", std::process::id()) }
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/c", self.name)
    }

    pub(crate) fn create(&self, json: &str) -> stdx::Result<Group> {
        Group::create(&self.hierarchies, &self.path(), &resources(json))
    }

    /// Where the group is in the hierarchy of `controller`.
    pub(crate) fn dir(&self, controller: &str) -> PathBuf {
        let text = self.hierarchies.to_string();
        let line = text
            .lines()
            .find(|l| l.split(':').nth(1).unwrap().split(',').any(|c| c == controller))
            .unwrap();
        PathBuf::from(line.splitn(3, ':').nth(2).unwrap()).join(self.path())
    }

    pub(crate) fn read(&self, controller: &str, file: &str) -> String {
        std::fs::read_to_string(self.dir(controller).join(file)).unwrap().trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(group) = Group::open(&self.hierarchies, &self.name) else { return };
        group.kill().unwrap();
        group.remove().unwrap();
    }
}

/// Every hierarchy of the host, and the v1 ones alone where there is a v2 one beside them; nothing where tests cannot run.
pub(crate) fn layouts() -> Vec<(&'static str, Hierarchies)> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return Vec::new();
    }
    let all = Hierarchies::detect().unwrap();
    if all.version() == Version::V2 {
        return vec![("v2", all)];
    }
    let v1: String =
        all.to_string().lines().filter(|l| l.starts_with('1')).map(|l| format!("{l}\n")).collect();
    vec![("all", all), ("v1", v1.parse().unwrap())]
}

/// The host's hierarchies when limits live on the v1 side (or not), else nothing.
pub(crate) fn only(v2: bool) -> Option<Hierarchies> {
    let (name, all) = layouts().into_iter().next()?;
    if (name == "v2") != v2 {
        println!("skipped: this host has the other cgroup version");
        return None;
    }
    Some(all)
}

pub(crate) fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// A shell that waits until it is in the group, then runs `script`.
pub(crate) struct Script {
    pub(crate) child: Child,
}

impl Script {
    pub(crate) fn start(group: &Group, script: &str) -> Self {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read -r go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        group.add(child.id()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        Self { child }
    }

    pub(crate) fn output(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for an event, or only for time to pass when there is none to wait for.
pub(crate) fn wait(fd: Option<&dyn AsFd>, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    match fd {
        Some(fd) => {
            poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)], Some(&timeout))
                .unwrap()
                > 0
        }
        None => poll(&mut [], Some(&timeout)).unwrap() > 0,
    }
}
