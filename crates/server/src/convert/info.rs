//! `GET /info` and `GET /version`.

use crate::Options;
use api::{ApiVersion, Component, Info, Version};
use std::collections::BTreeMap;
use stdx::time::Timestamp;

/// This program's version, which stands where `dockerd` has its own.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
const HUB: &str = "https://index.docker.io/v1/";

/// Go's spelling of this machine's architecture.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Answer to `GET /version`; the same as long as the daemon runs.
pub(crate) fn version(kernel: &str, options: &Options) -> Version {
    let min = options.min_version.unwrap_or(api::MIN);
    let details = [
        ("ApiVersion", api::MAX.to_string()),
        ("Arch", go_arch().to_owned()),
        ("BuildTime", String::new()),
        ("Experimental", options.experimental.to_string()),
        ("GitCommit", String::new()),
        ("GoVersion", String::new()),
        ("KernelVersion", kernel.to_owned()),
        ("MinAPIVersion", min.to_string()),
        ("Os", "linux".to_owned()),
    ];
    Version {
        platform: api::Platform { name: "Gantry".to_owned() },
        components: vec![Component {
            name: "Engine".to_owned(),
            version: VERSION.to_owned(),
            details: Some(details.map(|(name, value)| (name.to_owned(), value)).into()),
        }],
        version: VERSION.to_owned(),
        api_version: api::MAX.to_string(),
        min_api_version: min.to_string(),
        git_commit: String::new(),
        go_version: String::new(),
        os: "linux".to_owned(),
        arch: go_arch().to_owned(),
        kernel_version: kernel.to_owned(),
        experimental: options.experimental,
        build_time: String::new(),
    }
}

/// Answer to `GET /info`.
pub(crate) fn info(info: engine::Info, version: ApiVersion) -> Info {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let feature = |name: &str| info.features.get(name).copied().unwrap_or(false);
    let no_commit = || api::Commit { id: "N/A".to_owned(), expected: "N/A".to_owned() };
    Info {
        id: info.id,
        containers: count(info.containers),
        containers_running: count(info.running),
        containers_paused: count(info.paused),
        containers_stopped: count(info.stopped),
        images: count(info.images),
        driver: info.driver,
        driver_status: info.driver_status.into_iter().map(|(name, value)| [name, value]).collect(),
        plugins: api::Plugins {
            volume: words(&["local"]),
            network: info.network_drivers,
            authorization: None,
            log: info.log_drivers,
        },
        memory_limit: feature("MemoryLimit"),
        swap_limit: feature("SwapLimit"),
        kernel_memory: false,
        kernel_memory_tcp: false,
        cpu_cfs_period: feature("CpuCfsPeriod"),
        cpu_cfs_quota: feature("CpuCfsQuota"),
        cpu_shares: feature("CPUShares"),
        cpu_set: feature("CPUSet"),
        pids_limit: feature("PidsLimit"),
        ipv4_forwarding: info.forwarding,
        // Our rules are in nf_tables; whether bridges call iptables does not matter to them.
        bridge_nf_iptables: true,
        bridge_nf_ip6tables: true,
        debug: info.debug,
        n_fd: count(info.descriptors),
        oom_kill_disable: feature("OomKillDisable"),
        n_goroutines: count(
            tokio::runtime::Handle::try_current().map_or(0, |h| h.metrics().num_alive_tasks()),
        ),
        system_time: Timestamp::now().to_string(),
        logging_driver: info.log_driver,
        cgroup_driver: info.cgroup_driver,
        cgroup_version: info.cgroup_version,
        n_events_listener: count(info.listeners),
        kernel_version: info.kernel,
        operating_system: info.os,
        os_version: String::new(),
        os_type: "linux".to_owned(),
        architecture: info.architecture,
        index_server_address: HUB.to_owned(),
        registry_config: Some(registries(info.insecure_registries, info.mirrors)),
        ncpu: count(info.cpus),
        mem_total: i64::try_from(info.memory).unwrap_or(i64::MAX),
        generic_resources: None,
        docker_root_dir: info.root_dir,
        name: info.name,
        http_proxy: info.proxies.http.unwrap_or_default(),
        https_proxy: info.proxies.https.unwrap_or_default(),
        no_proxy: info.proxies.no.unwrap_or_default(),
        experimental_build: info.experimental,
        labels: info.labels,
        server_version: VERSION.to_owned(),
        default_runtime: info.default_runtime,
        runtimes: info
            .runtimes
            .into_iter()
            .map(|(name, program)| {
                let info = match program {
                    Some(program) => api::RuntimeInfo {
                        path: program.path.display().to_string(),
                        runtime_args: Some(program.args).filter(|args| !args.is_empty()),
                        ..api::RuntimeInfo::default()
                    },
                    None => api::RuntimeInfo { path: name.clone(), ..api::RuntimeInfo::default() },
                };
                (name, info)
            })
            .collect(),
        swarm: api::SwarmInfo {
            local_node_state: "inactive".to_owned(),
            ..api::SwarmInfo::default()
        },
        live_restore_enabled: info.live_restore,
        init_binary: "gantry-init".to_owned(),
        containerd_commit: no_commit(),
        runc_commit: no_commit(),
        init_commit: no_commit(),
        security_options: if version < ApiVersion::v1(25) {
            // They were bare names once.
            let bare = |option: &String| {
                option.strip_prefix("name=")?.split(',').next().map(str::to_owned)
            };
            info.security_options.iter().filter_map(bare).collect()
        } else {
            info.security_options
        },
        cdi_spec_dirs: Some(Vec::new()),
        warnings: Some(info.warnings).filter(|warnings| !warnings.is_empty()),
        host_changes: Some(info.host_changes).filter(|changes| !changes.is_empty()),
        ..Info::default()
    }
}

fn registries(insecure: Vec<String>, mirrors: Vec<String>) -> api::RegistryConfig {
    let mut indices = BTreeMap::from([(
        "docker.io".to_owned(),
        api::IndexConfig {
            name: "docker.io".to_owned(),
            mirrors: mirrors.clone(),
            secure: true,
            official: true,
        },
    )]);
    let (networks, hosts): (Vec<String>, Vec<String>) =
        insecure.into_iter().partition(|entry| entry.contains('/'));
    for host in hosts {
        let index = api::IndexConfig {
            name: host.clone(),
            mirrors: Vec::new(),
            secure: false,
            official: false,
        };
        indices.insert(host, index);
    }
    api::RegistryConfig {
        insecure_registry_cidrs: networks,
        index_configs: indices,
        mirrors: Some(mirrors).filter(|mirrors| !mirrors.is_empty()),
        ..api::RegistryConfig::default()
    }
}
