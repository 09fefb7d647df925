//! Which hierarchies the host has and which controllers live where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use stdx::{Context, Error, Result};

use crate::dir::Dir;

/// How the host's controllers are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies, and a v2 hierarchy beside them.
    Hybrid,
    /// One v2 hierarchy for everything.
    V2,
}

impl Version {
    /// What `docker info` says: `"1"` or `"2"`; hybrid counts as 1, as in Docker.
    pub fn docker(self) -> &'static str {
        match self {
            Self::V1 | Self::Hybrid => "1",
            Self::V2 => "2",
        }
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Whether this is the v2 hierarchy.
    pub(crate) unified: bool,
    /// Where it is mounted; our groups are beneath this directory.
    pub(crate) mount: PathBuf,
    /// v1: the mount's controllers (and `name=…`); v2: the controllers that the root offers.
    pub(crate) controllers: Vec<String>,
}

/// Every hierarchy of the host, looked up once.
///
/// The text form (`Display`, `FromStr`) is one line per hierarchy, `1:cpu,cpuacct:/sys/fs/cgroup/cpu,cpuacct` or
/// `2:memory,pids:/sys/fs/cgroup`; the daemon passes it to its shims, so that they need not look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// v1 in the order of mountinfo, then v2.
    pub(crate) all: Vec<Hierarchy>,
}

/// What the host's controllers can limit, as `docker info` tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// `MemoryLimit`
    pub memory_limit: bool,
    /// `SwapLimit`
    pub swap_limit: bool,
    /// Soft limits.
    pub memory_reservation: bool,
    /// Per-group swappiness; never on v2.
    pub memory_swappiness: bool,
    /// `OomKillDisable`; never on v2.
    pub oom_kill_disable: bool,
    /// `KernelMemoryTCP`; never on v2.
    pub kernel_memory_tcp: bool,
    /// `CPUShares`
    pub cpu_shares: bool,
    /// `CpuCfsPeriod` and `CpuCfsQuota`
    pub cpu_cfs: bool,
    /// Real-time runtime and period; never on v2.
    pub cpu_realtime: bool,
    /// `CPUSet`
    pub cpuset: bool,
    /// `PidsLimit`
    pub pids_limit: bool,
    /// Relative weight of block devices.
    pub blkio_weight: bool,
    /// Throttling of block devices, bytes and operations.
    pub blkio_throttle: bool,
    /// Devices can be denied (v1 controller, or v2 with its eBPF programs).
    pub devices: bool,
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo` and the v2 root's controllers.
    ///
    /// In a container or a cgroup namespace what counts as root is what is mounted there: groups are always made
    /// beneath the mount point. Fails when no hierarchy is mounted at all.
    pub fn detect() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/self/mountinfo")
            .context(|| "read /proc/self/mountinfo")?;
        let mut found = Self { all: parse_mountinfo(&text) };
        for hierarchy in found.all.iter_mut().filter(|h| h.unified) {
            let controllers = Dir::open(&hierarchy.mount)?.read("cgroup.controllers")?;
            hierarchy.controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        if found.all.is_empty() {
            return Err(Error::internal(
                "no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup",
            ));
        }
        Ok(found)
    }

    /// How the hierarchies are laid out.
    pub fn version(&self) -> Version {
        match (self.all.iter().any(|h| !h.unified), self.unified().is_some()) {
            (true, false) => Version::V1,
            (true, true) => Version::Hybrid,
            (false, _) => Version::V2,
        }
    }

    /// Where v1 hierarchies are in use: those alone, and where the v2 hierarchy beside them is mounted. For programs
    /// that know one kind or the other.
    pub fn without_hybrid(mut self) -> (Self, Option<PathBuf>) {
        let unified = self.unified().filter(|_| self.version() == Version::Hybrid);
        let hidden = unified.map(|h| h.mount.clone());
        if hidden.is_some() {
            self.all.retain(|h| !h.unified);
        }
        (self, hidden)
    }

    /// Whether some hierarchy has `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.home(controller).is_some()
    }

    /// What can be limited here; reads a few names beneath the mount points.
    pub fn features(&self) -> Features {
        let v1 = |controller: &str, file: &str| {
            self.home(controller).is_some_and(|h| !h.unified && h.mount.join(file).exists())
        };
        let v2 = |controller: &str| self.home(controller).is_some_and(|h| h.unified);
        Features {
            memory_limit: self.has("memory"),
            swap_limit: v1("memory", "memory.memsw.limit_in_bytes")
                || (v2("memory") && Path::new("/proc/swaps").exists()),
            memory_reservation: self.has("memory"),
            memory_swappiness: v1("memory", "memory.swappiness"),
            oom_kill_disable: v1("memory", "memory.oom_control"),
            kernel_memory_tcp: v1("memory", "memory.kmem.tcp.limit_in_bytes"),
            cpu_shares: v1("cpu", "cpu.shares") || v2("cpu"),
            cpu_cfs: v1("cpu", "cpu.cfs_quota_us") || v2("cpu"),
            cpu_realtime: v1("cpu", "cpu.rt_runtime_us"),
            cpuset: self.has("cpuset"),
            pids_limit: self.has("pids"),
            blkio_weight: v1("blkio", "blkio.weight")
                // bfq's own weight is only in groups, its counters are in the root as well.
                || v1("blkio", "blkio.bfq.io_service_bytes")
                || v2("io"),
            blkio_throttle: v1("blkio", "blkio.throttle.read_bps_device") || v2("io"),
            devices: self.has("devices") || self.version() == Version::V2,
        }
    }

    /// The hierarchy that has `controller`; v1 first, since a controller is only ever in one.
    pub(crate) fn home(&self, controller: &str) -> Option<&Hierarchy> {
        self.all.iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// The v2 hierarchy, with or without controllers.
    pub(crate) fn unified(&self) -> Option<&Hierarchy> {
        self.all.iter().find(|h| h.unified)
    }
}

