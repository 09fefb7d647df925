//! Who answers what: one function for each served row of the route table.

mod containers;
mod debug;
mod exec;
mod files;
mod images;
mod lists;
mod networks;
mod places;
mod stats;
mod streams;
mod system;
mod usage;
mod volumes;

use crate::Options;
use crate::convert::limits::Capacity;
use crate::edge::conn::Outcome;
use crate::router::Call;
use api::Handler;
use bytes::Bytes;
use engine::Engine;
use stdx::{Error, Result};

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) capacity: Capacity,
    /// The answer to `GET /version`, which never changes.
    pub(crate) version: Bytes,
    pub(crate) options: Options,
}

impl Daemon {
    pub(crate) fn new(engine: Engine, options: Options) -> Self {
        let version = crate::convert::info::version(&engine.info().kernel, &options);
        let mut version = serde_json::to_vec(&version).unwrap_or_default();
        version.push(b'\n');
        let capacity = Capacity::look(engine.features());
        Self { engine, capacity, version: version.into(), options }
    }
}

/// Answers a call.
pub(crate) async fn answer(daemon: &Daemon, handler: Handler, call: Call) -> Result<Outcome> {
    match handler {
        Handler::SystemPing | Handler::SystemPingHead => Ok(system::ping()),
        Handler::SystemVersion => Ok(system::version(daemon)),
        Handler::DebugVars => debug::vars(daemon),
        Handler::DebugPprof => debug::pprof(&call.name),
        Handler::SystemInfo => system::info(daemon, &call),
        Handler::SystemEvents => system::events(daemon, &call),
        Handler::SystemAuth => system::auth(daemon, call).await,
        Handler::SystemDataUsage => usage::data_usage(daemon, &call).await,

        Handler::ContainerList => lists::containers(daemon, &call),
        Handler::ContainerPrune => lists::prune_containers(daemon, &call).await,
        Handler::ContainerCreate => containers::create(daemon, call).await,
        Handler::ContainerInspect => containers::inspect(daemon, &call),
        Handler::ContainerTop => containers::top(daemon, &call).await,
        Handler::ContainerResize => containers::resize(daemon, &call).await,
        Handler::ContainerStart => containers::start(daemon, call).await,
        Handler::ContainerStop => containers::stop(daemon, &call).await,
        Handler::ContainerRestart => containers::restart(daemon, &call).await,
        Handler::ContainerKill => containers::kill(daemon, &call).await,
        Handler::ContainerRename => containers::rename(daemon, &call).await,
        Handler::ContainerPause => containers::pause(daemon, &call).await,
        Handler::ContainerUnpause => containers::unpause(daemon, &call).await,
        Handler::ContainerStats => stats::stats(daemon, &call).await,
        Handler::ContainerUpdate => containers::update(daemon, call).await,
        Handler::ContainerRemove => containers::remove(daemon, &call).await,
        Handler::ContainerAttach => streams::attach(daemon, call).await,
        Handler::ContainerAttachWebsocket => streams::attach_websocket(daemon, call).await,
        Handler::ContainerLogs => streams::logs(daemon, &call).await,
        Handler::ContainerWait => streams::wait(daemon, &call),

        Handler::ContainerChanges => files::changes(daemon, &call).await,
        Handler::ContainerExport => files::export(daemon, &call).await,
        Handler::ContainerArchiveHead => files::stat(daemon, &call).await,
        Handler::ContainerArchiveGet => files::read(daemon, &call).await,
        Handler::ContainerArchivePut => files::write(daemon, call).await,
        Handler::ContainerCommit => files::commit(daemon, call).await,

        Handler::ExecCreate => exec::create(daemon, call).await,
        Handler::ExecStart => exec::start(daemon, call).await,
        Handler::ExecResize => exec::resize(daemon, &call).await,
        Handler::ExecInspect => exec::inspect(daemon, &call),

        Handler::ImageList => lists::images(daemon, &call),
        Handler::ImageInspect => images::inspect(daemon, &call),
        Handler::ImageHistory => images::history(daemon, &call),
        Handler::ImageTag => images::tag(daemon, &call),
        Handler::ImageRemove => images::remove(daemon, &call).await,
        Handler::ImagePrune => lists::prune_images(daemon, &call).await,
        Handler::ImageCreate => images::create(daemon, call).await,
        Handler::ImageLoad => images::load(daemon, call).await,

        Handler::VolumeList => volumes::list(daemon, &call),
        Handler::VolumeCreate => volumes::create(daemon, call).await,
        Handler::VolumePrune => volumes::prune(daemon, &call).await,
        Handler::VolumeRemove => volumes::remove(daemon, &call).await,
        Handler::VolumeInspect => volumes::inspect(daemon, &call),
        Handler::NetworkList => networks::list(daemon, &call),
        Handler::NetworkExplain => networks::explain(daemon, &call),
        Handler::NetworkInspect => networks::inspect(daemon, &call),
        Handler::NetworkCreate => networks::create(daemon, call).await,
        Handler::NetworkRemove => networks::remove(daemon, &call).await,
        Handler::NetworkConnect => networks::connect(daemon, call).await,
        Handler::NetworkDisconnect => networks::disconnect(daemon, call).await,
        Handler::NetworkPrune => networks::prune(daemon, &call).await,
        Handler::BuildPrune => places::prune_builds(&call),

        // The table says `Served` only for rows above; a test holds it to that.
        other => Err(Error::not_implemented(format!(
            "{other:?} is not implemented yet (see docs/compat.tsv)"
        ))),
    }
}
