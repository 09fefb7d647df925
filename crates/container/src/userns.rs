//! User namespaces of containers: made before anything else of a container, since its network namespace belongs to it.
//!
//! ```text
//!   record (which ids)  ─▶  user namespace ─ owns ─▶ network namespace   (daemon)
//!                                 │ descriptor
//!                                 ▼
//!   root file system, volumes and the engine's files, mapped            (shim)
//!   all further namespaces                                              (inside)
//! ```
//!
//! Files on disk keep the ids that they have inside: images, snapshots and volumes are the same with and without.

use oci::runtime::IdMapping;
use std::os::fd::{AsFd as _, OwnedFd};
use stdx::{Context as _, Error, Kind, Result};
use store::records::container::{IdRange, UserNamespace};
use sys::dir::Dir;
use sys::userns::{IdMaps, Range};

/// A user namespace for a container that is about to start.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) namespace: OwnedFd,
    pub(crate) maps: IdMaps,
    /// A network namespace that it owns, if the container shall have one of its own.
    pub(crate) network: Option<OwnedFd>,
}

/// Makes the namespace that the record asks for; `None`: it has none of its own.
pub(crate) fn make(wanted: Option<&UserNamespace>, network: bool) -> Result<Option<User>> {
    let Some(UserNamespace::Own { uids, gids }) = wanted else { return Ok(None) };
    let maps = IdMaps { uids: ranges(uids), gids: ranges(gids) };
    let made = sys::userns::create(&maps, network).map_err(|e| match e.raw_os_error() {
        Some(errno) if errno == rustix::io::Errno::NOSPC.raw_os_error() => Error::new(
            Kind::Conflict,
            "no more user namespaces: raise /proc/sys/user/max_user_namespaces (and max_net_namespaces)",
        ),
        _ => Error::io("make a user namespace", e).with_kind(Kind::Internal),
    })?;
    Ok(Some(User { namespace: made.user, maps, network: made.network }))
}

/// Another container's, by its process; `None`: that one lives in the host's.
pub(crate) fn of_peer(namespace: OwnedFd, pid: i32) -> Result<Option<User>> {
    let looking = || format!("look at the user namespace of process {pid}");
    let process = Dir::open(format!("/proc/{pid}")).context(looking)?;
    let maps = IdMaps::of_process(&process).context(looking)?;
    Ok(maps.map(|maps| User { namespace, maps, network: None }))
}

/// Whether two are one.
pub(crate) fn same(a: &User, b: &User) -> bool {
    let identity = |user: &User| sys::netns::identity(user.namespace.as_fd()).ok();
    identity(a).is_some() && identity(a) == identity(b)
}

/// As the runtime specification has them.
pub(crate) fn mappings(list: &[Range]) -> Vec<IdMapping> {
    let mapping =
        |r: &Range| IdMapping { container_id: r.inside, host_id: r.outside, size: r.size };
    list.iter().map(mapping).collect()
}

fn ranges(list: &[IdRange]) -> Vec<Range> {
    let range = |r: &IdRange| Range { inside: r.inside, outside: r.outside, size: r.size };
    list.iter().map(range).collect()
}
