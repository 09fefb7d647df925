//! The one place that knows which implementations exist.

use crate::config::Config;
use engine::{Drivers, Mark, PublishPolicy, Rules, Settings};
use logging::Query;
use logging::driver::Format;
use network::pools::Family;
use std::path::Path;
use std::sync::Arc;
use stdx::Result;

/// The implementations for a daemon that is set like this.
pub(crate) fn builtin(settings: &Settings) -> Result<Drivers> {
    let root = &settings.data_root;
    let plugins = netplugin::NetPlugins::open(
        netplugin::Folders::default(),
        &root.join("network/plugins"),
        Arc::new(network::ipam::Default::new(pools(settings))),
    )?;
    let ipam = plugins.ipam();
    let bridge = bridge_config(settings);
    let parents = |kind| macvlan::Macvlan::open(kind, &bridge.table(), Arc::clone(&ipam));
    Ok(Drivers {
        content: Arc::new(blobdir::BlobDir::open(root.join("content"))?),
        snapshots: Arc::new(overlay::Snapshotter::open(root.join("snapshots"))?),
        networks: vec![
            Arc::new(bridge::Bridge::open(bridge.clone(), Arc::clone(&ipam))?),
            Arc::new(parents(macvlan::Kind::Macvlan)?),
            Arc::new(parents(macvlan::Kind::Ipvlan)?),
            Arc::new(hostnet::host()),
            Arc::new(hostnet::none()),
        ],
        network_plugins: Arc::new(plugins),
        volumes: Arc::new(localvol::Local::open(&root.join("volumes"))?),
        logs: logging::Registry::new(log_drivers(), open_log),
    })
}

/// Those of the configuration, or Docker's own; IPv6 has this daemon's own unless the configuration names some.
fn pools(settings: &Settings) -> Vec<network::pools::Pool> {
    let mut pools = match settings.networks.pools.as_slice() {
        [] => network::pools::defaults(),
        own => own.to_vec(),
    };
    if pools.iter().all(|pool| Family::of(&pool.base) == Family::V4) {
        pools.push(network::pools::unique_local(&seed(settings)));
    }
    pools
}

fn log_drivers() -> Vec<Arc<dyn logging::Driver>> {
    vec![
        Arc::new(jsonlog::JsonFile),
        Arc::new(locallog::Local),
        Arc::new(journald::Journald),
        Arc::new(syslog::Syslog),
        Arc::new(gelf::Gelf),
        Arc::new(fluentd::Fluentd),
    ]
}

fn open_log(format: Format, path: &Path, query: Query) -> Result<Box<dyn logging::Reader>> {
    match format {
        Format::Json => jsonlog::open(path, query),
        Format::Local => locallog::open(path, query),
    }
}

/// What tells this daemon from all others, for the IPv6 subnets that it chooses.
fn seed(settings: &Settings) -> Vec<u8> {
    // A machine without an id has only the folder's name; the subnets of networks that exist are recorded either way.
    let mut seed = std::fs::read("/etc/machine-id").unwrap_or_default();
    seed.extend_from_slice(settings.data_root.as_os_str().as_encoded_bytes());
    seed
}

fn bridge_config(settings: &Settings) -> bridge::Config {
    bridge::Config {
        instance: settings.instance.clone(),
        state: settings.exec_root.join("network"),
        firewall: Some(settings.exec_root.join("netd/firewall")),
        policy: policy(&settings.networks.rules),
    }
}

fn policy(rules: &Rules) -> bridge::policy::Policy {
    bridge::policy::Policy {
        forward: rules.forward,
        guard: rules.guard,
        ipv4: rules.ipv4,
        ipv6: rules.ipv6,
        direct_routing: rules.direct_routing,
        accept_mark: rules
            .accept_mark
            .map(|Mark { value, mask }| bridge::policy::Mark { value, mask }),
        ask_host: rules.publish == PublishPolicy::Host,
    }
}

/// The engine's settings for a configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let programs = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned))
        .unwrap_or_else(|| "/usr/libexec/gantry".into());
    Settings {
        data_root: config.data_root.clone(),
        exec_root: config.exec_root.clone(),
        instance: config.instance(),
        programs,
        insecure_registries: config.insecure_registries.clone(),
        registry_mirrors: config.registry_mirrors.clone(),
        labels: config.labels.clone(),
        runtimes: config.runtimes.clone(),
        default_runtime: config.default_runtime.clone(),
        debug: config.debug,
        log_driver: config.log_driver.clone(),
        log_options: config.log_options.clone(),
        default_pids_limit: config.default_pids_limit,
        max_concurrent_downloads: config.max_concurrent_downloads,
        max_concurrent_uploads: config.max_concurrent_uploads,
        max_download_attempts: config.max_download_attempts,
        proxies: config.proxies.clone(),
        features: config.features.clone(),
        experimental: config.experimental,
        userns_remap: config.userns_remap.clone(),
        init: config.init,
        init_path: config.init_path.clone(),
        cdi_spec_dirs: config.cdi_spec_dirs.clone(),
        resolv_conf: config.resolv_conf.clone(),
        defaults: config.defaults.clone(),
        networks: config.networks.clone(),
        default_stop_timeout: config.default_stop_timeout,
        live_restore: config.live_restore,
        shutdown_timeout: config.shutdown_timeout,
    }
}

/// Removes what this instance made on the host's network.
pub(crate) fn cleanup(settings: &Settings) -> Result<()> {
    // First whoever would put back what is taken away.
    let helper = netd::Config::new(&settings.exec_root, &settings.programs);
    let records = helper.dir.clone();
    netd::Client::new(helper).stop()?;
    stdx::fs::remove_tree(&records)?;
    let bridge = bridge_config(settings);
    macvlan::Macvlan::cleanup(&bridge.table())?;
    bridge::Bridge::cleanup(&bridge)
}
