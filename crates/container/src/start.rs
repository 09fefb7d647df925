//! Starting a container: what is made, in which order, and how it is taken back.
//!
//! ```text
//!   prepare   (blocking)   folder, network namespace chosen, hosts file, specification, shim executed
//!   create    (shim)  ─┐   cgroup, root file system, namespaces, init: everything but exec
//!   join      (daemon) ┴─  veth, addresses, routes: at the same time
//!   start     (shim)       exec, asked for as soon as the links are there
//! ```
//!
//! A failure at any point ends the shim, which takes back what it made, and gives the addresses back. A crash at any
//! point leaves the container's folder in the exec-root, from which [`crate::recover`] finds the rest.

use crate::runtimes::{Program, Runtime};
use crate::services::{Sandbox, Services};
use crate::shim::Shim;
use crate::spec::{self, Surroundings};
use crate::state::Endpoints;
use crate::strict;
use crate::userns::{self, User};
use crate::{files, links};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use stdx::{Context as _, Error, Result, fail_point};
use store::records::container::ContainerRecord;
use task::protocol::{Answer, Attachment, Create, Event, Join, Request, Rootfs, RuntimeProgram};
use tokio::sync::mpsc;
use tracing::Instrument as _;

/// A phase, for those who collect traces.
macro_rules! span {
    ($name:literal $($fields:tt)*) => {
        tracing::trace_span!(target: stdx::TRACES, $name $($fields)*)
    };
}

/// A container that runs.
pub(crate) struct Started {
    pub(crate) shim: Arc<Shim>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) pid: i32,
    /// Nanoseconds since 1970.
    pub(crate) at: i64,
    pub(crate) endpoints: Endpoints,
}

/// Everything that is ready before the shim is told to create.
struct Prepared {
    create: Box<Create>,
    sandbox: Sandbox,
    /// What is shared with another container, in the order of the request's descriptors.
    shared: Vec<OwnedFd>,
    launched: task::launch::Launched,
}

/// Starts `record`, with clients attached from the first byte on.
pub(crate) async fn start(
    services: &Arc<Services>,
    record: &Arc<ContainerRecord>,
    attachments: Vec<(Attachment, OwnedFd)>,
) -> Result<Started> {
    let span = span!("start container", container.id = record.id);
    let result = run(services, record, attachments).instrument(span).await;
    if result.is_err() {
        services.network.leave(&record.id);
        services.world.detach_volumes(record);
        services.logs.ended(&record.id);
    }
    result
}

async fn run(
    services: &Arc<Services>,
    record: &Arc<ContainerRecord>,
    attachments: Vec<(Attachment, OwnedFd)>,
) -> Result<Started> {
    let (streams, sockets): (Vec<_>, Vec<_>) = attachments.into_iter().unzip();
    let prepared = {
        let (services, record) = (Arc::clone(services), Arc::clone(record));
        let span = span!("prepare");
        blocking(move || span.in_scope(|| prepare(&services, &record, streams))).await?
    };
    let (shim, events) = Shim::new(prepared.launched.socket, Some(prepared.launched.child))?;
    let result = create_and_start(services, record, &shim, prepared.create, prepared.sandbox, &{
        prepared.shared.into_iter().chain(sockets).collect::<Vec<_>>()
    })
    .await;
    match result {
        Ok((pid, at, endpoints)) => Ok(Started { shim, events, pid, at, endpoints }),
        Err(error) => {
            shim.abandon().await;
            clean_up_after(services, record).await;
            Err(error)
        }
    }
}

/// What a shim that was killed in the middle of a start could not take back; one that could has removed its record.
async fn clean_up_after(services: &Arc<Services>, record: &Arc<ContainerRecord>) {
    let shim_record = services.paths.exec_of(&record.id).join("shim.json");
    if !shim_record.exists() {
        return;
    }
    let (services, cgroup) = (Arc::clone(services), services.cgroup_of(record));
    let clean = move || {
        crate::recover::clean_up(&services, &cgroup);
        stdx::fs::remove_file(&shim_record)
    };
    if let Err(e) = blocking(clean).await {
        tracing::error!(container = %record.id, "clean up after a start that failed: {e}");
    }
}

