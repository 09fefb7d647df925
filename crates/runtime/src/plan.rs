//! What is to be done, worked out of the specification before anything is done. Pure: nothing is looked at but the
//! document, so every refusal that needs no kernel happens here.

pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod schedule;
pub(crate) mod sysctl;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use oci::runtime::{Hooks, Linux, NamespaceKind, Spec};
use sys::clone;

use crate::error::{Error, Result};
use crate::hooks;
use crate::ids::IdMaps;
use mounts::MountPlan;
use process::ProcessPlan;

/// Everything `create` is going to do to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// New namespaces, `NEW…` flags; the cgroup one is made later, from inside the cgroup.
    pub(crate) new: u64,
    /// Namespace files to join.
    pub(crate) join: Vec<(NamespaceKind, PathBuf)>,
    /// Ids of the new user namespace.
    pub(crate) ids: Option<IdMaps>,
    pub(crate) hooks: Hooks,
    /// SELinux label of mounts.
    pub(crate) mount_label: Option<String>,
    /// `timens_offsets` of the new time namespace, as the kernel reads them.
    pub(crate) time_offsets: Option<String>,
    pub(crate) readonly_root: bool,
    /// The directory of the root file system when the caller has no better description.
    pub(crate) root_path: Option<PathBuf>,
    /// `MS_SHARED` or 0: what the root becomes after pivoting.
    pub(crate) root_propagation: u64,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) devices: Vec<DevicePlan>,
    /// Whether `/dev` is ours to fill; not when the host's is mounted there.
    pub(crate) fill_dev: bool,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) readonly: Vec<PathBuf>,
    /// Paths beneath `/proc/sys` and values.
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) personality: Option<u32>,
    pub(crate) process: ProcessPlan,
}

/// A device node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DevicePlan {
    pub(crate) path: PathBuf,
    pub(crate) kind: DeviceKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What `mknod` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Character,
    Block,
    Fifo,
}

impl Plan {
    /// Reads a specification. `netns`: the caller brings a network namespace, which then wins over the document's.
    pub(crate) fn from_spec(spec: &Spec, netns: bool) -> Result<Self> {
        let nothing = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&nothing);
        refuse_what_is_missing(linux)?;
        let (new, join) = namespaces(linux, netns)?;
        let ids = ids(linux, new, &join)?;
        let hooks = spec.hooks.clone().unwrap_or_default();
        hooks::check(&hooks)?;
        let has = |kind, flag| new & flag != 0 || join.iter().any(|(k, _)| *k == kind);
        let own = sysctl::Own {
            ipc: has(NamespaceKind::Ipc, clone::NEWIPC),
            network: netns || has(NamespaceKind::Network, clone::NEWNET),
            uts: has(NamespaceKind::Uts, clone::NEWUTS),
        };
        if (spec.hostname.is_some() || spec.domainname.is_some()) && !own.uts {
            return Err(invalid("unable to set hostname without a private UTS namespace"));
        }
        let process =
            spec.process.as_ref().ok_or_else(|| invalid("the specification has no process"))?;
        let mounts = spec.mounts.iter().map(MountPlan::from_spec).collect::<Result<Vec<_>>>()?;
        let mut process = ProcessPlan::from_spec(process)?;
        process.schedule.memory =
            linux.memory_policy.as_ref().map(schedule::memory_policy).transpose()?;
        Ok(Self {
            new,
            join,
            ids,
            hooks,
            mount_label: linux.mount_label.clone().filter(|l| !l.is_empty()),
            time_offsets: time_offsets(linux, new)?,
            readonly_root: spec.root.as_ref().is_some_and(|r| r.readonly),
            root_path: spec.root.as_ref().map(|r| r.path.clone()),
            root_propagation: root_propagation(linux.rootfs_propagation.as_deref())?,
            fill_dev: !mounts.iter().any(|m| m.target == Path::new("/dev") && m.is_bind()),
            mounts,
            devices: devices(linux)?,
            masked: paths("maskedPaths", &linux.masked_paths)?,
            readonly: paths("readonlyPaths", &linux.readonly_paths)?,
            sysctls: sysctl::check(&linux.sysctl, own)?,
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
            personality: personality(linux)?,
            process,
        })
    }

    /// Whether a go-between must make the process: what it joins or sets up counts for children only, or can no more be
    /// done by a process in another user namespace.
    pub(crate) fn needs_go_between(&self) -> bool {
        self.time_offsets.is_some() || self.has_user_namespace() || self.joins(NamespaceKind::Pid)
    }

    /// Whether the container's ids are not its creator's.
    pub(crate) fn has_user_namespace(&self) -> bool {
        self.ids.is_some() || self.joins(NamespaceKind::User)
    }

    /// Whether a namespace of this kind is joined.
    pub(crate) fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|(k, _)| *k == kind)
    }

    /// Whether programs of the host look at the container's root file system before it is pivoted to.
    pub(crate) fn has_creating_hooks(&self) -> bool {
        !(self.hooks.prestart.is_empty()
            && self.hooks.create_runtime.is_empty()
            && self.hooks.create_container.is_empty())
    }
}

/// An absolute path without `.` and empty components, and with `..` taken literally as "one up, at most to the root".
pub(crate) fn clean(what: &str, path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() {
        return Err(invalid(format!("{what}: path {} is not absolute", path.display())));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(invalid(format!("{what}: path {} has a NUL byte", path.display())));
    }
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    Ok(out)
}

pub(crate) fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

fn not_yet(text: impl Into<String>) -> Error {
    Error::NotImplemented(text.into())
}

