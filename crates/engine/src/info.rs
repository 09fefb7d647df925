//! What this host and this daemon are.

use crate::Engine;
use crate::containers::view::Status;
use crate::metrics::{HostFunction, Metrics};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use stdx::{Context as _, Result};

/// What the host is; found once, when the daemon starts.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) kernel: String,
    pub(crate) os: String,
    pub(crate) os_version: String,
    pub(crate) architecture: String,
    pub(crate) cpus: usize,
    pub(crate) memory: u64,
    pub(crate) hostname: String,
    pub(crate) cgroup_version: &'static str,
    pub(crate) capabilities: u64,
    pub(crate) boot_id: String,
    /// The file that says whom the host asks for names.
    resolv_conf: PathBuf,
}

impl Host {
    pub(crate) fn look(
        cgroup_version: &'static str,
        resolv_conf: PathBuf,
        metrics: &Metrics,
    ) -> Result<Self> {
        let uname = rustix::system::uname();
        let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
        let read = |path: &str| std::fs::read_to_string(path).context(|| format!("read {path}"));
        let status = read("/proc/self/status")?;
        let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap_or("0").trim();
        let meminfo = read("/proc/meminfo")?;
        let kilobytes = meminfo
            .lines()
            .find_map(|l| l.strip_prefix("MemTotal:"))
            .and_then(|l| l.split_whitespace().next())
            .and_then(|n| n.parse::<u64>().ok());
        Ok(Self {
            kernel: text(uname.release()),
            os: os_name(metrics),
            os_version: os_version(metrics),
            architecture: text(uname.machine()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kilobytes.unwrap_or(0) * 1024,
            hostname: text(uname.nodename()),
            cgroup_version,
            capabilities: u64::from_str_radix(bounding, 16).unwrap_or(0),
            boot_id: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            resolv_conf,
        })
    }

    /// Where the host's resolver configuration is, and what it is now; empty when there is none.
    pub(crate) fn resolv_conf(&self) -> (String, String) {
        let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        (self.resolv_conf.display().to_string(), text)
    }
}

fn os_name(metrics: &Metrics) -> String {
    let began = Instant::now();
    let name = os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned());
    metrics.found(HostFunction::OperatingSystem, began.elapsed());
    name
}

fn os_version(metrics: &Metrics) -> String {
    let began = Instant::now();
    let version = os_release("VERSION_ID").unwrap_or_default();
    metrics.found(HostFunction::OsVersion, began.elapsed());
    version
}

/// A field of os-release(5).
fn os_release(field: &str) -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .ok()?;
    let value =
        release.lines().find_map(|l| l.strip_prefix(field).and_then(|l| l.strip_prefix('=')))?;
    Some(value.trim_matches('"').to_owned())
}

/// What `info` tells.
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// The daemon's id.
    pub id: String,
    /// How many containers there are.
    pub containers: usize,
    /// Of which running.
    pub running: usize,
    /// Of which paused.
    pub paused: usize,
    /// Of which stopped.
    pub stopped: usize,
    /// How many images.
    pub images: usize,
    /// The storage driver, in Docker's word.
    pub driver: String,
    /// What there is to say of it.
    pub driver_status: Vec<(String, String)>,
    /// The data-root.
    pub root_dir: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `cgroupfs`
    pub cgroup_driver: String,
    /// The kernel's release.
    pub kernel: String,
    /// The operating system's name.
    pub os: String,
    /// As `uname -m`.
    pub architecture: String,
    /// Processors.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// The host's name.
    pub name: String,
    /// What confines containers, such as `name=seccomp,profile=builtin`.
    pub security_options: Vec<String>,
    /// OCI runtimes by name; `None`: the built-in one.
    pub runtimes: Vec<(String, Option<container::runtimes::Program>)>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// Registries that may be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub mirrors: Vec<String>,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// Proxies in use, without passwords.
    pub proxies: crate::Proxies,
    /// Clients are told that experimental features are on.
    pub experimental: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What of the host's own is other than it would be without this daemon; `gantryd --cleanup` undoes it.
    pub host_changes: Vec<String>,
    /// Containers outlive the daemon.
    pub live_restore: bool,
    /// Debug messages are on.
    pub debug: bool,
    /// Open descriptors of the daemon.
    pub descriptors: usize,
    /// Subscribers to events.
    pub listeners: usize,
    /// IPv4 packets are forwarded.
    pub forwarding: bool,
    /// Log drivers there are.
    pub log_drivers: Vec<String>,
    /// Network drivers there are.
    pub network_drivers: Vec<String>,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// Kernel features by Docker's names (`MemoryLimit`, `SwapLimit`, …).
    pub features: BTreeMap<&'static str, bool>,
}

