//! A container's record to its OCI runtime configuration. Pure: nothing is looked at but the arguments.

mod resources;

pub use resources::limits;

use crate::{capabilities, strict, userns};
use oci::runtime as oci;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use stdx::Result;
use store::records::container::{ContainerRecord, HostConfig, MountKind, MountPoint, Resources};
use sys::userns::IdMaps;

/// What a specification needs beside the record.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// The files that the engine keeps for the container.
    pub files: &'a EngineFiles,
    /// `gantry-init` on the host, for `--init`.
    pub init: &'a Path,
    /// Whether a container has one that does not say.
    pub default_init: bool,
    /// The cgroup's path below the hierarchies' roots.
    pub cgroup: &'a str,
    /// The capabilities that the daemon has (`CapBnd`).
    pub capabilities: u64,
    /// Processes a container may have when nobody says otherwise.
    pub default_pids_limit: i64,
    /// The devices of the host, for `--privileged`.
    pub host_devices: &'a [oci::Device],
    /// The devices that `--device` named, resolved.
    pub devices: &'a [(oci::Device, String)],
    /// The limits of block devices, resolved.
    pub block_io: &'a oci::BlockIo,
    /// The ids of its user namespace; `None`: it has the host's.
    pub ids: Option<&'a IdMaps>,
    /// What its legacy links tell it.
    pub link_env: &'a [String],
    /// The processors' counters of being too hot, which tell what the host does (GHSA-6fw5): hidden, too.
    pub thermal: &'a [String],
    /// Limits of swap are a number of their own (cgroup v2), not part of a sum.
    pub swap_alone: bool,
}

