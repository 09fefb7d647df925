//! The process that a sandbox lives as long as, written down so that a helper that is started again finds its namespace.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use stdx::{Context as _, Result};

use crate::state::{self, Id, Paths};

/// A process that is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pid: u32,
    /// When it started, in clock ticks since boot: numbers are used again, this is not.
    start: u64,
    /// Its network namespace then; a process may move to another.
    netns: (u64, u64),
}

impl Owner {
    /// The process `pid`, which is in `netns`. The caller holds a pidfd of it.
    pub(crate) fn of(pid: u32, netns: &OwnedFd) -> io::Result<Self> {
        Ok(Self { pid, start: start_time(pid)?, netns: sys::netns::identity(netns.as_fd())? })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Writes it down.
    pub(crate) fn write(&self, paths: &Paths, id: &Id) -> Result<()> {
        state::write(&paths.owner(id), self)
    }

    /// A pidfd of the process and its namespace, if it is still that process in that namespace.
    pub(crate) fn find(&self) -> Result<(OwnedFd, OwnedFd)> {
        let pid = self.pid;
        let find = || -> io::Result<(OwnedFd, OwnedFd)> {
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let number = number.ok_or(io::ErrorKind::InvalidData)?;
            // The descriptor first: what is read afterwards is of the process that it stands for, or of none.
            let pidfd = pidfd_open(number, PidfdFlags::empty())?;
            let netns = sys::netns::of_process(pid)?;
            let is_same = start_time(pid)? == self.start
                && sys::netns::identity(netns.as_fd())? == self.netns;
            if is_same { Ok((pidfd, netns)) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        find().context(|| format!("find the container's process {pid}"))
    }
}

/// Whether a process could not be read because it is no more: its folder is gone, or went while a file in it was open.
pub(crate) fn has_ended(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound
        || e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may contain anything, also blanks and brackets.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_while_it_is_read_has_ended() {
        let program = sys::command::Program::open(std::path::Path::new("/bin/true")).unwrap();
        let mut child = sys::command::Spawn::new(&program).spawn().unwrap();
        let pid = u32::try_from(child.pid()).unwrap();
        let mut stat = std::fs::File::open(format!("/proc/{pid}/stat")).unwrap();
        child.wait().unwrap();
        let overtaken = io::Read::read_to_string(&mut stat, &mut String::new()).unwrap_err();
        assert!(has_ended(&overtaken), "{overtaken}");
        let netns = sys::netns::current().unwrap();
        assert!(has_ended(&Owner::of(pid, &netns).unwrap_err()));
        assert!(!has_ended(&io::ErrorKind::InvalidData.into()));
    }

    #[test]
    fn a_process_is_known_again_and_another_is_not() {
        let netns = sys::netns::current().unwrap();
        let own = Owner::of(std::process::id(), &netns).unwrap();
        assert!(own.find().is_ok());
        assert!(Owner { start: own.start + 1, ..own.clone() }.find().is_err());
        assert!(Owner { netns: (0, 0), ..own.clone() }.find().is_err());
        assert!(Owner { pid: 0, ..own }.find().is_err());
    }
}