impl Engine {
    /// What the kernel's cgroups can limit, by Docker's names (`MemoryLimit`, `BlkioWeight`, …).
    pub fn features(&self) -> &BTreeMap<&'static str, bool> {
        &self.inner.features
    }

    /// What confines containers that do not say otherwise.
    fn security_options(&self) -> Vec<String> {
        let defaults = &self.inner.defaults;
        let strict = defaults.profile == crate::SecurityProfile::Strict;
        let mut options = vec![match defaults.seccomp.as_deref() {
            None | Some("builtin") => "name=seccomp,profile=builtin",
            Some("unconfined") => "name=seccomp,profile=unconfined",
            Some(_) => "name=seccomp,profile=custom",
        }];
        if strict || self.inner.user_namespaces != crate::userns::Default::Host {
            options.push("name=userns");
        }
        if defaults.cgroupns_mode != "host" || strict {
            options.push("name=cgroupns");
        }
        if defaults.no_new_privileges || strict {
            options.push("name=no-new-privileges");
        }
        if strict {
            options.push("name=profile,profile=strict");
        }
        options.into_iter().map(str::to_owned).collect()
    }

    /// What this daemon is and has.
    pub fn info(&self) -> Info {
        let began = Instant::now();
        let host = &self.inner.host;
        let settings = self.settings();
        let mut info = Info {
            id: self.inner.daemon_id.clone(),
            images: self.image_count(),
            driver: "overlay2".to_owned(),
            driver_status: vec![
                ("Backing Filesystem".to_owned(), "extfs".to_owned()),
                ("Supports d_type".to_owned(), "true".to_owned()),
                ("Using metacopy".to_owned(), "false".to_owned()),
                ("Native Overlay Diff".to_owned(), "true".to_owned()),
                ("userxattr".to_owned(), "false".to_owned()),
            ],
            root_dir: settings.data_root.display().to_string(),
            cgroup_version: host.cgroup_version.to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            kernel: host.kernel.clone(),
            os: host.os.clone(),
            architecture: host.architecture.clone(),
            cpus: host.cpus,
            memory: host.memory,
            name: host.hostname.clone(),
            security_options: self.security_options(),
            runtimes: self.inner.services.runtimes.all(),
            default_runtime: self.inner.services.runtimes.default_name(),
            insecure_registries: settings.insecure_registries.clone(),
            mirrors: settings.registry_mirrors.clone(),
            labels: settings.labels.clone(),
            proxies: settings.proxies.effective().shown(),
            experimental: settings.experimental,
            warnings: self.inner.networks.warnings(),
            host_changes: self.inner.networks.changes(),
            live_restore: settings.live_restore,
            debug: settings.debug,
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            listeners: self.inner.events.listeners(),
            forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|t| t.trim() == "1"),
            log_drivers: self.inner.logs.registry().names(),
            network_drivers: self.inner.networks.driver_names(),
            log_driver: settings.log_driver.clone(),
            features: self.inner.features.clone(),
            ..Info::default()
        };
        for container in self.inner.containers.all() {
            let now = container.now();
            info.containers += 1;
            match crate::containers::view::status(&now) {
                Status::Running | Status::Restarting => info.running += 1,
                Status::Paused => info.paused += 1,
                Status::Created | Status::Exited | Status::Removing | Status::Dead => {
                    info.stopped += 1
                }
            }
        }
        self.inner.metrics.found(HostFunction::SystemInfo, began.elapsed());
        info
    }

    /// Events that happened since `since` (the last 256 are kept), then live ones, until `until`.
    pub fn subscribe(
        &self,
        since: Option<stdx::time::Timestamp>,
        until: Option<stdx::time::Timestamp>,
    ) -> crate::EventStream {
        self.inner.events.subscribe(since, until)
    }
}
