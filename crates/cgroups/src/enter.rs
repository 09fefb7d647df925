//! What a container's own first process does with its group: enters it, and shows it in its `/sys/fs/cgroup`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use stdx::{Context as _, Result};

use crate::group::Group;

/// One of the group's directories and where it belongs beneath `/sys/fs/cgroup` of its container.
#[derive(Debug)]
pub struct View<'a> {
    /// The directory on the host, for `open_tree`. Bound, it shows this group and nothing above it.
    pub dir: BorrowedFd<'a>,
    /// Name beneath `/sys/fs/cgroup`; empty when it is mounted there itself (v2).
    pub target: String,
    /// Names beside `target` that are symbolic links to it, for controllers mounted together.
    pub links: Vec<String>,
}

impl Group {
    /// Moves the calling process, which must have one thread, into the group's v1 hierarchies.
    ///
    /// Moving oneself alone, `0` into `tasks`, is the one way of moving that takes no lock of all processes: after a
    /// second's rest [`add`](Self::add) waits 6 to 14 ms for a grace period of RCU in the kernel, this takes 0.15 ms.
    /// For the v2 hierarchy there is `CLONE_INTO_CGROUP` with [`enter_fd`](Self::enter_fd), for the same reason.
    pub fn enter_v1(&self) -> Result<()> {
        self.members.iter().filter(|m| !m.unified).try_for_each(|m| m.dir.write("tasks", "0"))
    }

    /// The v2 group beneath this one in which a process of it lives, by the process's `/proc/PID/cgroup`; `None` when it
    /// lives in the group itself or somewhere else.
    ///
    /// A container that gave controllers to groups that it made has moved its processes there, and the kernel lets
    /// nobody into the group itself any more (`EBUSY`, "no internal processes" in cgroup-v2.rst).
    ///
    /// # Errors
    /// The group is gone again.
    pub fn beneath(&self, proc_cgroup: &str) -> Result<Option<OwnedFd>> {
        let Some(member) = self.unified() else { return Ok(None) };
        let line = proc_cgroup.lines().find_map(|line| line.strip_prefix("0::"));
        let own = format!("/{}/", self.path.as_str());
        let Some((_, inside)) = line.and_then(|line| line.split_once(&own)) else {
            return Ok(None);
        };
        // Its name is the container's choice, so it is looked for beneath and nowhere else.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&member.dir, inside, flags, Mode::empty(), how)
            .map(Some)
            .map_err(std::io::Error::from)
            .context(|| format!("open cgroup {own}{inside}"))
    }

    /// The group's open directories, for a process that closes everything else.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().map(|m| m.dir.as_fd())
    }

    /// The directories to bind for the container, in order. On v1 and hybrid `/sys/fs/cgroup` itself is a tmpfs that
    /// the runtime mounts first; the v2 part of a hybrid host is left out, as in Docker.
    ///
    /// To be mounted read-only (CVE-2022-0492: a writable `release_agent` runs as root on the host).
    pub fn views(&self) -> Vec<View<'_>> {
        let v2 = self.members.iter().all(|m| m.unified);
        let members = self.members.iter().filter(|m| v2 || !m.unified);
        members
            .map(|member| {
                let all = member.controllers.join(",");
                let (target, links) = match all.strip_prefix("name=") {
                    _ if v2 => (String::new(), Vec::new()),
                    Some(name) => (name.to_owned(), Vec::new()),
                    None if member.controllers.len() > 1 => (all, member.controllers.clone()),
                    None => (all, Vec::new()),
                };
                View { dir: member.dir.as_fd(), target, links }
            })
            .collect()
    }
}
