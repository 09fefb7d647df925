//! Containers as inspect and list print them.

use super::{create, host, times};
use api::{
    ApiVersion, ContainerInspect, ContainerState, ContainerSummary, EndpointSettings, GraphDriver,
    NetworkSettings,
};
use engine::health::Health;
use engine::{ContainerView, EndpointView, NetworkView, SnapshotView, StateView, Status};
use std::collections::BTreeMap;
use stdx::time::Timestamp;
use store::records::container::{ContainerRecord, MountKind, MountPoint};

/// Answer to `GET /containers/{id}/json`.
pub(crate) fn inspect(view: ContainerView, version: ApiVersion) -> ContainerInspect {
    let ContainerView { record, state, network, paths, exec_ids, image_name: _, snapshot, size } =
        view;
    // Docker prepares a container's files when it first starts, and tells their paths from then on.
    let started = !state.started.is_zero() || !state.error.is_empty();
    let path = |path: String| if started { path } else { String::new() };
    let live = is_live(state.status);
    let mut config = create::to_wire(&record.config);
    if config.hostname.is_empty() {
        config.hostname = record.id.chars().take(12).collect();
    }
    let mut host_config = host::to_wire(&record.host);
    host_config.network_mode.clone_from(&network.mode);
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
        network_settings: network_settings(network, &record.config.exposed_ports, live),
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

fn endpoint(view: EndpointView) -> EndpointSettings {
    EndpointSettings {
        mac_address: view.mac,
        network_id: view.network_id,
        endpoint_id: view.endpoint_id,
        gateway: view.gateway,
        ip_address: view.ip,
        ip_prefix_len: i64::from(view.prefix_len),
        ..EndpointSettings::default()
    }
}

fn endpoints(network: BTreeMap<String, EndpointView>) -> BTreeMap<String, EndpointSettings> {
    network.into_iter().map(|(name, view)| (name, endpoint(view))).collect()
}

/// The addresses at the top are the default bridge's; all served versions have them (1.52 drops them).
fn network_settings(network: NetworkView, exposed: &[String], live: bool) -> NetworkSettings {
    let has_ports = live && !matches!(network.mode.as_str(), "host" | "none");
    let ports = if has_ports {
        exposed.iter().map(|port| (port.clone(), None)).collect()
    } else {
        BTreeMap::new()
    };
    let networks = endpoints(network.endpoints);
    let bridge = networks.get("bridge").cloned().unwrap_or_default();
    NetworkSettings {
        sandbox_id: network.sandbox_id,
        sandbox_key: network.sandbox_key,
        ports,
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        mac_address: bridge.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// An item of `GET /containers/json`. Takes the view apart: lists are long, and most of it can be moved.
pub(crate) fn summary(
    view: ContainerView,
    now: Timestamp,
    version: ApiVersion,
) -> ContainerSummary {
    let ContainerView { record, state, network, paths, image_name, size, .. } = view;
    let has_ports = is_live(state.status) && !matches!(network.mode.as_str(), "host" | "none");
    let ports = if has_ports { record.config.exposed_ports.as_slice() } else { &[] };
    ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: image_name,
        image_id: record.image_id.clone(),
        command: command(paths.path, &paths.args),
        created: record.created.unix_seconds(),
        ports: ports.iter().filter_map(|port| exposed_port(port)).collect(),
        size_rw: size.map_or(0, |size| size.rw),
        size_root_fs: size.map_or(0, |size| size.root),
        labels: record.config.labels.clone(),
        status: times::status(&state, now),
        state: state.status.to_string(),
        host_config: api::SummaryHostConfig {
            network_mode: network.mode,
            annotations: (version >= ApiVersion::v1(46)).then(|| record.host.annotations.clone()),
        },
        network_settings: api::SummaryNetworkSettings { networks: endpoints(network.endpoints) },
        mounts: mount_points(&record),
    }
}

/// `80/tcp`
fn exposed_port(text: &str) -> Option<api::Port> {
    let (number, kind) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(api::Port {
        private_port: number.parse().ok()?,
        kind: kind.to_owned(),
        ..api::Port::default()
    })
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

    #[test]
    fn exposed_ports() {
        let port = exposed_port("80/udp").unwrap();
        assert_eq!((port.private_port, port.kind.as_str()), (80, "udp"));
        assert!(exposed_port("x/tcp").is_none() && exposed_port("80-90/tcp").is_none());
    }
}
