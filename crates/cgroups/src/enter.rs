//! What a container's own first process does with its group: enters it, and shows it in its `/sys/fs/cgroup`.

use std::os::fd::{AsFd, BorrowedFd};

use stdx::Result;

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
