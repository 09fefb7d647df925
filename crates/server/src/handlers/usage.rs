//! `GET /system/df`: what takes how much space.

use super::Daemon;
use crate::convert;
use crate::edge::conn::Outcome;
use crate::reply;
use crate::router::Call;
use api::{ApiVersion, ContainerSummary, DiskUsage, ImageSummary, Volume, VolumeUsage};
use std::collections::{BTreeMap, HashMap};
use stdx::time::Timestamp;
use stdx::{Error, Result};

const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

pub(crate) async fn data_usage(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let asked: Vec<&str> = match call.version {
        // Before 1.42 there was no choice.
        version if version < ApiVersion::v1(42) => Vec::new(),
        _ => call.query.texts("type").collect(),
    };
    if let Some(unknown) = asked.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Error::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| asked.is_empty() || asked.contains(&kind);
    let (images, containers, volumes, cache) =
        (wanted("image"), wanted("container"), wanted("volume"), wanted("build-cache"));
    let (engine, version) = (daemon.engine.clone(), call.version);
    // Sizes are found out by walking directories.
    let usage = tokio::task::spawn_blocking(move || -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        if images {
            (usage.layers_size, usage.images) = images_of(&engine, version);
        }
        usage.containers = containers.then(|| containers_of(&engine, version));
        usage.volumes = if volumes { Some(volumes_of(&engine)?) } else { None };
        usage.build_cache = cache.then(Vec::new);
        Ok(usage)
    })
    .await
    .map_err(|e| Error::internal(e.to_string()))??;
    reply::ok(&usage)
}

fn images_of(engine: &engine::Engine, version: ApiVersion) -> (i64, Option<Vec<ImageSummary>>) {
    let all = engine.images().list();
    let shared = convert::image::shared(&all);
    let layers: BTreeMap<&str, u64> = all
        .iter()
        .flat_map(|summary| &summary.image.layers)
        .map(|layer| (layer.chain_id.as_str(), layer.size))
        .collect();
    let size = layers.values().sum::<u64>();
    let items = all.iter().zip(shared).map(|(summary, shared)| {
        let users = engine.containers_of_image(summary.image.id.as_str());
        let item = convert::image::summary(summary, Some(shared), version);
        ImageSummary { containers: i64::try_from(users).unwrap_or(i64::MAX), ..item }
    });
    (i64::try_from(size).unwrap_or(i64::MAX), Some(items.collect()))
}

fn containers_of(engine: &engine::Engine, version: ApiVersion) -> Vec<ContainerSummary> {
    let now = Timestamp::now();
    let views = engine.list_containers().map(|mut view| {
        view.size = engine.container_size(&view.record.id);
        convert::container::summary(view, now, version)
    });
    views.collect()
}

fn volumes_of(engine: &engine::Engine) -> Result<Vec<Volume>> {
    let mut users: HashMap<String, i64> = HashMap::new();
    for view in engine.list_containers() {
        for name in view.record.mounts.iter().filter_map(|mount| mount.name.clone()) {
            *users.entry(name).or_default() += 1;
        }
    }
    let volumes = engine.list_volumes()?.into_iter().map(|view| {
        let size = engine.volume_usage(&view.record.name);
        let size = size.ok().and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1);
        let ref_count = users.get(&view.record.name).copied().unwrap_or(0);
        let usage_data = Some(VolumeUsage { ref_count, size });
        Volume { usage_data, ..convert::place::volume(view) }
    });
    Ok(volumes.collect())
}