async fn create_and_start(
    services: &Arc<Services>,
    record: &Arc<ContainerRecord>,
    shim: &Arc<Shim>,
    mut create: Box<Create>,
    sandbox: Sandbox,
    sockets: &[OwnedFd],
) -> Result<(i32, i64, Endpoints)> {
    let fds: Vec<_> = sandbox.netns.iter().chain(sockets).map(|fd| fd.as_fd()).collect();
    create.start = sandbox.to_join.is_none();
    let asked = shim.call(Request::Create(create), &fds).instrument(span!("create"));
    let (answer, endpoints) = if let Some(netns) = sandbox.to_join {
        // Linked is usually sooner than created: the shim then finds the start waiting when it has created, and nobody
        // waits for the news of it to go to and fro.
        let started = async {
            let (services, record) = (Arc::clone(services), Arc::clone(record));
            let span = span!("join network");
            let link = move || span.in_scope(|| join(&services, &record, netns));
            let endpoints = blocking(link).await?;
            fail_point!("container.start.before-exec");
            let start = shim.call(Request::Start, &[]).instrument(span!("start"));
            Ok::<_, Error>((start.await?, endpoints))
        };
        let (created, started) = tokio::join!(asked, started);
        // What is wrong with the container itself is the more useful of two errors.
        created?;
        started?
    } else {
        (asked.await?, Endpoints::new())
    };
    fail_point!("container.start.after-exec");
    match answer {
        Answer::Started { pid, at } => Ok((pid, at, endpoints)),
        other => Err(Error::internal(format!("the shim answered {other:?} to a start"))),
    }
}

/// Links the namespace and writes the addresses into the container's hosts file, which is mounted already.
fn join(
    services: &Services,
    record: &ContainerRecord,
    netns: network::Sandbox,
) -> Result<Endpoints> {
    let endpoints = services.network.join(record, netns, &services.paths.exec_of(&record.id))?;
    let files = files::paths(&services.paths, &record.id);
    files::use_names(&files, record, &endpoints)?;
    services.world.link(Some((record, &endpoints)))?;
    let links = links::lines(&links::of(services.world.as_ref(), record)?);
    files::write_hosts(&files, record, &endpoints, &services.network.host_gateways(), &links)?;
    Ok(endpoints)
}

