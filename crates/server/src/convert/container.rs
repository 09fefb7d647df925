//! Containers as inspect and list print them.

use super::{create, host, network, times};
use api::{ApiVersion, ContainerInspect, ContainerState, ContainerSummary, GraphDriver};
use engine::health::Health;
use engine::{ContainerView, SnapshotView, StateView, Status};
use stdx::time::Timestamp;
use store::records::container::{ContainerRecord, MountKind, MountPoint};

/// Answer to `GET /containers/{id}/json`.
pub(crate) fn inspect(view: ContainerView, version: ApiVersion) -> ContainerInspect {
    let ContainerView {
        record,
        names: _,
        links,
        state,
        network: on,
        paths,
        exec_ids,
        image_name: _,
        snapshot,
        size,
    } = view;
    // Docker prepares a container's files when it first starts, and tells their paths from then on.
    let started = !state.started.is_zero() || !state.error.is_empty();
    let path = |path: String| if started { path } else { String::new() };
    let live = is_live(state.status);
    let mut config = create::to_wire(&record.config);
    if config.hostname.is_empty() {
        config.hostname = record.id.chars().take(12).collect();
    }
    let mut host_config = host::to_wire(&record.host);
    host_config.network_mode.clone_from(&on.mode);
    host_config.links = Some(links).filter(|links| !links.is_empty());
    if version < ApiVersion::v1(43) {
        host_config.annotations = None;
    }
    ContainerInspect {
        created: record.created.to_string(),
        path: paths.path,
        args: paths.args,
        state: inspect_state(state),
        image: record.image_id.clone(),
        resolv_conf_path: path(paths.resolv_conf),
        hostname_path: path(paths.hostname),
        hosts_path: path(paths.hosts),
        log_path: path(paths.log),
        name: format!("/{}", record.name),
        restart_count: i64::from(record.restart_count),
        driver: snapshot.driver.clone(),
        platform: "linux".to_owned(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: Some(exec_ids).filter(|ids| !ids.is_empty()),
        host_config,
        graph_driver: graph_driver(snapshot),
        size_rw: size.map(|s| s.rw),
        size_root_fs: size.map(|s| s.root),
        mounts: mount_points(&record),
        network_settings: network::settings(on, &record.config.exposed_ports, live, version),
        config,
        id: record.id.clone(),
    }
}

fn is_live(status: Status) -> bool {
    matches!(status, Status::Running | Status::Paused | Status::Restarting)
}

fn inspect_state(state: StateView) -> ContainerState {
    ContainerState {
        status: state.status.to_string(),
        running: is_live(state.status),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom,
        dead: state.status == Status::Dead,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.code),
        error: state.error,
        started_at: state.started.to_string(),
        finished_at: state.finished.to_string(),
        health: state.health.as_deref().map(health),
    }
}

fn health(health: &Health) -> api::Health {
    let time = |nanos| Timestamp::from_unix_nanos(nanos).to_string();
    api::Health {
        status: health.status.word().to_owned(),
        failing_streak: health.streak.into(),
        log: health
            .log
            .iter()
            .map(|probe| api::HealthResult {
                start: time(probe.start),
                end: time(probe.end),
                exit_code: probe.code.into(),
                output: probe.output.clone(),
            })
            .collect(),
    }
}

fn graph_driver(snapshot: SnapshotView) -> GraphDriver {
    let SnapshotView { driver, lower, upper, work, merged } = snapshot;
    let data = [
        ("LowerDir", lower.join(":")),
        ("MergedDir", merged),
        ("UpperDir", upper),
        ("WorkDir", work),
    ];
    GraphDriver {
        data: Some(data.map(|(name, value)| (name.to_owned(), value)).into()),
        name: driver,
    }
}

/// As Docker does, without what `--tmpfs` made: that is in the host configuration alone.
fn mount_points(record: &ContainerRecord) -> Vec<api::MountPoint> {
    let asked = |point: &MountPoint| {
        point.kind != MountKind::Tmpfs || !record.host.tmpfs.contains_key(&point.destination)
    };
    record.mounts.iter().filter(|p| asked(p)).map(mount_point).collect()
}

fn mount_point(point: &MountPoint) -> api::MountPoint {
    let kind = match point.kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
    };
    api::MountPoint {
        kind: kind.to_owned(),
        name: point.name.clone().unwrap_or_default(),
        source: point.source.display().to_string(),
        destination: point.destination.clone(),
        driver: point.driver.clone().unwrap_or_default(),
        mode: point.mode.clone(),
        rw: point.rw,
        propagation: point.propagation.clone(),
    }
}

/// An item of `GET /containers/json`. Takes the view apart: lists are long, and most of it can be moved.
pub(crate) fn summary(
    view: ContainerView,
    now: Timestamp,
    version: ApiVersion,
) -> ContainerSummary {
    let ContainerView { record, names, state, network: on, paths, image_name, size, .. } = view;
    let ports = network::port_list(&on, &record.config.exposed_ports, is_live(state.status));
    ContainerSummary {
        id: record.id.clone(),
        names,
        image: image_name,
        image_id: record.image_id.clone(),
        command: command(paths.path, &paths.args),
        created: record.created.unix_seconds(),
        ports,
        size_rw: size.map_or(0, |size| size.rw),
        size_root_fs: size.map_or(0, |size| size.root),
        labels: record.config.labels.clone(),
        status: times::status(&state, now),
        state: state.status.to_string(),
        host_config: api::SummaryHostConfig {
            network_mode: on.mode,
            annotations: (version >= ApiVersion::v1(46)).then(|| record.host.annotations.clone()),
        },
        network_settings: api::SummaryNetworkSettings {
            networks: network::endpoints(on.endpoints, version),
        },
        mounts: mount_points(&record),
    }
}

/// The command line as lists show it: arguments with spaces are quoted, quotes are not escaped.
fn command(path: String, args: &[String]) -> String {
    let mut line = path;
    for arg in args {
        line.push(' ');
        if arg.contains(' ') {
            line.extend(["'", arg, "'"]);
        } else {
            line.push_str(arg);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_docker_shows_them() {
        let args = |list: &[&str]| list.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        assert_eq!(command("sh".to_owned(), &[]), "sh");
        assert_eq!(command("sh".to_owned(), &args(&["-c", "echo 1", ""])), "sh -c 'echo 1' ");
    }
}
