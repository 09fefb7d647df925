//! [`create_body`]: what is meant → the body of `POST /containers/create`. Pure.

use super::args::RunArgs;
use super::{devices, modes, mounts, network, ports};
use crate::flags::{Matches, check};
use api::host::ConsoleSize;
use api::{ContainerConfig, ContainerCreateBody, HostConfig, ThrottleDevice, Ulimit, WeightDevice};
use std::collections::BTreeMap;
use types::ByteSize;

/// The body that Docker's client would send. An error is a text for the user.
pub fn create_body(args: &RunArgs<'_>) -> Result<ContainerCreateBody, String> {
    let matches = args.matches;
    modes::check_namespaces(matches)?;
    let (exposed, port_bindings) = ports::ports(&matches.list("publish"), &matches.list("expose"))?;
    let (binds, volumes) = mounts::volumes(&matches.list("volume"), &args.directory)?;
    let (mode, networking) = network::networks(matches)?;
    let config = ContainerConfig {
        hostname: matches.text("hostname"),
        domainname: matches.text("domainname"),
        user: matches.text("user"),
        exposed_ports: some_map(exposed),
        tty: matches.is("tty"),
        env: some(args.env.clone()),
        cmd: some(args.command.clone()),
        healthcheck: modes::health(matches)?,
        image: args.image.clone(),
        volumes: Some(volumes),
        working_dir: matches.text("workdir"),
        entrypoint: matches.get("entrypoint").map(|e| vec![e.to_owned()]),
        labels: Some(args.labels.clone()),
        stop_signal: matches.text("stop-signal"),
        stop_timeout: matches.int("stop-timeout"),
        ..attached(args)
    };
    let mut host = HostConfig {
        binds,
        container_id_file: matches.text("cidfile"),
        log_config: modes::log_config(matches)?,
        network_mode: mode,
        port_bindings: Some(port_bindings),
        console_size: ConsoleSize(args.console),
        ..surroundings(args)?
    };
    limits(matches, &mut host)?;
    block_io(matches, &mut host)?;
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    Ok(ContainerCreateBody { config, host_config: Some(host), networking_config: Some(networking) })
}

/// What the client will be attached to.
fn attached(args: &RunArgs<'_>) -> ContainerConfig {
    let open_stdin = args.matches.is("interactive");
    let chosen: Vec<String> =
        args.matches.list("attach").iter().map(|a| a.to_lowercase()).collect();
    let wants = |stream: &str, default: bool| {
        !args.detach && if chosen.is_empty() { default } else { chosen.iter().any(|c| c == stream) }
    };
    let attach_stdin = wants("stdin", open_stdin);
    ContainerConfig {
        attach_stdin,
        attach_stdout: wants("stdout", true),
        attach_stderr: wants("stderr", true),
        open_stdin,
        // A client that goes away closes the container's stdin only when it was the one that fed it.
        stdin_once: open_stdin && attach_stdin,
        ..ContainerConfig::default()
    }
}

/// Annotations, and what is an annotation to the daemon because Docker's API has no field for it.
fn annotations(matches: &Matches) -> Result<BTreeMap<String, String>, String> {
    let mut all = modes::pairs(&matches.list("annotation"));
    let egress = matches.list("egress");
    if !egress.is_empty() {
        all.insert("gantry.egress".to_owned(), egress.join(","));
    }
    match matches.text("health-on-failure").as_str() {
        "" => {}
        word @ ("none" | "restart" | "stop" | "kill") => {
            all.insert("gantry.health-on-failure".to_owned(), word.to_owned());
        }
        other => {
            return Err(format!(
                "invalid --health-on-failure \"{other}\": use one of none, restart, stop, kill"
            ));
        }
    }
    Ok(all)
}

