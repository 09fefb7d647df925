//! `HostConfig`: checked, turned into the engine's, and back.

use super::limits::{self, Capacity};
use api::{ApiVersion, ContainerConfig, HostConfig, Mount};
use std::net::IpAddr;
use stdx::{Error, Result};
use store::records::container::{self as domain, MountRequest};

/// Forgets or sets what a client of an old version cannot have meant, as `dockerd` does.
pub(crate) fn age(host: &mut HostConfig, version: ApiVersion) {
    if version < ApiVersion::v1(40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".to_owned();
    }
    if version < ApiVersion::v1(43) {
        host.annotations = None;
    }
    if version < ApiVersion::v1(44) && host.restart_policy.name != "on-failure" {
        host.restart_policy.maximum_retry_count = 0;
    }
    for mount in host.mounts.iter_mut().flatten() {
        let Some(options) = mount.bind_options.as_mut() else {
            if version < ApiVersion::v1(44) && mount.kind == "bind" {
                mount.bind_options = Some(api::BindOptions {
                    read_only_non_recursive: true,
                    ..api::BindOptions::default()
                });
            }
            continue;
        };
        if version < ApiVersion::v1(40) {
            options.non_recursive = false;
        }
        if version < ApiVersion::v1(42) {
            options.create_mountpoint = false;
        }
        if version < ApiVersion::v1(44) {
            options.read_only_non_recursive = true;
            options.read_only_force_recursive = false;
        }
    }
}

/// Refuses what cannot work (400, with `dockerd`'s words) and what is not there yet (501).
pub(crate) fn check(
    config: &ContainerConfig,
    host: &HostConfig,
    version: ApiVersion,
    capacity: &Capacity,
) -> Result<()> {
    modes(config, host)?;
    restart(host)?;
    if host.annotations.iter().flatten().any(|(name, _)| name.is_empty()) {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    limits::check(host, capacity)?;
    names(host)?;
    for option in host.security_opt.iter().flatten() {
        security_option(option)?;
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        device_rule(rule)?;
    }
    for device in host.devices.iter().flatten() {
        if device.cgroup_permissions.chars().any(|c| !"rwm".contains(c)) {
            return Err(Error::invalid(format!(
                "invalid device mode: {}",
                device.cgroup_permissions
            )));
        }
    }
    for mount in host.mounts.iter().flatten() {
        mount_options(mount, version)?;
    }
    for source in host.volumes_from.iter().flatten() {
        if source.is_empty() {
            return Err(Error::invalid("volumes-from specification cannot be an empty string"));
        }
    }
    missing(host)
}

fn modes(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let fail = |text: String| Err(Error::invalid(text));
    let of_container =
        |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let network = host.network_mode.as_str();
    if network == "container:" {
        return fail(
            "Invalid network mode: invalid container format container:<name|id>".to_owned(),
        );
    }
    if of_container(network) {
        let asked = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let conflicts = [
            (!config.hostname.is_empty(), "hostname and the network mode"),
            (
                asked(&host.links),
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            (asked(&host.dns), "dns and the network mode"),
            (asked(&host.extra_hosts), "custom host-to-IP mapping and the network mode"),
            (published(host), "port publishing and the container type network mode"),
            (
                config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty()),
                "port exposing and the container type network mode",
            ),
        ];
        if let Some((_, what)) = conflicts.iter().find(|(conflict, _)| *conflict) {
            return fail(format!("conflicting options: {what}"));
        }
    }
    if network == "host" && host.links.as_ref().is_some_and(|links| !links.is_empty()) {
        return fail(
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
                .to_owned(),
        );
    }
    if !config.hostname.is_empty() && host.uts_mode == "host" {
        return fail("conflicting options: hostname and the UTS mode".to_owned());
    }
    if !(matches!(host.pid_mode.as_str(), "" | "host") || of_container(&host.pid_mode)) {
        return fail(format!("invalid PID mode: {}", host.pid_mode));
    }
    if !(matches!(host.ipc_mode.as_str(), "" | "none" | "private" | "shareable" | "host")
        || of_container(&host.ipc_mode))
    {
        return fail(format!("invalid IPC mode: {}", host.ipc_mode));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return fail(format!("invalid UTS mode: {}", host.uts_mode));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return fail(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode));
    }
    if !matches!(host.isolation.to_ascii_lowercase().as_str(), "" | "default") {
        return fail(format!(
            "Invalid isolation: {:?} - linux only supports 'default'",
            host.isolation
        ));
    }
    Ok(())
}

