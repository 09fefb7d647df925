//! `Create`: from a message to a container, or to nothing at all.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use oci::runtime::{NamespaceKind, Spec};
use stdx::{Result, fail_point};
use sys::signals::SignalFd;
use task::protocol::{Answer, Create, Failure, Join, Session, ShimRecord};

use crate::container::{self, Container, MadeGroup, failure};
use crate::daemons::{Caller, Daemons};
use crate::log::Log;
use crate::poll::Poll;
use crate::record::Files;
use crate::streams::Streams;
use crate::supervisor::{CONTAINER, Phase, Process, Supervisor, now};

/// What a container that could be made consists of.
struct Parts {
    record: ShimRecord,
    container: Container,
    streams: Streams,
    process: Process,
}

impl Supervisor {
    /// Makes the container and answers. `None`: it could not be made, everything is as it was before.
    pub(crate) fn create(
        poll: Poll,
        mut daemons: Daemons,
        signals: SignalFd,
        caller: Caller,
        create: &Create,
        fds: Vec<OwnedFd>,
    ) -> Option<Self> {
        let files = Files::new(create.runtime_dir.clone());
        let Parts { mut record, container, streams, process } =
            match assemble(&poll, &mut daemons, &files, create, fds) {
                Ok(parts) => parts,
                Err(failure) => {
                    for result in [daemons.stop_listening(files.dir()), files.end()] {
                        if let Err(error) = result {
                            files.complain(&error);
                        }
                    }
                    daemons.answer(caller, Answer::Failed(failure));
                    daemons.finish();
                    return None;
                }
            };
        let pid = process.pid;
        let durable = create.durable_exit.clone();
        let mut shim =
            Self::new(poll, daemons, signals, streams, container, process, files, durable);
        if create.start {
            let at = now();
            shim.phase = Phase::Running(at);
            shim.daemons.answer(caller, Answer::Started { pid, at });
        } else {
            shim.daemons.answer(caller, Answer::Created { pid });
        }
        // Neither the answer nor the start that is on its way waits for it; until then the cgroup tells who lives.
        record.container_pid = Some(pid);
        shim.unwritten = Some(record);
        Some(shim)
    }
}

/// Everything in order; what was done is taken back by the time of an error, but for the records.
fn assemble(
    poll: &Poll,
    daemons: &mut Daemons,
    files: &Files,
    create: &Create,
    fds: Vec<OwnedFd>,
) -> Result<Parts, Failure> {
    let told = |e: stdx::Error| failure(&e);
    let mut fds = fds.into_iter();
    let netns = create.netns.then(|| fds.next()).flatten();
    let shared: Vec<OwnedFd> =
        fds.by_ref().take(create.joins.len() + usize::from(create.shm)).collect();
    let joining = (!shared.is_empty()).then(|| join(create, &shared));
    // The record comes before anything that it is the record of, and the way back to us before the container runs: a
    // daemon that is killed at any instant finds both.
    let record = files.begin(&create.cgroup).map_err(told)?;
    daemons.listen(files.dir()).map_err(told)?;
    let point = || -> Result<()> {
        fail_point!("shim.create.after-record");
        Ok(())
    };
    point().map_err(told)?;
    let mut streams = Streams::new(poll.clone());
    streams.set_log(Log::open(create.log.clone()).map_err(told)?);
    let group = container::make_group(create).map_err(told)?;
    let undo = |failure: Failure| {
        if let Err(error) = group.group.kill().and_then(|()| group.group.remove()) {
            files.complain(&error);
        }
        failure
    };
    let point = || -> Result<()> {
        fail_point!("shim.create.after-cgroup");
        Ok(())
    };
    point().map_err(told).map_err(undo)?;
    let netns = netns.as_ref().map(OwnedFd::as_fd);
    let spec = joining.as_ref().unwrap_or(&create.spec);
    let made = container::make(create, spec, &group, netns).map_err(undo)?;
    let pidfd = made.what.pidfd().try_clone().map_err(|e| undo(failure(&e.into())))?;
    let mut session = made.session;
    session.logged = true;
    session.ends_input = create.stdin_once;
    streams.add(CONTAINER, session);
    for (socket, attachment) in fds.zip(&create.attachments) {
        streams.attach(CONTAINER, socket, *attachment).map_err(|e| undo(failure(&e)))?;
    }
    let process = Process { session: Session::Container, pid: made.what.pid(), pidfd, ended: None };
    let shares_pids = container::shares_pids(spec);
    let MadeGroup { group, memory, .. } = group;
    let root = container::root_outside(spec);
    let mut container = Container { group, memory, handle: made.what, shares_pids, root };
    if create.start && create.runtime.is_some() {
        // Our own runtime does both in one round.
        container.start().inspect_err(|_| {
            if let Err(error) = container.remove() {
                files.complain(&error);
            }
        })?;
    }
    Ok(Parts { record, container, streams, process })
}

/// The specification with what is shared with another container: its namespaces, by our descriptors, and its `/dev/shm`.
fn join(create: &Create, shared: &[OwnedFd]) -> Spec {
    let mut spec = create.spec.clone();
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd()).into();
    for (join, fd) in create.joins.iter().zip(shared) {
        let wanted = match join {
            Join::Pid => NamespaceKind::Pid,
            Join::Ipc => NamespaceKind::Ipc,
            Join::User => NamespaceKind::User,
        };
        let namespaces = spec.linux.iter_mut().flat_map(|l| &mut l.namespaces);
        for namespace in namespaces.filter(|n| n.kind == wanted) {
            namespace.path = Some(path(fd));
        }
    }
    if let Some(fd) = shared.get(create.joins.len()) {
        for mount in spec.mounts.iter_mut().filter(|m| m.destination.as_os_str() == "/dev/shm") {
            mount.source = Some(path(fd));
        }
    }
    spec
}
