//! Namespaces that a container shares with another one: `--network`, `--pid` and `--ipc container:…`.
//!
//! What is joined is opened here and handed to the shim as descriptors: whatever becomes of the other container
//! meanwhile, they stay what they are. Its process is known by its number, which may be somebody else's by now; so its
//! cgroup is looked at after its namespaces have been opened.

use crate::services::Services;
use crate::state::Endpoints;
use crate::userns::{self, User};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use stdx::{Context as _, Error, Result};
use store::records::container::{ContainerRecord, UserNamespace};
use task::protocol::Join;

/// Another container as it is now.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its record.
    pub record: Arc<ContainerRecord>,
    /// Its first process, if it runs.
    pub pid: Option<i32>,
    /// Its networks, if it runs.
    pub endpoints: Endpoints,
}

/// What is shared.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// The network namespace, and whose it is: its `/etc/hosts` and its like are shared with it.
    pub(crate) network: Option<(OwnedFd, Arc<ContainerRecord>)>,
    /// Further namespaces.
    pub(crate) namespaces: Vec<(Join, OwnedFd)>,
    /// The user namespace that they all belong to, when the record asks for it.
    pub(crate) user: Option<User>,
    /// The `/dev/shm` that belongs to the IPC namespace, as a detached mount.
    pub(crate) shm: Option<OwnedFd>,
}

/// Opens what `record` shares with others. Texts are Docker's.
pub(crate) fn open(services: &Services, record: &ContainerRecord) -> Result<Joined> {
    let mut joined = Joined::default();
    let host = &record.host;
    let mut user = None;
    let mut share_user = |pid, id: &str| -> Result<()> {
        if record.user_namespace != Some(UserNamespace::Peers) {
            return Ok(());
        }
        let found = userns::of_peer(namespace(pid, "user", id)?, pid)?.ok_or_else(|| {
            Error::conflict(format!("container {id} has no user namespace that could be shared"))
        })?;
        match &user {
            Some(other) if !userns::same(other, &found) => Err(Error::conflict(format!(
                "container {id} has another user namespace than the other container whose namespaces are shared"
            ))),
            _ => {
                user = Some(found);
                Ok(())
            }
        }
    };
    if let Some(name) = of_container(&host.network_mode) {
        let (peer, pid) = running(services, name, |id| {
            format!("cannot join network of a non running container: {id}")
        })?;
        share_user(pid, &peer.id)?;
        joined.network = Some((namespace(pid, "net", &peer.id)?, peer));
    }
    if let Some(name) = of_container(&host.pid_mode) {
        let (peer, pid) = running(services, name, |id| {
            format!("failed to join PID namespace: container {id} is not running")
        })?;
        share_user(pid, &peer.id)?;
        joined.namespaces.push((Join::Pid, namespace(pid, "pid", &peer.id)?));
    }
    if let Some(name) = of_container(&host.ipc_mode) {
        let (peer, pid) = running(services, name, |id| {
            format!("failed to join IPC namespace: container {id} is not running")
        })?;
        if !matches!(peer.host.ipc_mode.as_str(), "shareable" | "host") {
            return Err(Error::invalid(format!(
                "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                peer.id
            )));
        }
        share_user(pid, &peer.id)?;
        joined.namespaces.push((Join::Ipc, namespace(pid, "ipc", &peer.id)?));
        joined.shm = Some(shared_memory(namespace(pid, "mnt", &peer.id)?)?);
    }
    joined.user = user;
    Ok(joined)
}

/// `container:NAME`
pub fn of_container(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}

fn running(
    services: &Services,
    name: &str,
    otherwise: impl Fn(&str) -> String,
) -> Result<(Arc<ContainerRecord>, i32)> {
    let Peer { record, pid, .. } = services.world.peer(name)?;
    match pid {
        Some(pid) => Ok((record, pid)),
        None => Err(Error::conflict(otherwise(&record.id))),
    }
}

/// A namespace of a container's first process.
pub(crate) fn namespace(pid: i32, kind: &str, id: &str) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let file = File::open(&path).context(|| format!("open {path}"))?;
    let cgroup = format!("/proc/{pid}/cgroup");
    let cgroup = std::fs::read_to_string(&cgroup).context(|| format!("read {cgroup}"))?;
    if !cgroup.contains(id) {
        return Err(Error::conflict(format!("container {id} has just ended")));
    }
    Ok(file.into())
}

/// A copy of the mount at `/dev/shm` of a mount namespace. Mounts can be copied only from within their namespace, and
/// only a thread of its own can go there.
fn shared_memory(namespace: OwnedFd) -> Result<OwnedFd> {
    let work = move || -> std::io::Result<OwnedFd> {
        // Also takes this thread's root and working directory apart from the process's, which joining asks for.
        sys::process::unshare(sys::clone::NEWNS)?;
        sys::process::set_namespaces(namespace.as_fd(), sys::clone::NEWNS)?;
        sys::mount::clone_tree(rustix::fs::CWD, c"/dev/shm", false)
    };
    let thread = std::thread::Builder::new().name("shm".to_owned()).spawn(work);
    let result = thread.context(|| "start a thread")?.join();
    result
        .map_err(|_| Error::internal("the thread that looked for /dev/shm panicked"))?
        .context(|| "share /dev/shm")
}
