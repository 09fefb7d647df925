//! Images.

use api::{
    ApiVersion, ContainerConfig, HealthConfig, HistoryItem, ImageDelete, ImageInspect,
    ImageSummary, JsonMessage,
};
use image::{Event, HistoryEntry, LayerStep, Removed, Summary};
use std::collections::BTreeMap;
use std::fmt::Write as _;

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// An item of `GET /images/json`; `shared` when it was asked for.
pub(crate) fn summary(summary: &Summary, shared: Option<u64>, version: ApiVersion) -> ImageSummary {
    let image = &summary.image;
    // Before 1.43 an image without names had made-up ones, without digests `null`.
    let names = |names: &[String], none: &str| {
        if version < ApiVersion::v1(43) && names.is_empty() {
            return (!none.is_empty()).then(|| vec![none.to_owned()]);
        }
        Some(names.to_vec())
    };
    ImageSummary {
        containers: -1,
        created: if image.created().is_zero() { 0 } else { image.created().unix_seconds() },
        id: image.id.to_string(),
        labels: Some(image.config.config.labels.clone()).filter(|labels| !labels.is_empty()),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_digests: names(
            &summary.digests,
            if summary.tags.is_empty() { "<none>@<none>" } else { "" },
        ),
        repo_tags: names(&summary.tags, "<none>:<none>"),
        shared_size: shared.map_or(-1, signed),
        size: signed(image.size()),
        virtual_size: (version < ApiVersion::v1(44)).then(|| signed(image.size())),
    }
}

/// Answer to `GET /images/{name}/json`.
pub(crate) fn inspect(summary: &Summary, version: ApiVersion) -> ImageInspect {
    let image = &summary.image;
    let config = &image.config;
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: summary.tags.clone(),
        repo_digests: summary.digests.clone(),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        comment: match config.history.last() {
            Some(last) if config.comment.is_empty() => last.comment.clone(),
            _ => config.comment.clone(),
        },
        created: config.created.as_ref().map(|_| image.created().to_string()).unwrap_or_default(),
        container: String::new(),
        container_config: (version < ApiVersion::v1(45)).then(ContainerConfig::default),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        config: Some(run_config(&config.config)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        size: signed(image.size()),
        virtual_size: (version < ApiVersion::v1(44)).then(|| signed(image.size())),
        graph_driver: api::GraphDriver { data: None, name: "overlay2".to_owned() },
        root_fs: api::image::RootFs {
            kind: "layers".to_owned(),
            layers: image.layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
        },
        metadata: api::image::ImageMetadata { last_tag_time: image.tagged.to_string() },
    }
}

fn run_config(config: &oci::image::RunConfig) -> ContainerConfig {
    ContainerConfig {
        user: config.user.clone(),
        exposed_ports: Some(
            config.exposed_ports.keys().map(|port| (port.clone(), api::Empty {})).collect(),
        ),
        env: Some(config.env.clone()).filter(|env| !env.is_empty()),
        cmd: config.cmd.clone(),
        healthcheck: config.healthcheck.as_ref().map(|check| HealthConfig {
            test: Some(check.test.clone()),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        args_escaped: config.args_escaped,
        volumes: Some(config.volumes.keys().map(|path| (path.clone(), api::Empty {})).collect())
            .filter(|volumes: &BTreeMap<_, _>| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone(),
        on_build: Some(config.on_build.clone()).filter(|steps| !steps.is_empty()),
        labels: Some(config.labels.clone()).filter(|labels| !labels.is_empty()),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone(),
        ..ContainerConfig::default()
    }
}

/// A line of `GET /images/{name}/history`.
pub(crate) fn history(entry: HistoryEntry) -> HistoryItem {
    HistoryItem {
        comment: entry.comment,
        created: if entry.created.is_zero() { 0 } else { entry.created.unix_seconds() },
        created_by: entry.created_by,
        id: entry.id,
        size: signed(entry.size),
        tags: Some(entry.tags).filter(|tags| !tags.is_empty()),
    }
}

/// Items of the answer to `DELETE /images/{name}`.
pub(crate) fn removed(removed: Removed) -> ImageDelete {
    let deleted = |id: String| ImageDelete { deleted: id, ..ImageDelete::default() };
    match removed {
        Removed::Untagged { reference, .. } => {
            ImageDelete { untagged: reference, ..ImageDelete::default() }
        }
        Removed::Image(id) => deleted(id.to_string()),
        Removed::Layer(chain) => deleted(chain.to_string()),
    }
}

/// Bytes of an image's layers that other images have, too.
pub(crate) fn shared(all: &[Summary]) -> Vec<u64> {
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in all.iter().flat_map(|summary| &summary.image.layers) {
        *users.entry(layer.chain_id.as_str()).or_default() += 1;
    }
    let shared = |layer: &&store::records::image::LayerRecord| {
        users.get(layer.chain_id.as_str()).is_some_and(|n| *n > 1)
    };
    all.iter()
        .map(|summary| summary.image.layers.iter().filter(shared).map(|layer| layer.size).sum())
        .collect()
}

/// A line of the progress stream of `pull` and `load`.
pub(crate) fn progress(event: &Event) -> JsonMessage {
    let text = event.to_string();
    match event {
        Event::PullingFrom { tag, .. } => {
            JsonMessage { status: text, id: tag.clone(), ..JsonMessage::default() }
        }
        Event::Layer { id, step } => JsonMessage {
            status: text,
            progress_detail: Some(step.detail().map_or_else(
                api::Progress::default,
                |(current, total)| api::Progress { current: signed(current), total: signed(total) },
            )),
            progress: step.detail().map(|(current, total)| bar(current, total)).unwrap_or_default(),
            id: id.clone(),
            ..JsonMessage::default()
        },
        Event::Digest(_) | Event::Status { .. } => {
            JsonMessage { status: text, ..JsonMessage::default() }
        }
        // `load` writes plain lines, `pull` status lines.
        Event::LoadedName(_) | Event::LoadedId(_) | Event::Renamed { .. } | Event::Warning(_) => {
            JsonMessage { stream: text + "\n", ..JsonMessage::default() }
        }
    }
}

/// Whether the event only tells how far something is, so that losing it loses nothing.
pub(crate) fn is_tick(event: &Event) -> bool {
    let Event::Layer { step, .. } = event else { return false };
    match step {
        LayerStep::Downloading { current, total }
        | LayerStep::Extracting { current, total }
        | LayerStep::Loading { current, total } => current < total,
        _ => false,
    }
}

/// `[==>       ]  1.2MB/3.4MB`: for clients that do not draw it themselves.
fn bar(current: u64, total: u64) -> String {
    let size = |bytes| types::ByteSize(bytes).decimal(4);
    if total == 0 || current > total {
        return size(current);
    }
    let percentage = u128::from(current) * 100 / u128::from(total) / 2;
    let filled = usize::try_from(percentage).unwrap_or(50).min(50);
    let mut text = format!("[{}>{}]", "=".repeat(filled), " ".repeat(50 - filled));
    let _infallible = write!(text, "  {}/{}", size(current), size(total));
    text
}