/// Refuses policies that there are not.
pub(super) fn restart(host: &HostConfig) -> Result<()> {
    let api::RestartPolicy { name, maximum_retry_count: count } = &host.restart_policy;
    let fail = |text: &str| Err(Error::invalid(format!("invalid restart policy: {text}")));
    match name.as_str() {
        "" | "no" | "always" | "unless-stopped" if *count != 0 => {
            if *count < 0 {
                return fail(
                    "maximum retry count can only be used with 'on-failure' and cannot be negative",
                );
            }
            return fail("maximum retry count can only be used with 'on-failure'");
        }
        "on-failure" if *count < 0 => return fail("maximum retry count cannot be negative"),
        "" | "no" | "always" | "unless-stopped" | "on-failure" => {}
        other => {
            return fail(&format!(
                "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    }
    if host.auto_remove && !matches!(name.as_str(), "" | "no") {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(())
}

/// Everything that becomes a line of a file: a newline in it would be a line of its own.
fn names(host: &HostConfig) -> Result<()> {
    for entry in host.extra_hosts.iter().flatten() {
        let bad = || Error::invalid(format!("bad format for add-host: {entry:?}"));
        let (name, address) = entry.split_once([':', '=']).ok_or_else(bad)?;
        if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad());
        }
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        if address != "host-gateway" && bare.parse::<IpAddr>().is_err() {
            return Err(Error::invalid(format!("invalid IP address in add-host: {address:?}")));
        }
    }
    for server in host.dns.iter().flatten() {
        if server.parse::<IpAddr>().is_err() {
            return Err(Error::invalid(format!("{server:?} is not an ip address")));
        }
    }
    for text in host.dns_search.iter().chain(&host.dns_options).flatten() {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid(format!(
                "{text:?} is not a valid domain or resolver option"
            )));
        }
    }
    Ok(())
}

fn security_option(option: &str) -> Result<()> {
    if matches!(option, "no-new-privileges" | "disable" | "writable-cgroups") {
        return Ok(());
    }
    let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
        return Err(Error::invalid(format!("invalid --security-opt 1: {option:?}")));
    };
    match (name, value) {
        ("label" | "apparmor" | "seccomp" | "systempaths" | "profile", _) => Ok(()),
        ("writable-cgroups", "true" | "false") => Ok(()),
        ("no-new-privileges", "true" | "false") => Ok(()),
        _ => Err(Error::invalid(format!(
            "invalid --security-opt 2: {:?}",
            option.chars().take(80).collect::<String>()
        ))),
    }
}

/// `c 13:* rwm`
fn device_rule(rule: &str) -> Result<()> {
    let valid = || {
        let mut parts = rule.split(' ');
        let (kind, numbers, access) = (parts.next()?, parts.next()?, parts.next()?);
        let (major, minor) = numbers.split_once(':')?;
        let number = |n: &str| {
            n == "*" || !n.is_empty() && n.len() <= 10 && n.bytes().all(|b| b.is_ascii_digit())
        };
        let good = matches!(kind, "a" | "b" | "c")
            && number(major)
            && number(minor)
            && (1..=3).contains(&access.len())
            && access.chars().all(|c| "rwm".contains(c));
        (good && parts.next().is_none()).then_some(())
    };
    valid().ok_or_else(|| Error::invalid(format!("invalid device cgroup rule format: '{rule}'")))
}

/// Options must be those of the mount's own type; the engine's request has one place for all of them.
fn mount_options(mount: &Mount, version: ApiVersion) -> Result<()> {
    let kind = mount.kind.as_str();
    let given = [
        ("BindOptions", mount.bind_options.is_some(), "bind"),
        ("VolumeOptions", mount.volume_options.is_some(), "volume"),
        ("TmpfsOptions", mount.tmpfs_options.is_some(), "tmpfs"),
    ];
    if matches!(kind, "bind" | "volume" | "tmpfs") {
        for (name, given, of) in given {
            if given && of != kind {
                return Err(Error::invalid(format!(
                    "{name} must not be specified on mount type {kind:?}"
                )));
            }
        }
    }
    if version < ApiVersion::v1(45)
        && mount.volume_options.as_ref().is_some_and(|o| !o.subpath.is_empty())
    {
        return Err(Error::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
    }
    if mount
        .tmpfs_options
        .as_ref()
        .is_some_and(|o| o.options.as_ref().is_some_and(|o| !o.is_empty()))
    {
        return Err(Error::not_implemented(
            "tmpfs mount options are not implemented yet (see docs/compat.tsv)",
        ));
    }
    Ok(())
}

fn published(host: &HostConfig) -> bool {
    host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) || host.publish_all_ports
}