fn prepare(
    services: &Services,
    record: &ContainerRecord,
    attachments: Vec<Attachment>,
) -> Result<Prepared> {
    let runtime_dir = services.paths.exec_of(&record.id);
    // What an earlier run left: its exit is in the record.
    for stale in ["exit.json", "shim.json", "shim.sock", "network.json"] {
        stdx::fs::remove_file(&runtime_dir.join(stale))?;
    }
    stdx::fs::create_dir(&runtime_dir, 0o700)?;
    fail_point!("container.start.after-folder");
    let links = links::of(services.world.as_ref(), record)?;
    crate::mounts::prepare(&record.mounts)?;
    services.world.attach_volumes(record)?;
    let mut joined = crate::join::open(services, record)?;
    let has_network = joined.network.is_none() && record.host.network_mode != "host";
    let mut user = match joined.user.take() {
        Some(user) => Some(user),
        None => userns::make(record.user_namespace.as_ref(), has_network)?,
    };
    let (sandbox, peer) = match joined.network {
        Some((netns, peer)) => (Sandbox { netns: Some(netns), to_join: None }, Some(peer)),
        None => (own_network(services, record, user.as_mut())?, None),
    };
    // Who has another's network has its names, too.
    let files = files::paths(&services.paths, peer.as_ref().map_or(&record.id, |p| &p.id));
    let key = snapshot::Key::new(&record.id)?;
    let rootfs = match services.snapshots.mounts(&key)? {
        snapshot::Mounts::Overlay { lower, upper, work } => Rootfs::Overlay { lower, upper, work },
        snapshot::Mounts::Directory(path) => Rootfs::Directory(path),
    };
    let cgroup = cgroup_path(services, record);
    let devices = crate::devices::resolve(&record.host.resources.devices)?;
    let block_io = crate::devices::block_io(&record.host.resources)?;
    let mut spec = spec::oci_spec(
        record,
        &Surroundings {
            files: &files,
            init: &services.init,
            default_init: services.default_init,
            cgroup: &cgroup,
            capabilities: services.capabilities,
            default_pids_limit: services.default_pids_limit,
            host_devices: &services.host_devices,
            devices: &devices,
            block_io: &block_io,
            ids: user.as_ref().map(|user| &user.maps),
            link_env: &links::environment(&links),
            thermal: &services.thermal,
            swap_alone: services.swap_alone,
        },
    )?;
    crate::cdi::inject(&services.cdi, &record.host.resources.device_requests, &mut spec)?;
    if strict::is_strict(&record.host.security_opt) {
        strict::tighten(&mut spec, record)?;
    }
    let capabilities =
        spec.process.as_ref().and_then(|p| p.capabilities.as_ref()).map(|c| c.bounding.as_slice());
    let capabilities = capabilities.unwrap_or_default();
    let (seccomp, runtime) = match services.runtimes.find(&record.host.runtime)? {
        Runtime::BuiltIn => (services.seccomp.program(&record.host, capabilities)?, None),
        Runtime::Other(Program { path, args }) => {
            let profile = services.seccomp.profile(&record.host, capabilities)?;
            if let Some(linux) = &mut spec.linux {
                linux.seccomp = profile;
            }
            (None, Some(RuntimeProgram { path, args }))
        }
    };
    let mapped_rootfs = user.is_some();
    joined.namespaces.extend(user.map(|user| (Join::User, user.namespace)));
    let create = Box::new(Create {
        id: record.id.clone(),
        spec,
        rootfs,
        netns: sandbox.netns.is_some(),
        joins: joined.namespaces.iter().map(|(kind, _)| *kind).collect(),
        shm: joined.shm.is_some(),
        mapped_rootfs,
        cgroup,
        hierarchies: services.hierarchies.clone(),
        seccomp,
        log: services.logs.prepare(record)?,
        stdin: record.config.open_stdin,
        stdin_once: record.config.stdin_once,
        attachments,
        durable_exit: (!record.host.auto_remove)
            .then(|| services.paths.data_of(&record.id).join("exit.json")),
        runtime_dir,
        start: false,
        runtime,
    });
    let launched = task::launch::launch(&services.shim, &record.id, None)?;
    fail_point!("container.start.after-launch");
    let shared = joined.namespaces.into_iter().map(|(_, fd)| fd).chain(joined.shm).collect();
    Ok(Prepared { create, sandbox, shared, launched })
}

/// The namespace of a container that shares nobody's network.
fn own_network(
    services: &Services,
    record: &ContainerRecord,
    user: Option<&mut User>,
) -> Result<Sandbox> {
    let Some(user) = user else { return services.network.prepare(record, None) };
    match user.network.take() {
        Some(own) => services.network.prepare(record, Some(own)),
        // Of the other container's user namespace; the runtime would make one, too, but nobody could link it.
        None => {
            let own = sys::userns::network_within(user.namespace.as_fd());
            let own = own.context(|| "make a network namespace for a shared user namespace")?;
            services.network.prepare(record, Some(own))
        }
    }
}

/// Where the container's cgroup is below each hierarchy's root.
pub fn cgroup_path(services: &Services, record: &ContainerRecord) -> String {
    let parent = record.host.resources.cgroup_parent.trim_matches('/');
    let parent = if parent.is_empty() { services.cgroup.as_str() } else { parent };
    format!("{parent}/{}", record.id)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err::<T, _>(Error::internal(e.to_string())).context(|| "worker"),
    }
}