impl fmt::Display for Hierarchies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, hierarchy) in self.all.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            let version = if hierarchy.unified { 2 } else { 1 };
            let controllers = hierarchy.controllers.join(",");
            write!(f, "{newline}{version}:{controllers}:{}", hierarchy.mount.display())?;
        }
        Ok(())
    }
}

impl FromStr for Hierarchies {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let line = |line: &str| {
            let mut fields = line.splitn(3, ':');
            let unified = match fields.next()? {
                "1" => false,
                "2" => true,
                _ => return None,
            };
            let controllers =
                fields.next()?.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
            let mount = PathBuf::from(fields.next()?);
            mount.is_absolute().then_some(Hierarchy { unified, mount, controllers })
        };
        let all = text
            .lines()
            .map(|l| {
                line(l).ok_or_else(|| Error::invalid(format!("\"{l}\" is no cgroup hierarchy")))
            })
            .collect::<Result<Vec<_>>>()?;
        if all.is_empty() {
            return Err(Error::invalid("no cgroup hierarchy is given"));
        }
        Ok(Self { all })
    }
}

/// Words among the superblock options of a v1 mount that are not controllers (cgroups(7), kernel `cgroup-v1.c`).
const NO_CONTROLLERS: [&str; 8] = [
    "rw",
    "ro",
    "xattr",
    "noprefix",
    "clone_children",
    "cpuset_v2_mode",
    "favordynmods",
    "nofavordynmods",
];

/// The hierarchies of a mountinfo text (proc(5)), the v2 one last and still without controllers.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split(' ');
        let (Some(kind), Some(_source), options) =
            (right.next(), right.next(), right.next().unwrap_or(""))
        else {
            continue;
        };
        let Some(mount) = left.split(' ').nth(4) else { continue };
        let mount = PathBuf::from(unescape(mount));
        let hierarchy = match kind {
            "cgroup2" => Hierarchy { unified: true, mount, controllers: Vec::new() },
            "cgroup" => {
                let controllers: Vec<String> = options
                    .split(',')
                    .filter(|o| !NO_CONTROLLERS.contains(o) && !o.starts_with("release_agent="))
                    .map(str::to_owned)
                    .collect();
                Hierarchy { unified: false, mount, controllers }
            }
            _ => continue,
        };
        // The same hierarchy may be mounted many times (bind mounts into chroots): the first is the host's own, and of
        // two at one place the later hides the earlier.
        let known = found
            .iter_mut()
            .find(|h| h.unified == hierarchy.unified && h.controllers == hierarchy.controllers);
        match known {
            Some(known) if known.mount == hierarchy.mount => *known = hierarchy,
            Some(_) => {}
            None => found.push(hierarchy),
        }
    }
    found.sort_by_key(|h| h.unified);
    found
}

/// Undoes the octal escapes of mountinfo (`\040` is a space).
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        match bytes {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                bytes = rest;
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        Hierarchies { all: parse_mountinfo(text) }.to_string()
    }

    const SYSTEMD_V1: &str = "\
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,size=4096k,mode=755
29 28 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
30 28 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
33 28 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
34 28 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory,release_agent=/x
";

    #[test]
    fn hybrid_has_comounted_and_named_hierarchies() {
        assert_eq!(
            show(SYSTEMD_V1),
            "1:name=systemd:/sys/fs/cgroup/systemd\n1:cpu,cpuacct:/sys/fs/cgroup/cpu,cpuacct\n\
             1:memory:/sys/fs/cgroup/memory\n2::/sys/fs/cgroup/unified"
        );
        let found = Hierarchies { all: parse_mountinfo(SYSTEMD_V1) };
        assert_eq!(found.version(), Version::Hybrid);
        assert_eq!(found.version().docker(), "1");
        assert!(found.has("cpuacct") && found.has("name=systemd") && !found.has("pids"));
    }

    #[test]
    fn pure_v2_and_pure_v1() {
        let v2 = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        assert_eq!(Hierarchies { all: parse_mountinfo(v2) }.version(), Version::V2);
        let v1: String = SYSTEMD_V1
            .lines()
            .filter(|l| !l.contains("cgroup2"))
            .map(|l| format!("{l}\n"))
            .collect();
        assert_eq!(Hierarchies { all: parse_mountinfo(&v1) }.version(), Version::V1);
    }

    #[test]
    fn the_first_mount_of_a_hierarchy_counts_and_roots_of_containers_are_accepted() {
        let text = "\
40 28 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 28 0:32 /docker/ab /var/lib/x/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
42 28 0:33 / /mnt/with\\040space rw - cgroup cgroup rw,pids
garbage
";
        assert_eq!(show(text), "1:memory:/sys/fs/cgroup/memory\n1:pids:/mnt/with space");
    }

    #[test]
    fn the_text_form_is_read_back() {
        let found = Hierarchies { all: parse_mountinfo(SYSTEMD_V1) };
        assert_eq!(found.to_string().parse::<Hierarchies>().unwrap(), found);
        for bad in ["", "3:memory:/x", "1:memory", "1:memory:relative", "1:a:/x\nfoo"] {
            assert!(bad.parse::<Hierarchies>().is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_has_some() {
        let found = Hierarchies::detect().unwrap();
        assert!(found.has("memory"), "{found}");
        assert!(found.features().memory_limit && found.features().pids_limit);
    }
}
