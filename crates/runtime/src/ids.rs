//! User namespaces: whose ids a container's are.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use oci::runtime::IdMapping;
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::CapabilitySet;
use sys::clone::{self, Clone3, Cloned};

use crate::error::{Error, Result, Step as _};
use crate::plan::process::ProcessPlan;

/// The ids of a namespace, as `uid_map` and `gid_map` have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
}

/// The kernel's own bound (user_namespaces(7)).
const MOST: usize = 340;

impl IdMaps {
    /// Checks what the kernel would refuse with a mere EINVAL.
    pub(crate) fn new(what: &str, uids: &[IdMapping], gids: &[IdMapping]) -> Result<Self> {
        for (name, list) in [("uidMappings", uids), ("gidMappings", gids)] {
            let wrong = |why: &str| Err(Error::Invalid(format!("{what}: {name} {why}")));
            if list.is_empty() {
                return wrong("must not be empty");
            }
            if list.len() > MOST {
                return wrong("has more than 340 entries");
            }
            for (at, one) in list.iter().enumerate() {
                let end = |start: u32| start.checked_add(one.size);
                if one.size == 0 || end(one.container_id).is_none() || end(one.host_id).is_none() {
                    return wrong("has an entry that is empty or too long");
                }
                let meets = |a: u32, b: u32, size: u32| {
                    u64::from(a) < u64::from(b) + u64::from(size)
                        && u64::from(b) < u64::from(a) + u64::from(one.size)
                };
                let overlaps = |other: &IdMapping| {
                    meets(one.container_id, other.container_id, other.size)
                        || meets(one.host_id, other.host_id, other.size)
                };
                if list[..at].iter().any(overlaps) {
                    return wrong("has entries that overlap");
                }
            }
        }
        Ok(Self { uids: uids.to_vec(), gids: gids.to_vec() })
    }

    /// The ids outside of root inside, if it has any.
    pub(crate) fn root(&self) -> Option<(u32, u32)> {
        let host =
            |list: &[IdMapping]| list.iter().find(|m| m.container_id == 0).map(|m| m.host_id);
        host(&self.uids).zip(host(&self.gids))
    }

    /// Gives them to the namespace of process `pid`, which the caller has made.
    pub(crate) fn write(&self, pid: i32) -> Result<()> {
        if !is_privileged() {
            self.check_unprivileged()?;
            // Without it nobody could give away groups that take rights from him (user_namespaces(7)).
            write(pid, "setgroups", "deny")?;
        }
        write(pid, "uid_map", &text(&self.uids))?;
        write(pid, "gid_map", &text(&self.gids))
    }

    /// Nobody but root maps ids that are not his own; others need newuidmap, a helper with privileges of its own.
    fn check_unprivileged(&self) -> Result<()> {
        let own =
            |list: &[IdMapping], id: u32| matches!(list, [m] if m.size == 1 && m.host_id == id);
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        if own(&self.uids, uid) && own(&self.gids, gid) {
            return Ok(());
        }
        Err(Error::NotImplemented(format!(
            "without root only one's own ids can be mapped, one entry of size 1 each: hostID {uid} in uidMappings and \
             {gid} in gidMappings (newuidmap and newgidmap are not used)"
        )))
    }

    /// A namespace with these ids and nobody in it.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        let (wait, stay) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(|| "make a pipe")?;
        let how = Clone3 { namespaces: clone::NEWUSER, ..Clone3::default() };
        let (pid, pidfd) = match clone::clone3(how).step(|| "make a user namespace")? {
            Cloned::Child => {
                drop(stay);
                // Until the other end is closed, whatever happens to its owner.
                let _closed = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0_u8; 1]));
                sys::process::exit_now(0)
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(wait);
        let namespace = self.write(pid).and_then(|()| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())
                .step(|| "open the user namespace")
        });
        drop(stay);
        let _reaped = rustix::io::retry_on_intr(|| {
            use std::os::fd::AsFd as _;
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        namespace
    }
}

/// What takes rights that a member of the container's user namespace has not, done before it is joined.
///
/// The session keyring counts against its maker's quota, which is 200 keys for anybody but root. Hard limits only go up
/// with `CAP_SYS_RESOURCE` of the host; soft ones are set when the program is about to run.
pub(crate) fn use_creators_rights(process: &ProcessPlan, own_keyring: bool) -> Result<()> {
    if own_keyring {
        sys::process::join_session_keyring().step(|| "join a session keyring")?;
    }
    for (resource, _, hard) in &process.limits {
        sys::process::raise_limit(*resource, *hard).step(|| format!("raise limit {resource:?}"))?;
    }
    Ok(())
}

/// Whether this process may do what root may in its own user namespace.
pub(crate) fn is_privileged() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Becomes root of the user namespace that this process has just entered, with no groups.
///
/// Files that are made from here on need an owner that the namespace has.
pub(crate) fn become_root(groups: bool) -> Result<()> {
    if groups {
        rustix::thread::set_thread_groups(&[]).step(|| "give up groups")?;
    }
    let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .step(|| "become group 0 of the user namespace")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).step(|| "become root of the user namespace")
}

/// Whether the namespace of process `pid` refuses setgroups.
pub(crate) fn denies_groups(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/setgroups")).is_ok_and(|text| text.starts_with(b"deny"))
}

fn text(list: &[IdMapping]) -> String {
    list.iter().fold(String::new(), |mut text, m| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{} {} {}", m.container_id, m.host_id, m.size);
        text
    })
}

/// One write, as the kernel takes it.
fn write(pid: i32, name: &str, text: &str) -> Result<()> {
    let step =
        || format!("write {name} {:?} of process {pid}", text.trim_end().replace('\n', ", "));
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{pid}/{name}"), flags, Mode::empty()).step(step)?;
    rustix::io::write(&file, text.as_bytes()).step(step)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn maps_that_the_kernel_would_refuse_are_told_apart() {
        let check = |list: &[IdMapping]| match IdMaps::new("linux", list, &[map(0, 5, 1)]) {
            Ok(maps) => format!("{:?}", maps.root()),
            Err(e) => e.to_string(),
        };
        assert_eq!(check(&[map(1, 9, 3), map(0, 100, 1)]), "Some((100, 5))");
        assert_eq!(check(&[map(1, 9, 3)]), "None");
        assert_eq!(check(&[]), "linux: uidMappings must not be empty");
        assert_eq!(
            check(&[map(0, 1, 0)]),
            "linux: uidMappings has an entry that is empty or too long"
        );
        assert_eq!(
            check(&[map(1, 0, u32::MAX)]),
            "linux: uidMappings has an entry that is empty or too long"
        );
        assert_eq!(
            check(&[map(0, 0, 5), map(4, 9, 1)]),
            "linux: uidMappings has entries that overlap"
        );
        assert_eq!(
            check(&[map(0, 0, 5), map(5, 4, 1)]),
            "linux: uidMappings has entries that overlap"
        );
        assert_eq!(check(&vec![map(0, 0, 1); 341]), "linux: uidMappings has more than 340 entries");
    }

    #[test]
    fn maps_are_lines() {
        assert_eq!(text(&[map(0, 100, 1), map(1, 200, 2)]), "0 100 1\n1 200 2\n");
    }
}
