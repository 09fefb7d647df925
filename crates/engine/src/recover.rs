//! Starting the daemon. Starting is recovering: there is no other way in.
//!
//! The order matters: first everything that is recorded is known again, then what has no owner is swept, then the
//! drivers look after their containers, and only then the API is served.

use crate::events::Events;
use crate::exec::Execs;
use crate::janitor::{Janitor, throw_away};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::networks::{self, Networks};
use crate::registry::Registry;
use crate::setup::{Drivers, Settings};
use crate::userns::Ranges;
use crate::volumes::Volumes;
use crate::world::{EngineWorld, Records, read_record_file};
use crate::{Engine, Inner, hello, images, info, mounts};
use container::{Container, Paths, Services};
use network::Live;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use stdx::fs::{Durability, create_dir, replace};
use stdx::lock::FileLock;
use stdx::{Context as _, Error, Result};
use store::Store;
use store::records::container::ContainerRecord;
use store::records::network::EndpointRecord;
use task::protocol::ShimRecord;

/// Folders of a data-root that Docker or containerd made: a sign that it is not ours.
const FOREIGN: [&str; 5] =
    ["overlay2", "image", "buildkit", "io.containerd.metadata.v1.bolt", "swarm"];

impl Engine {
    /// Opens everything and brings the containers back. Call it inside a tokio runtime.
    pub async fn open(
        settings: Settings,
        drivers: impl FnOnce(&Settings) -> Result<Drivers>,
    ) -> Result<Self> {
        prepare_roots(&settings)?;
        let lock = FileLock::try_acquire(&settings.data_root.join("lock"))?.ok_or_else(|| {
            Error::conflict(format!(
                "another daemon uses the data-root {}; stop it, or give this one its own --data-root",
                settings.data_root.display()
            ))
        })?;
        let paths = Paths { data: settings.data_root.clone(), exec: settings.exec_root.clone() };
        let store = Arc::new(Store::open(&settings.data_root.join("store.redb"))?);
        let drivers = drivers(&settings)?;
        let hierarchies = cgroups::Hierarchies::detect()?;
        let defaults = &settings.defaults;
        if defaults.realtime_period != 0 || defaults.realtime_runtime != 0 {
            let (period, runtime) = (defaults.realtime_period, defaults.realtime_runtime);
            hierarchies
                .grant_realtime(&settings.cgroup(), period, runtime)
                .context(|| "give containers a real-time budget")?;
        }
        let version = if hierarchies.version() == cgroups::Version::V2 { "2" } else { "1" };
        let metrics = Arc::new(Metrics::default());
        let host = info::Host::look(version, settings.resolv_conf.clone(), &metrics)?;
        let events = Arc::new(Events::new());
        let execs = Arc::new(Execs::default());
        let registry = Arc::new(Registry::default());
        let records = Arc::new(Records::new(Arc::clone(&store), paths.clone()));
        let networks = Arc::new(Networks::open(
            Arc::clone(&store),
            drivers.networks,
            drivers.network_plugins,
            Arc::clone(&events),
            netd::Client::new(
                netd::Config::new(&settings.exec_root, &settings.programs)
                    .resolv_conf(settings.resolv_conf.clone()),
            ),
            settings.networks.clone(),
        )?);
        let known = known_containers(&store, &paths)?;
        let user_namespaces = crate::userns::Default::from_option(&settings.userns_remap)?;
        let ranges = Arc::new(Ranges::of_host(&known, settings.instance.as_deref()));

        sweep(&paths, &known, &host.boot_id, drivers.snapshots.as_ref())?;
        let volumes = Arc::new(Volumes::open(
            Arc::clone(records.store()),
            drivers.volumes,
            Arc::clone(&events),
            &known,
        )?);
        let janitor = Arc::new(Janitor::start(
            vec![paths.data.join("trash"), paths.exec.join("trash")],
            Arc::clone(&drivers.snapshots),
        )?);
        drivers
            .logs
            .check(&settings.log_driver, &settings.log_options)
            .map_err(|e| Error::new(e.kind(), format!("failed to set log opts: {e}")))?;
        let logs = Logs::new(drivers.logs, paths.clone(), host.hostname.clone())?;
        let images = images::open(&store, &drivers.content, &drivers.snapshots, &paths)?;
        images.set_downloads(settings.max_concurrent_downloads);
        let world = Arc::new(EngineWorld {
            records: Arc::clone(&records),
            registry: Arc::clone(&registry),
            events: Arc::clone(&events),
            execs: Arc::clone(&execs),
            logs: Arc::clone(&logs),
            snapshots: Arc::clone(&drivers.snapshots),
            volumes: Arc::clone(&volumes),
            ranges: Arc::clone(&ranges),
            janitor: Arc::clone(&janitor),
            metrics: Arc::clone(&metrics),
            paths: paths.clone(),
            networks: Arc::clone(&networks),
            linking: std::sync::Mutex::default(),
        });
        let services = Arc::new(Services {
            world,
            network: networks.clone(),
            logs: logs.clone(),
            snapshots: drivers.snapshots,
            shim: sys::command::Program::open(&settings.programs.join("gantry-shim"))
                .context(|| format!("open {}", settings.programs.join("gantry-shim").display()))?,
            init: settings
                .init_path
                .clone()
                .unwrap_or_else(|| settings.programs.join("gantry-init")),
            default_init: settings.init,
            cdi: settings.cdi_spec_dirs.clone(),
            runtimes: container::runtimes::Runtimes::new(
                settings.runtimes.clone(),
                &settings.default_runtime,
            )?,
            seccomp: container::files::SeccompCache::open(
                paths.exec.join("seccomp"),
                &host.kernel,
                settings.defaults.seccomp.clone(),
            )?,
            hierarchies: hierarchies.to_string(),
            swap_alone: hierarchies.version() == cgroups::Version::V2
                && hierarchies.features().swap_limit,
            thermal: container::devices::thermal_counters(),
            cgroup: settings.cgroup(),
            capabilities: host.capabilities,
            default_pids_limit: settings.default_pids_limit,
            stop_timeout: settings.default_stop_timeout,
            host_devices: container::devices::host_devices(),
            boot_id: host.boot_id.clone(),
            paths,
        });
        networks.tell_denials();
        networks.recover(live_endpoints(&services, &known))?;
        for record in known.into_values() {
            registry.reserve(&record.name, &record.id)?;
            let id = record.id.clone();
            let container = Container::spawn(Arc::clone(&services), Arc::new(record), true);
            registry.insert(&id, container, || {});
        }
        for container in registry.all() {
            container.recovered().await;
        }
        services.world.link(None)?;
        // The last daemon may have died before it told those that were linked to a container of its new addresses.
        for container in registry.all() {
            if !container.now().record.links.is_empty() {
                container.refresh_links();
            }
        }
        let stopped: Vec<_> = registry
            .all()
            .iter()
            .map(Container::now)
            .filter(|now| !now.phase.is_running())
            .map(|now| now.record)
            .collect();
        logs.recover(&stopped);
        tokio::spawn(Arc::clone(&records).keep_flushing());
        let inner = Inner {
            defaults: settings.defaults.clone(),
            daemon_id: daemon_id(&settings.data_root)?,
            user_namespaces,
            ranges,
            features: features(&hierarchies),
            settings: RwLock::new(settings.clone()),
            host,
            services,
            containers: registry,
            fetchers: images::Fetchers::new(&settings)?,
            images,
            volumes,
            logs,
            networks,
            records,
            events,
            execs,
            janitor,
            metrics,
            _lock: lock,
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.thaw_after_commit().await;
        hello::bundle(&engine, &settings.programs.join("gantry-init"))?;
        Ok(engine)
    }

    /// Stops the containers, unless they go on without the daemon. Their policies are asked at its next start.
    pub async fn halt(&self) {
        /// What Docker gives on top of the longest stop timeout.
        const GRACE: i64 = 5;
        let settings = self.settings();
        if settings.live_restore {
            return;
        }
        let all = self.inner.containers.all();
        let timeouts: Vec<i64> = all
            .iter()
            .map(container::Container::now)
            .filter(|now| now.phase.is_running())
            .map(|now| now.record.config.stop_timeout.unwrap_or(settings.default_stop_timeout))
            .collect();
        let for_ever = settings.shutdown_timeout < 0 || timeouts.iter().any(|t| *t < 0);
        let longest = timeouts.into_iter().map(|t| t.saturating_add(GRACE)).max().unwrap_or(0);
        let limit = u64::try_from(settings.shutdown_timeout.max(longest)).unwrap_or(0);
        let halted = futures_util::future::join_all(all.iter().map(|c| c.halt()));
        if for_ever {
            halted.await;
        } else if tokio::time::timeout(std::time::Duration::from_secs(limit), halted).await.is_err()
        {
            tracing::warn!("containers did not stop within {limit} s and are left running");
        }
    }

    /// Writes what waits to be written. The last thing a daemon does; forgetting it loses nothing that the exec-root
    /// does not know.
    pub fn close(&self) {
        self.inner.logs.stop();
        if let Err(e) = self.inner.records.flush() {
            tracing::error!("write records: {e}");
        }
        // The cgroup above all containers stays as long as one of them runs; one that somebody chose is not ours.
        let idle = self.inner.defaults.cgroup_parent.is_none()
            && !self.inner.containers.all().iter().any(|c| c.now().phase.is_running());
        let parent = || -> Result<()> {
            let hierarchies: cgroups::Hierarchies = self.inner.services.hierarchies.parse()?;
            cgroups::Group::open(&hierarchies, &self.inner.services.cgroup)?.remove()
        };
        if idle && let Err(e) = parent() {
            tracing::debug!("remove the cgroup of the containers: {e}");
        }
    }

    /// Takes over what may change while the daemon runs: labels, registries, transfers, features, debug.
    pub fn reload(&self, new: &Settings) -> Result<()> {
        let runtimes = &self.inner.services.runtimes;
        runtimes.reload(new.runtimes.clone(), &new.default_runtime)?;
        self.inner.fetchers.reload(new)?;
        self.inner.images.set_downloads(new.max_concurrent_downloads);
        let mut settings =
            self.inner.settings.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        settings.labels.clone_from(&new.labels);
        settings.registry_mirrors.clone_from(&new.registry_mirrors);
        settings.insecure_registries.clone_from(&new.insecure_registries);
        settings.max_concurrent_downloads = new.max_concurrent_downloads;
        settings.max_concurrent_uploads = new.max_concurrent_uploads;
        settings.max_download_attempts = new.max_download_attempts;
        settings.features.clone_from(&new.features);
        settings.debug = new.debug;
        let mut attributes = reload_attributes(&settings);
        attributes.insert("default-runtime".to_owned(), runtimes.default_name());
        attributes.insert("runtimes".to_owned(), runtime_texts(&runtimes.all()));
        attributes.insert("name".to_owned(), self.inner.host.hostname.clone());
        self.inner.events.publish("daemon", "reload", &self.inner.daemon_id, attributes);
        Ok(())
    }
}

/// What a `reload` event tells: the values that count now, lists as JSON.
fn reload_attributes(settings: &Settings) -> std::collections::BTreeMap<String, String> {
    let list = |list: &[String]| {
        let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
        format!("[{}]", texts.join(","))
    };
    let features: Vec<String> =
        settings.features.iter().map(|(name, on)| format!("{name}:{on}")).collect();
    let or = |n: u32, default: u32| if n == 0 { default } else { n }.to_string();
    [
        ("allow-nondistributable-artifacts", "[]".to_owned()),
        ("debug", settings.debug.to_string()),
        ("default-cgroupns-mode", "private".to_owned()),
        ("default-ipc-mode", "private".to_owned()),
        ("features", format!("map[{}]", features.join(" "))),
        ("insecure-registries", list(&settings.insecure_registries)),
        ("labels", list(&settings.labels)),
        ("live-restore", settings.live_restore.to_string()),
        ("max-concurrent-downloads", or(settings.max_concurrent_downloads, 3)),
        ("max-concurrent-uploads", or(settings.max_concurrent_uploads, 5)),
        ("max-download-attempts", or(settings.max_download_attempts, 5)),
        ("registry-mirrors", list(&settings.registry_mirrors)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// As a `reload` event of dockerd has them.
fn runtime_texts(all: &[(String, Option<container::runtimes::Program>)]) -> String {
    let text = |(name, program): &(String, Option<container::runtimes::Program>)| {
        let path = program.as_ref().map_or_else(|| name.clone(), |p| p.path.display().to_string());
        format!("{name}:{path}")
    };
    all.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn prepare_roots(settings: &Settings) -> Result<()> {
    if let Some(foreign) = FOREIGN.iter().find(|name| settings.data_root.join(name).exists()) {
        return Err(Error::conflict(format!(
            "{} holds another engine's data ({foreign}); give gantryd its own --data-root",
            settings.data_root.display()
        )));
    }
    // Nobody but root and the group may walk in: images contain setuid programs (CVE-2021-41091).
    create_dir(&settings.data_root, 0o710)?;
    create_dir(&settings.exec_root, 0o711)?;
    create_dir(&settings.data_root.join("shipping"), 0o710)?;
    for name in ["containers", "trash"] {
        create_dir(&settings.data_root.join(name), 0o710)?;
        create_dir(&settings.exec_root.join(name), 0o700)?;
    }
    Ok(())
}

/// All containers that any record tells of: the store's, and those with `--rm`.
fn known_containers(store: &Store, paths: &Paths) -> Result<HashMap<String, ContainerRecord>> {
    let mut known: HashMap<String, ContainerRecord> =
        store.all::<ContainerRecord>()?.into_iter().collect();
    for entry in folders(&paths.exec.join("containers"))? {
        if let Some(record) = read_record_file(&entry) {
            known.insert(record.id.clone(), record);
        }
    }
    Ok(known)
}

fn folders(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(path).context(|| format!("list {}", path.display()))?;
    Ok(entries.flatten().map(|e| e.path()).collect())
}

/// Removes what has no owner: snapshots, folders, shims.
fn sweep(
    paths: &Paths,
    known: &HashMap<String, ContainerRecord>,
    boot_id: &str,
    snapshots: &dyn snapshot::Snapshotter,
) -> Result<()> {
    let keys = known.keys().map(|id| Ok(snapshot::Key::new(id)?)).collect::<Result<Vec<_>>>()?;
    snapshots.sweep(&keys)?;
    let owned = |folder: &Path| {
        folder.file_name().and_then(|n| n.to_str()).is_some_and(|id| known.contains_key(id))
    };
    for folder in folders(&paths.exec.join("containers"))? {
        if !owned(&folder) {
            end_orphan(&folder, boot_id);
            throw_away(&folder, &paths.exec.join("trash"))?;
        }
    }
    for folder in folders(&paths.data.join("containers"))? {
        if !owned(&folder) && !Logs::claim(paths, &folder) {
            throw_away(&folder, &paths.data.join("trash"))?;
        }
    }
    Ok(())
}

/// A shim whose container has no record any more: a removal was cut short. It and its processes are ended.
fn end_orphan(folder: &Path, boot_id: &str) {
    let Some(record) = read_shim(folder, boot_id) else { return };
    if is_same_process(&record) {
        let pid = rustix::process::Pid::from_raw(record.pid);
        if let Some(pidfd) =
            pid.and_then(|p| rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty()).ok())
            // Looked at again through the descriptor: the number cannot have been given away since.
            && is_same_process(&record)
        {
            let _ended = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        }
    }
    let removed = cgroups::Hierarchies::detect().and_then(|hierarchies| {
        let group = cgroups::Group::open(&hierarchies, &record.cgroup)?;
        group.kill()?;
        group.remove()
    });
    if let Err(e) = removed
        && e.kind() != stdx::Kind::NotFound
    {
        tracing::warn!(cgroup = %record.cgroup, "sweep: {e}");
    }
}

fn read_shim(folder: &Path, boot_id: &str) -> Option<ShimRecord> {
    let record: ShimRecord =
        serde_json::from_slice(&std::fs::read(folder.join("shim.json")).ok()?).ok()?;
    (record.boot_id == boot_id).then_some(record)
}

/// Whether the process of a shim's record still is that process (field 22 of `/proc/PID/stat`, its start time).
fn is_same_process(record: &ShimRecord) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", record.pid)) else {
        return false;
    };
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(19).and_then(|t| t.parse::<u64>().ok())
        == Some(record.start_time)
}

/// The endpoints of containers whose shims live.
fn live_endpoints(
    services: &Services,
    known: &HashMap<String, ContainerRecord>,
) -> Vec<(EndpointRecord, Live)> {
    let of_container = |record: &ContainerRecord| {
        let folder = services.paths.exec_of(&record.id);
        let shim = read_shim(&folder, &services.boot_id).filter(is_same_process);
        let pid = shim.as_ref().and_then(|shim| shim.container_pid);
        let endpoints = if shim.is_some() { Networks::endpoints_of(&folder) } else { Vec::new() };
        let live = move |owned: EndpointRecord| {
            let netns = pid.and_then(|pid| std::fs::File::open(format!("/proc/{pid}/ns/net")).ok());
            let live = Live {
                endpoint: networks::of_record(&owned, record)?,
                joined: networks::joined_of(&owned),
                published: owned.ports.iter().flat_map(networks::published_of).collect(),
                netns: netns.map(Into::into),
            };
            Some((owned, live))
        };
        endpoints.into_iter().filter_map(live).collect::<Vec<_>>()
    };
    known.values().flat_map(of_container).collect()
}

/// The daemon's id, made up once for a data-root.
fn daemon_id(data_root: &Path) -> Result<String> {
    let path = data_root.join("daemon-id");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let hex: String = mounts::random()?[..16].iter().map(|b| format!("{b:02x}")).collect();
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    replace(&path, id.as_bytes(), 0o600, Durability::Power)?;
    Ok(id)
}

/// What cgroups can do here, by the names that `info` uses.
fn features(hierarchies: &cgroups::Hierarchies) -> std::collections::BTreeMap<&'static str, bool> {
    let f = hierarchies.features();
    std::collections::BTreeMap::from([
        ("MemoryLimit", f.memory_limit),
        ("SwapLimit", f.swap_limit),
        ("CpuCfsPeriod", f.cpu_cfs),
        ("CpuCfsQuota", f.cpu_cfs),
        ("CPUShares", f.cpu_shares),
        ("CPUSet", f.cpuset),
        ("PidsLimit", f.pids_limit),
        ("OomKillDisable", f.oom_kill_disable),
        ("MemoryReservation", f.memory_reservation),
        ("MemorySwappiness", f.memory_swappiness),
        ("KernelMemoryTCP", f.kernel_memory_tcp),
        ("CpuRealtime", f.cpu_realtime),
        ("BlkioWeight", f.blkio_weight),
        ("BlkioThrottle", f.blkio_throttle),
    ])
}