/// What the engine's host configuration has no place for.
fn missing(host: &HostConfig) -> Result<()> {
    if host.cgroup.is_empty() {
        return Ok(());
    }
    Err(Error::not_implemented(
        "sharing a cgroup (Cgroup): not implemented yet (see docs/compat.tsv)",
    ))
}

/// What works otherwise than its user may think.
pub(crate) fn warnings(_: &ContainerConfig, host: &HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if published(host) && host.network_mode == "host" {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    warnings
}

/// The engine's form; only what [`check`] let through.
pub(crate) fn to_engine(wire: HostConfig) -> Result<domain::HostConfig> {
    let size =
        |n: u64| u16::try_from(n).map_err(|_| Error::invalid(format!("invalid console size: {n}")));
    let [rows, columns] = wire.console_size.0;
    let device = |d: api::Device| domain::Device {
        container: if d.path_in_container.is_empty() {
            d.path_on_host.clone()
        } else {
            d.path_in_container
        },
        permissions: if d.cgroup_permissions.is_empty() {
            "rwm".to_owned()
        } else {
            d.cgroup_permissions
        },
        host: d.path_on_host,
    };
    let request = |r: api::DeviceRequest| domain::DeviceRequest {
        driver: r.driver,
        count: r.count,
        ids: r.device_ids.unwrap_or_default(),
        capabilities: r.capabilities.unwrap_or_default(),
        options: r.options.unwrap_or_default(),
    };
    let rates = |list: Option<Vec<api::ThrottleDevice>>| {
        let one = |d: api::ThrottleDevice| domain::BlockRate { path: d.path, rate: d.rate };
        list.into_iter().flatten().map(one).collect()
    };
    let ulimit = |u: api::Ulimit| domain::Ulimit { name: u.name, soft: u.soft, hard: u.hard };
    Ok(domain::HostConfig {
        binds: wire.binds.unwrap_or_default(),
        mounts: wire.mounts.unwrap_or_default().into_iter().map(mount_to_engine).collect(),
        tmpfs: wire.tmpfs.unwrap_or_default(),
        volumes_from: wire.volumes_from.unwrap_or_default(),
        volume_driver: wire.volume_driver,
        container_id_file: wire.container_id_file,
        log: domain::LogConfig {
            driver: wire.log_config.kind,
            options: wire.log_config.config.unwrap_or_default(),
        },
        network_mode: wire.network_mode,
        restart: domain::RestartPolicy {
            name: wire.restart_policy.name,
            maximum_retry_count: wire.restart_policy.maximum_retry_count,
        },
        auto_remove: wire.auto_remove,
        console_size: [size(rows)?, size(columns)?],
        annotations: wire.annotations.unwrap_or_default(),
        cap_add: wire.cap_add.unwrap_or_default(),
        cap_drop: wire.cap_drop.unwrap_or_default(),
        cgroupns_mode: wire.cgroupns_mode,
        dns: wire.dns.unwrap_or_default(),
        dns_options: wire.dns_options.unwrap_or_default(),
        dns_search: wire.dns_search.unwrap_or_default(),
        extra_hosts: wire.extra_hosts.unwrap_or_default(),
        group_add: wire.group_add.unwrap_or_default(),
        ipc_mode: wire.ipc_mode,
        oom_score_adj: i32::try_from(wire.oom_score_adj).unwrap_or_default(),
        pid_mode: wire.pid_mode,
        privileged: wire.privileged,
        port_bindings: super::network::bindings(wire.port_bindings.unwrap_or_default()),
        links: wire.links.unwrap_or_default(),
        publish_all_ports: wire.publish_all_ports,
        readonly_rootfs: wire.readonly_rootfs,
        security_opt: wire.security_opt.unwrap_or_default(),
        storage_opt: wire.storage_opt.unwrap_or_default(),
        uts_mode: wire.uts_mode,
        userns_mode: wire.userns_mode,
        shm_size: wire.shm_size,
        sysctls: wire.sysctls.unwrap_or_default(),
        runtime: wire.runtime,
        init: wire.init,
        masked_paths: wire.masked_paths,
        readonly_paths: wire.readonly_paths,
        resources: domain::Resources {
            memory: wire.memory,
            memory_swap: wire.memory_swap,
            memory_reservation: wire.memory_reservation,
            memory_swappiness: wire.memory_swappiness,
            oom_kill_disable: wire.oom_kill_disable,
            nano_cpus: wire.nano_cpus,
            cpu_shares: wire.cpu_shares,
            cpu_period: wire.cpu_period,
            cpu_quota: wire.cpu_quota,
            cpuset_cpus: wire.cpuset_cpus,
            cpuset_mems: wire.cpuset_mems,
            pids_limit: wire.pids_limit,
            cpu_realtime_period: wire.cpu_realtime_period,
            cpu_realtime_runtime: wire.cpu_realtime_runtime,
            kernel_memory_tcp: wire.kernel_memory_tcp,
            blkio_weight: wire.blkio_weight,
            blkio_weight_device: wire
                .blkio_weight_device
                .into_iter()
                .flatten()
                .map(|d| domain::BlockWeight { path: d.path, weight: d.weight })
                .collect(),
            blkio_read_bps: rates(wire.blkio_device_read_bps),
            blkio_write_bps: rates(wire.blkio_device_write_bps),
            blkio_read_iops: rates(wire.blkio_device_read_iops),
            blkio_write_iops: rates(wire.blkio_device_write_iops),
            cgroup_parent: wire.cgroup_parent,
            devices: wire.devices.unwrap_or_default().into_iter().map(device).collect(),
            device_cgroup_rules: wire.device_cgroup_rules.unwrap_or_default(),
            device_requests: wire
                .device_requests
                .unwrap_or_default()
                .into_iter()
                .map(request)
                .collect(),
            ulimits: wire.ulimits.unwrap_or_default().into_iter().map(ulimit).collect(),
        },
    })
}

fn mount_to_engine(wire: Mount) -> MountRequest {
    let bind = wire.bind_options.unwrap_or_default();
    let volume = wire.volume_options.unwrap_or_default();
    let driver = volume.driver_config.unwrap_or_default();
    let tmpfs = wire.tmpfs_options.unwrap_or_default();
    MountRequest {
        kind: wire.kind,
        source: wire.source,
        target: wire.target,
        read_only: wire.read_only,
        consistency: wire.consistency,
        propagation: bind.propagation,
        non_recursive: bind.non_recursive,
        create_mountpoint: bind.create_mountpoint,
        read_only_non_recursive: bind.read_only_non_recursive,
        read_only_force_recursive: bind.read_only_force_recursive,
        no_copy: volume.no_copy,
        labels: volume.labels.unwrap_or_default(),
        driver: driver.name,
        driver_options: driver.options.unwrap_or_default(),
        subpath: volume.subpath,
        tmpfs_size: tmpfs.size_bytes,
        tmpfs_mode: tmpfs.mode,
    }
}

/// As inspects print it: empty lists that the docker client sends as `[]` are `[]`, the others `null`.
pub(crate) fn to_wire(host: &domain::HostConfig) -> HostConfig {
    let list = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
    let resources = &host.resources;
    let device = |d: &domain::Device| api::Device {
        path_on_host: d.host.clone(),
        path_in_container: d.container.clone(),
        cgroup_permissions: d.permissions.clone(),
    };
    let request = |r: &domain::DeviceRequest| api::DeviceRequest {
        driver: r.driver.clone(),
        count: r.count,
        device_ids: Some(r.ids.clone()).filter(|ids| !ids.is_empty()),
        capabilities: Some(r.capabilities.clone()).filter(|c| !c.is_empty()),
        options: Some(r.options.clone()).filter(|o| !o.is_empty()),
    };
    let rates = |list: &[domain::BlockRate]| {
        let one =
            |d: &domain::BlockRate| api::ThrottleDevice { path: d.path.clone(), rate: d.rate };
        Some(list.iter().map(one).collect())
    };
    let ulimit =
        |u: &domain::Ulimit| api::Ulimit { name: u.name.clone(), hard: u.hard, soft: u.soft };
    HostConfig {
        binds: list(&host.binds),
        container_id_file: host.container_id_file.clone(),
        log_config: api::LogConfig {
            kind: host.log.driver.clone(),
            config: Some(host.log.options.clone()),
        },
        network_mode: host.network_mode.clone(),
        port_bindings: Some(super::network::bindings_to_wire(&host.port_bindings)),
        restart_policy: api::RestartPolicy {
            name: host.restart.name.clone(),
            maximum_retry_count: host.restart.maximum_retry_count,
        },
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver.clone(),
        volumes_from: list(&host.volumes_from),
        console_size: api::host::ConsoleSize(host.console_size.map(u64::from)),
        annotations: Some(host.annotations.clone()),
        cap_add: list(&host.cap_add),
        cap_drop: list(&host.cap_drop),
        cgroupns_mode: host.cgroupns_mode.clone(),
        dns: Some(host.dns.clone()),
        dns_options: Some(host.dns_options.clone()),
        dns_search: Some(host.dns_search.clone()),
        extra_hosts: list(&host.extra_hosts),
        group_add: list(&host.group_add),
        ipc_mode: host.ipc_mode.clone(),
        cgroup: String::new(),
        links: None,
        oom_score_adj: i64::from(host.oom_score_adj),
        pid_mode: host.pid_mode.clone(),
        privileged: host.privileged,
        publish_all_ports: host.publish_all_ports,
        readonly_rootfs: host.readonly_rootfs,
        security_opt: list(&host.security_opt),
        storage_opt: Some(host.storage_opt.clone()),
        tmpfs: Some(host.tmpfs.clone()),
        uts_mode: host.uts_mode.clone(),
        userns_mode: host.userns_mode.clone(),
        shm_size: if host.shm_size == 0 { 64 << 20 } else { host.shm_size },
        sysctls: Some(host.sysctls.clone()),
        runtime: if host.runtime.is_empty() { "gantry".to_owned() } else { host.runtime.clone() },
        isolation: String::new(),
        cpu_shares: resources.cpu_shares,
        memory: resources.memory,
        nano_cpus: resources.nano_cpus,
        cgroup_parent: resources.cgroup_parent.clone(),
        blkio_weight: resources.blkio_weight,
        blkio_weight_device: Some(
            resources
                .blkio_weight_device
                .iter()
                .map(|d| api::WeightDevice { path: d.path.clone(), weight: d.weight })
                .collect(),
        ),
        blkio_device_read_bps: rates(&resources.blkio_read_bps),
        blkio_device_write_bps: rates(&resources.blkio_write_bps),
        blkio_device_read_iops: rates(&resources.blkio_read_iops),
        blkio_device_write_iops: rates(&resources.blkio_write_iops),
        cpu_realtime_period: resources.cpu_realtime_period,
        cpu_realtime_runtime: resources.cpu_realtime_runtime,
        kernel_memory_tcp: resources.kernel_memory_tcp,
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        devices: Some(resources.devices.iter().map(device).collect()),
        device_cgroup_rules: list(&resources.device_cgroup_rules),
        device_requests: Some(resources.device_requests.iter().map(request).collect())
            .filter(|list: &Vec<_>| !list.is_empty()),
        memory_reservation: resources.memory_reservation,
        memory_swap: resources.memory_swap,
        memory_swappiness: resources.memory_swappiness,
        oom_kill_disable: Some(resources.oom_kill_disable.unwrap_or(false)),
        // Docker has one word for no limit.
        pids_limit: resources.pids_limit.filter(|limit| *limit > 0),
        ulimits: Some(resources.ulimits.iter().map(ulimit).collect()),
        mounts: Some(host.mounts.iter().map(mount_to_wire).collect()),
        masked_paths: host.masked_paths.clone().or_else(|| default_paths(host, &MASKED)),
        readonly_paths: host.readonly_paths.clone().or_else(|| default_paths(host, &READ_ONLY)),
        init: host.init,
        ..HostConfig::default()
    }
}

/// Docker prints the paths that it hides by default; a privileged container hides none.
fn default_paths(host: &domain::HostConfig, paths: &[&str]) -> Option<Vec<String>> {
    (!host.privileged).then(|| paths.iter().map(|path| (*path).to_owned()).collect())
}

/// Docker's default `MaskedPaths` for display; what is hidden is decided where the container is made.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Docker's default `ReadonlyPaths`.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn mount_to_wire(mount: &MountRequest) -> Mount {
    let bind = api::BindOptions {
        propagation: mount.propagation.clone(),
        non_recursive: mount.non_recursive,
        create_mountpoint: mount.create_mountpoint,
        read_only_non_recursive: mount.read_only_non_recursive,
        read_only_force_recursive: mount.read_only_force_recursive,
    };
    let driver =
        api::Driver { name: mount.driver.clone(), options: Some(mount.driver_options.clone()) };
    let volume = api::VolumeOptions {
        no_copy: mount.no_copy,
        labels: Some(mount.labels.clone()).filter(|labels| !labels.is_empty()),
        subpath: mount.subpath.clone(),
        driver_config: (!mount.driver.is_empty() || !mount.driver_options.is_empty())
            .then_some(driver),
    };
    let tmpfs =
        api::TmpfsOptions { size_bytes: mount.tmpfs_size, mode: mount.tmpfs_mode, options: None };
    Mount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: (bind != api::BindOptions::default()).then_some(bind),
        volume_options: (volume != api::VolumeOptions::default()).then_some(volume),
        tmpfs_options: (tmpfs != api::TmpfsOptions::default()).then_some(tmpfs),
    }
}