/// The files that the engine writes for each container and mounts into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFiles {
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/hostname`.
    pub hostname: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHM: i64 = 64 << 20;
/// Stands for the `/dev/shm` of another container.
const SHARED: &str = "/nonexistent/shared-memory";
/// The option of a mount whose files have the container's ids.
const MAPPED: &str = "idmap";
/// Where `gantry-init` appears in a container; Docker's place, since scripts look for it.
const INIT: &str = "/sbin/docker-init";

/// Paths that containers must not see (`security.md` section 4).
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that containers must not write.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The paths hidden from containers that do not say.
pub fn default_masked_paths() -> Vec<String> {
    MASKED.iter().map(|p| (*p).to_owned()).collect()
}

/// The paths read-only in containers that do not say.
pub fn default_readonly_paths() -> Vec<String> {
    READ_ONLY.iter().map(|p| (*p).to_owned()).collect()
}

/// The program and its arguments: entry point, then command.
pub fn command_line(record: &ContainerRecord) -> Vec<String> {
    let config = &record.config;
    config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect()
}

/// The host name inside: what was asked for, or the first twelve digits of the id.
pub fn hostname(record: &ContainerRecord) -> &str {
    if record.config.hostname.is_empty() { &record.id[..12] } else { &record.config.hostname }
}

/// The whole specification of `record`.
pub fn oci_spec(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<oci::Spec> {
    let host = &record.host;
    Ok(oci::Spec {
        oci_version: "1.2.0".to_owned(),
        root: Some(oci::Root { path: PathBuf::from("rootfs"), readonly: host.readonly_rootfs }),
        mounts: mounts(record, around),
        process: Some(process(record, around)?),
        hostname: (host.uts_mode != "host").then(|| hostname(record).to_owned()),
        domainname: (!record.config.domainname.is_empty())
            .then(|| record.config.domainname.clone()),
        hooks: None,
        annotations: host.annotations.clone(),
        linux: Some(linux(record, around)?),
    })
}

/// The environment of the container's first process. What the image or the user set wins over our defaults.
///
/// `links`: what its legacy links tell it.
pub fn environment(record: &ContainerRecord, terminal: bool, links: &[String]) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", hostname(record))];
    if terminal {
        env.push("TERM=xterm".to_owned());
    }
    env.extend_from_slice(links);
    merge_env(&mut env, &record.config.env);
    env
}

/// Puts `more` over `env` by name. Entries without `=` are dropped, never filled from the daemon's own environment
/// (CVE-2026-57231).
pub fn merge_env(env: &mut Vec<String>, more: &[String]) {
    let old = std::mem::take(env);
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(old.len() + more.len());
    // The first of a name is the one that is replaced.
    for (place, entry) in old.iter().enumerate() {
        if let Some((name, _)) = entry.split_once('=') {
            places.entry(name).or_insert(place);
        }
    }
    let mut merged: Vec<&String> = old.iter().collect();
    for entry in more {
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            continue;
        };
        // A table of places: images are strangers', and may have a hundred thousand entries.
        match places.entry(name) {
            Entry::Occupied(place) => merged[*place.get()] = entry,
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(entry);
            }
        }
    }
    *env = merged.into_iter().cloned().collect();
}

fn process(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<oci::Process> {
    let (config, host) = (&record.config, &record.host);
    let mut args = command_line(record);
    if host.init.unwrap_or(around.default_init) {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let capabilities = capability_sets(record, around.capabilities)?;
    let [rows, columns] = host.console_size;
    Ok(oci::Process {
        terminal: config.tty,
        console_size: (config.tty && rows > 0 && columns > 0)
            .then_some(oci::ConsoleSize { height: rows, width: columns }),
        user: oci::User {
            username: Some(config.user.clone()),
            additional_groups: host.group_add.clone(),
            ..oci::User::default()
        },
        args,
        env: environment(record, config.tty, around.link_env),
        cwd: if config.working_dir.is_empty() {
            "/".to_owned()
        } else {
            config.working_dir.clone()
        },
        capabilities: Some(capabilities),
        rlimits: rlimits(&host.resources),
        no_new_privileges: no_new_privileges(&host.security_opt),
        oom_score_adj: Some(host.oom_score_adj),
        ..oci::Process::default()
    })
}

/// The sets of a container's processes: inheritable and ambient stay empty (CVE-2022-29162).
pub fn capability_sets(record: &ContainerRecord, available: u64) -> Result<oci::Capabilities> {
    let mut base = capabilities::DEFAULT.to_vec();
    if strict::is_strict(&record.host.security_opt) {
        base = strict::capabilities(&base, &record.config.user);
    }
    let names = capabilities::effective(&record.host, &base, available)?;
    Ok(oci::Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    })
}

/// Whether the security options ask for `no_new_privs`.
pub fn no_new_privileges(options: &[String]) -> bool {
    options.iter().any(|o| {
        matches!(
            o.as_str(),
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true"
        )
    })
}

/// `--security-opt writable-cgroups=true`: the container manages groups of its own below its own.
fn writable_cgroups(options: &[String]) -> bool {
    options.iter().any(|o| matches!(o.as_str(), "writable-cgroups" | "writable-cgroups=true"))
}

/// What the container's processes may use of files, core dumps and what else was asked for.
pub(crate) fn rlimits(resources: &Resources) -> Vec<oci::Rlimit> {
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let mut limits: BTreeMap<String, oci::Rlimit> = BTreeMap::new();
    let defaults = [("RLIMIT_NOFILE", 1024, 524_288), ("RLIMIT_CORE", 0, u64::MAX)];
    for (kind, soft, hard) in defaults {
        limits.insert(kind.to_owned(), oci::Rlimit { kind: kind.to_owned(), soft, hard });
    }
    for ulimit in &resources.ulimits {
        let kind = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
        limits.insert(
            kind.clone(),
            oci::Rlimit { kind, soft: limit(ulimit.soft), hard: limit(ulimit.hard) },
        );
    }
    limits.into_values().collect()
}

fn mounts(record: &ContainerRecord, around: &Surroundings<'_>) -> Vec<oci::Mount> {
    let host = &record.host;
    let own: Vec<&str> = record.mounts.iter().map(|m| m.destination.as_str()).collect();
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            if host.privileged {
                &["nosuid", "noexec", "nodev", "rw"]
            } else {
                &["nosuid", "noexec", "nodev", "ro"]
            },
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            if host.privileged || writable_cgroups(&host.security_opt) {
                &["nosuid", "noexec", "nodev", "rw"]
            } else {
                &["nosuid", "noexec", "nodev", "ro"]
            },
        ),
    ];
    // A new mount shows the queues of whatever IPC namespace the container has, the host's too.
    if host.ipc_mode == "host" && around.ids.is_some() {
        // Only the host's root may make one of the host's.
        let place = Path::new("/dev/mqueue");
        mounts.push(bind("/dev/mqueue", place, &["rbind", "nosuid", "noexec", "nodev"]));
    } else {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    if host.ipc_mode == "host" {
        mounts.push(bind(
            "/dev/shm",
            Path::new("/dev/shm"),
            &["rbind", "nosuid", "noexec", "nodev"],
        ));
    } else if crate::join::of_container(&host.ipc_mode).is_some() {
        if !own.contains(&"/dev/shm") {
            // The shim knows the mount; nothing of the host is at this place.
            mounts.push(bind(
                "/dev/shm",
                Path::new(SHARED),
                &["bind", "nosuid", "noexec", "nodev"],
            ));
        }
    } else if host.ipc_mode != "none" && !own.contains(&"/dev/shm") {
        let size = if host.shm_size > 0 { host.shm_size } else { DEFAULT_SHM };
        let size = format!("size={size}");
        mounts.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &size],
        ));
    }
    // A container with the host's network still has its own /etc/hosts and /etc/hostname, as with Docker.
    let files = around.files;
    for (target, source) in [
        ("/etc/resolv.conf", &files.resolv_conf),
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
    ] {
        if !own.contains(&target) {
            let mut options = vec!["rbind", "rprivate"];
            options.extend(host.readonly_rootfs.then_some("ro"));
            options.extend(around.ids.map(|_| MAPPED));
            mounts.push(bind(target, source, &options));
        }
    }
    if host.init.unwrap_or(around.default_init) {
        mounts.push(bind(INIT, around.init, &["bind", "ro", "nosuid", "nodev"]));
    }
    // Shorter destinations first, so that nothing is hidden by what is mounted above it later.
    let mut points: Vec<&MountPoint> = record.mounts.iter().collect();
    points.sort_by_key(|m| Path::new(&m.destination).components().count());
    mounts.extend(points.into_iter().map(|point| {
        let mut mount = mount_point(point);
        // What is the engine's own has the container's ids; the host's own files keep theirs, as with Docker.
        if around.ids.is_some() && point.kind == MountKind::Volume {
            mount.options.push(MAPPED.to_owned());
        }
        mount
    }));
    mounts
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> oci::Mount {
    oci::Mount {
        destination: destination.into(),
        kind: Some(kind.to_owned()),
        source: Some(source.into()),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..oci::Mount::default()
    }
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> oci::Mount {
    oci::Mount { source: Some(source.to_owned()), ..mount(destination, "bind", "", options) }
}

fn mount_point(point: &MountPoint) -> oci::Mount {
    let mut options: Vec<&str> = Vec::new();
    match point.kind {
        MountKind::Tmpfs => {
            options.extend(["nosuid", "nodev"]);
            // Docker's tmpfs is noexec unless its options say otherwise.
            if !point.options.iter().any(|o| o == "exec") {
                options.push("noexec");
            }
            options.extend(point.options.iter().map(String::as_str));
            options.push(if point.rw { "rw" } else { "ro" });
            mount(&point.destination, "tmpfs", "tmpfs", &options)
        }
        MountKind::Bind | MountKind::Volume => {
            options.push(if point.non_recursive { "bind" } else { "rbind" });
            options.push(if point.propagation.is_empty() {
                "rprivate"
            } else {
                &point.propagation
            });
            if !point.rw {
                // As in Docker, read-only is so for what is mounted below, too, unless somebody said otherwise.
                options.push(if point.read_only_non_recursive { "ro" } else { "rro" });
            }
            options.extend(point.options.iter().map(String::as_str));
            let mut mount = bind(&point.destination, &point.source, &options);
            if !point.subpath.is_empty() {
                mount.options.push(format!("X-mount.subdir={}", point.subpath));
            }
            mount
        }
    }
}

fn linux(record: &ContainerRecord, around: &Surroundings<'_>) -> Result<oci::Linux> {
    let host = &record.host;
    let hidden = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(paths) => paths.clone(),
        None if host.privileged => Vec::new(),
        None => default.iter().map(|p| (*p).to_owned()).collect(),
    };
    let unconfined = host.security_opt.iter().any(|o| o == "systempaths=unconfined");
    let masked = hidden(&host.masked_paths, &MASKED);
    let mut devices: Vec<oci::Device> =
        if host.privileged { around.host_devices.to_vec() } else { Vec::new() };
    devices.extend(around.devices.iter().map(|(device, _)| device.clone()));
    let mut namespaces = namespaces(host);
    let mut mappings = (Vec::new(), Vec::new());
    if let Some(ids) = around.ids {
        namespaces.push(oci::Namespace { kind: oci::NamespaceKind::User, path: None });
        mappings = (userns::mappings(&ids.uids), userns::mappings(&ids.gids));
    }
    Ok(oci::Linux {
        namespaces,
        uid_mappings: mappings.0,
        gid_mappings: mappings.1,
        devices,
        cgroups_path: Some(around.cgroup.to_owned()),
        resources: Some(resources::resources(host, around)?),
        rootfs_propagation: rootfs_propagation(&record.mounts),
        sysctl: host.sysctls.clone(),
        masked_paths: match masked {
            masked if unconfined || masked.is_empty() => Vec::new(),
            masked => masked.into_iter().chain(around.thermal.iter().cloned()).collect(),
        },
        readonly_paths: if unconfined {
            Vec::new()
        } else {
            hidden(&host.readonly_paths, &READ_ONLY)
        },
        ..oci::Linux::default()
    })
}

/// A bind that shall see mounts of the host (or the host its own) needs a root that lets them through.
fn rootfs_propagation(mounts: &[MountPoint]) -> Option<String> {
    let has = |words: [&str; 2]| mounts.iter().any(|m| words.contains(&m.propagation.as_str()));
    if has(["shared", "rshared"]) {
        Some("shared".to_owned())
    } else if has(["slave", "rslave"]) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

fn namespaces(host: &HostConfig) -> Vec<oci::Namespace> {
    use oci::NamespaceKind as Kind;
    let mut kinds = vec![Kind::Mount];
    let mut add = |wanted: bool, kind| wanted.then(|| kinds.push(kind));
    add(host.network_mode != "host", Kind::Network);
    add(host.uts_mode != "host", Kind::Uts);
    add(host.pid_mode != "host", Kind::Pid);
    add(host.ipc_mode != "host", Kind::Ipc);
    add(host.cgroupns_mode != "host", Kind::Cgroup);
    add(!host.privileged, Kind::Time);
    kinds.into_iter().map(|kind| oci::Namespace { kind, path: None }).collect()
}

#[cfg(test)]
mod tests;