/// Everything of the host configuration but limits.
fn surroundings(args: &RunArgs<'_>) -> Result<HostConfig, String> {
    let matches = args.matches;
    let (devices, mut device_requests) = devices::devices(&matches.list("device"))?;
    for flag in matches.list("gpus") {
        device_requests.push(devices::gpus(&flag)?);
    }
    let (cap_add, cap_drop) =
        devices::capabilities(&matches.list("cap-add"), &matches.list("cap-drop"));
    let storage = matches.list("storage-opt");
    if storage.iter().any(|option| !option.contains('=')) {
        return Err("invalid storage option".into());
    }
    let mut wanted_mounts = Vec::new();
    for flag in matches.list("mount") {
        wanted_mounts.push(mounts::parse(&flag, &args.directory)?);
    }
    let mut extra_hosts = Vec::new();
    for flag in matches.list("add-host") {
        let (name, address) = check::split_extra_host(&flag)?;
        extra_hosts.push(format!("{name}:{address}"));
    }
    let trimmed =
        |flag: &str| matches.list(flag).iter().map(|v| v.trim().to_owned()).collect::<Vec<_>>();
    Ok(HostConfig {
        restart_policy: modes::restart_policy(matches.get("restart").unwrap_or("no"))?,
        auto_remove: matches.is("rm"),
        volume_driver: matches.text("volume-driver"),
        volumes_from: some(matches.list("volumes-from")),
        annotations: some_map(annotations(matches)?),
        cap_add,
        cap_drop,
        cgroupns_mode: matches.text("cgroupns"),
        dns: Some(trimmed("dns")),
        dns_options: Some(matches.list("dns-option")),
        dns_search: Some(trimmed("dns-search")),
        extra_hosts: some(extra_hosts),
        group_add: some(matches.list("group-add")),
        ipc_mode: matches.text("ipc"),
        links: some(matches.list("link")),
        oom_score_adj: matches.int("oom-score-adj").unwrap_or(0),
        pid_mode: matches.text("pid"),
        privileged: matches.is("privileged"),
        publish_all_ports: matches.is("publish-all"),
        readonly_rootfs: matches.is("read-only"),
        security_opt: some(args.security_opts.clone()),
        storage_opt: some_map(modes::pairs(&storage)),
        tmpfs: mounts::tmpfs(&matches.list("tmpfs")),
        uts_mode: matches.text("uts"),
        userns_mode: matches.text("userns"),
        shm_size: size(matches, "shm-size")?,
        sysctls: some_map(modes::pairs(&matches.list("sysctl"))),
        runtime: matches.text("runtime"),
        isolation: matches.text("isolation"),
        devices: Some(devices),
        device_cgroup_rules: some(matches.list("device-cgroup-rule")),
        device_requests: some(device_requests),
        mounts: some(wanted_mounts),
        masked_paths: args.bare_system_paths.then(Vec::new),
        readonly_paths: args.bare_system_paths.then(Vec::new),
        init: matches.has("init").then(|| matches.is("init")),
        ..HostConfig::default()
    })
}

fn limits(matches: &Matches, host: &mut HostConfig) -> Result<(), String> {
    let int = |flag: &str| matches.int(flag).unwrap_or(0);
    host.cpu_shares = int("cpu-shares");
    host.cpu_period = int("cpu-period");
    host.cpu_quota = int("cpu-quota");
    host.cpu_realtime_period = int("cpu-rt-period");
    host.cpu_realtime_runtime = int("cpu-rt-runtime");
    host.cpuset_cpus = matches.text("cpuset-cpus");
    host.cpuset_mems = matches.text("cpuset-mems");
    host.nano_cpus = matches.get("cpus").map_or(Ok(0), check::to_nano_cpus)?;
    host.cgroup_parent = matches.text("cgroup-parent");
    host.memory = size(matches, "memory")?;
    host.memory_reservation = size(matches, "memory-reservation")?;
    host.memory_swap =
        if matches.get("memory-swap") == Some("-1") { -1 } else { size(matches, "memory-swap")? };
    // Docker's client always sends these three, so that the daemon's own defaults never apply.
    let swappiness = matches.int("memory-swappiness").unwrap_or(-1);
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    host.memory_swappiness = Some(swappiness);
    host.oom_kill_disable = Some(matches.is("oom-kill-disable"));
    host.pids_limit = Some(int("pids-limit"));
    let mut ulimits = BTreeMap::new();
    for flag in matches.list("ulimit") {
        let (name, soft, hard) = check::to_ulimit(&flag)?;
        ulimits.insert(name.clone(), Ulimit { name, hard, soft });
    }
    host.ulimits = Some(ulimits.into_values().collect());
    Ok(())
}

fn block_io(matches: &Matches, host: &mut HostConfig) -> Result<(), String> {
    let rates = |flag: &str, read: fn(&str) -> Result<(String, u64), String>| {
        let one = |text: &String| read(text).map(|(path, rate)| ThrottleDevice { path, rate });
        matches.list(flag).iter().map(one).collect::<Result<Vec<_>, _>>().map(Some)
    };
    host.blkio_weight =
        matches.int("blkio-weight").and_then(|w| u16::try_from(w).ok()).unwrap_or(0);
    host.blkio_device_read_bps = rates("device-read-bps", check::to_rate_bytes)?;
    host.blkio_device_write_bps = rates("device-write-bps", check::to_rate_bytes)?;
    host.blkio_device_read_iops = rates("device-read-iops", check::to_rate_operations)?;
    host.blkio_device_write_iops = rates("device-write-iops", check::to_rate_operations)?;
    let weight = |text: &String| {
        check::to_weight_device(text).map(|(path, weight)| WeightDevice { path, weight })
    };
    host.blkio_weight_device = Some(
        matches.list("blkio-weight-device").iter().map(weight).collect::<Result<Vec<_>, _>>()?,
    );
    Ok(())
}

/// The bytes that a flag asks for; 0 when it was not given.
pub(crate) fn size(matches: &Matches, flag: &str) -> Result<i64, String> {
    let Some(text) = matches.get(flag) else { return Ok(0) };
    let size: ByteSize = text.parse().map_err(|e: types::InvalidSize| e.to_string())?;
    i64::try_from(size.0).map_err(|_| format!("invalid size: '{text}'"))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|l| !l.is_empty())
}

fn some_map<V>(map: BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    Some(map).filter(|m| !m.is_empty())
}