fn refuse_what_is_missing(linux: &Linux) -> Result<()> {
    if linux.intel_rdt.is_some() {
        return Err(not_yet("intelRdt is specified in config, but Intel RDT is not supported"));
    }
    if !linux.net_devices.is_empty() {
        return Err(not_yet(
            "netDevices is not supported: move the devices with ip link set ... netns",
        ));
    }
    Ok(())
}

fn ids(linux: &Linux, new: u64, join: &[(NamespaceKind, PathBuf)]) -> Result<Option<IdMaps>> {
    let given = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if new & clone::NEWUSER == 0 {
        // With a namespace that is joined they only repeat what it has.
        if given && !join.iter().any(|(kind, _)| *kind == NamespaceKind::User) {
            return Err(invalid(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        return Ok(None);
    }
    let maps = IdMaps::new("user namespace", &linux.uid_mappings, &linux.gid_mappings)?;
    if maps.root().is_none() {
        return Err(invalid("user namespaces enabled, but no mapping found for uid 0 and gid 0"));
    }
    Ok(Some(maps))
}

fn namespaces(linux: &Linux, netns: bool) -> Result<(u64, Vec<(NamespaceKind, PathBuf)>)> {
    let mut seen = BTreeSet::new();
    let (mut new, mut join) = (0, Vec::new());
    for namespace in &linux.namespaces {
        if !seen.insert(namespace.kind) {
            return Err(invalid(format!("duplicated namespace: {:?}", namespace.kind)));
        }
        let path = namespace.path.as_deref().filter(|p| !p.as_os_str().is_empty());
        match (namespace.kind, path) {
            (NamespaceKind::Mount, Some(_)) => {
                return Err(not_yet(
                    "joining a mount namespace is not supported: its root would be replaced for whoever lives in it",
                ));
            }
            (NamespaceKind::Network, _) if netns => {}
            (kind, None) => new |= flag(kind),
            (kind, Some(path)) if path.is_absolute() => join.push((kind, path.to_owned())),
            (_, Some(path)) => {
                return Err(invalid(format!("namespace path {} is not absolute", path.display())));
            }
        }
    }
    if new & clone::NEWNS == 0 {
        return Err(invalid("a container needs a mount namespace of its own"));
    }
    Ok((new, join))
}

/// The `NEW…` flag of a kind of namespace.
pub(crate) fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Pid => clone::NEWPID,
        NamespaceKind::Network => clone::NEWNET,
        NamespaceKind::Mount => clone::NEWNS,
        NamespaceKind::Ipc => clone::NEWIPC,
        NamespaceKind::Uts => clone::NEWUTS,
        NamespaceKind::User => clone::NEWUSER,
        NamespaceKind::Cgroup => clone::NEWCGROUP,
        NamespaceKind::Time => clone::NEWTIME,
    }
}

fn time_offsets(linux: &Linux, new: u64) -> Result<Option<String>> {
    let mut text = String::new();
    for (clock, offset) in &linux.time_offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(invalid(format!("unknown clock {clock:?} in timeOffsets")));
        }
        if offset.secs != 0 || offset.nanosecs != 0 {
            text.push_str(&format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
        }
    }
    if !text.is_empty() && new & clone::NEWTIME == 0 {
        return Err(invalid(
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ));
    }
    Ok((!text.is_empty()).then_some(text))
}

fn root_propagation(word: Option<&str>) -> Result<u64> {
    match word.unwrap_or("") {
        // Inside a namespace of its own the root has nobody to be a slave of; mounts carry their own propagation.
        "" | "private" | "rprivate" | "slave" | "rslave" => Ok(sys::mount::PRIVATE),
        "shared" | "rshared" => Ok(sys::mount::SHARED),
        "unbindable" | "runbindable" => Ok(sys::mount::UNBINDABLE),
        other => Err(invalid(format!("rootfsPropagation={other} is not supported"))),
    }
}

/// The nodes that every container has (runtime-spec, `config-linux.md`, default devices).
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

fn devices(linux: &Linux) -> Result<Vec<DevicePlan>> {
    let default = |(name, major, minor): (&str, u32, u32)| DevicePlan {
        path: Path::new("/dev").join(name),
        kind: DeviceKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let mut plans: Vec<DevicePlan> =
        Vec::with_capacity(DEFAULT_DEVICES.len() + linux.devices.len());
    for device in &linux.devices {
        let path = clean("device", &device.path)?;
        let kind = match device.kind.as_str() {
            "c" | "u" => DeviceKind::Character,
            "b" => DeviceKind::Block,
            "p" => DeviceKind::Fifo,
            other => {
                return Err(invalid(format!("device {}: unknown type {other:?}", path.display())));
            }
        };
        let number = |n: Option<i64>| {
            let n = if kind == DeviceKind::Fifo { Some(0) } else { n };
            let number = n.and_then(|n| u32::try_from(n).ok());
            number.ok_or_else(|| invalid(format!("device {}: bad device number", path.display())))
        };
        plans.push(DevicePlan {
            kind,
            major: number(device.major)?,
            minor: number(device.minor)?,
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
            path,
        });
    }
    for device in DEFAULT_DEVICES.map(default) {
        if !plans.iter().any(|p| p.path == device.path) {
            plans.push(device);
        }
    }
    Ok(plans)
}

fn paths(what: &str, list: &[String]) -> Result<Vec<PathBuf>> {
    list.iter().map(|p| clean(what, Path::new(p))).collect()
}

fn personality(linux: &Linux) -> Result<Option<u32>> {
    let Some(personality) = &linux.personality else { return Ok(None) };
    if !personality.flags.is_empty() {
        return Err(invalid("personality flags are not supported by the specification"));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(Some(0)),
        "LINUX32" => Ok(Some(sys::process::PERSONALITY_LINUX32)),
        other => Err(invalid(format!("unknown personality domain {other:?}"))),
    }
}

#[cfg(test)]
mod tests;
