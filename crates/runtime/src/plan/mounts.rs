//! Mount options in the words of mount(8) and of the specification, as the mount API has them.

use std::path::{Path, PathBuf};

use oci::runtime::Mount;
use sys::mount::{self, Attributes};

use super::{clean, invalid};
use crate::error::Result;
use crate::ids::IdMaps;

/// One mount of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// Absolute and clean, inside the container.
    pub(crate) target: PathBuf,
    pub(crate) source: Source,
    /// For this mount itself.
    pub(crate) attributes: Attributes,
    /// For it and all beneath it (`rro` and its like, recursive propagation).
    pub(crate) recursive: Attributes,
    pub(crate) id_map: Option<IdMap>,
    /// Whether a tmpfs begins with what the directory beneath it holds.
    pub(crate) copy_up: bool,
}

/// How the ids of a bind mount's files are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// `None`: as the container's own.
    pub(crate) ids: Option<IdMaps>,
    pub(crate) recursive: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file or directory of the host.
    Bind { path: PathBuf, recursive: bool },
    /// A file system.
    FileSystem { kind: String, name: String, data: Vec<Datum> },
    /// The container's own part of the cgroup hierarchies, whatever their version.
    Cgroup,
}

/// An option of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Datum {
    Flag(String),
    Pair(String, String),
}

/// Files of procfs that may be bound over, as lxcfs does; anything else beneath `/proc` may not (CVE-2015-3630).
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

impl MountPlan {
    /// Reads one mount.
    pub(crate) fn from_spec(spec: &Mount) -> Result<Self> {
        let target = clean("mount", &spec.destination)?;
        let shown = target.display();
        if target == Path::new("/") {
            return Err(invalid("a mount on / would hide the root file system"));
        }
        let mut options = Options::default();
        for word in &spec.options {
            options.take(word);
        }
        let id_map = id_map(spec, &options, &shown.to_string())?;
        let kind = spec.kind.as_deref().unwrap_or("");
        let source = match kind {
            _ if kind == "bind" || options.bind.is_some() => {
                let path = spec.source.as_deref().unwrap_or(Path::new(""));
                if !path.is_absolute() {
                    return Err(invalid(format!(
                        "mount {shown}: source {:?} is not absolute",
                        path.display()
                    )));
                }
                if let Some(datum) = options.data.first() {
                    return Err(invalid(format!(
                        "mount {shown}: a bind mount has no option {datum:?}"
                    )));
                }
                Source::Bind { path: path.to_owned(), recursive: options.bind.unwrap_or(false) }
            }
            "" => return Err(invalid(format!("mount {shown} has no type"))),
            "cgroup" | "cgroup2" => Source::Cgroup,
            _ => {
                let name = spec
                    .source
                    .as_ref()
                    .map_or_else(|| kind.to_owned(), |s| s.to_string_lossy().into_owned());
                Source::FileSystem { kind: kind.to_owned(), name, data: options.data }
            }
        };
        let plan = Self {
            target,
            source,
            attributes: options.own,
            recursive: options.recursive,
            id_map,
            copy_up: options.copy_up,
        };
        plan.check_target()?;
        let shown = plan.target.display();
        if plan.id_map.is_some() && !plan.is_bind() {
            return Err(invalid(format!("mount {shown}: only bind mounts can be id-mapped")));
        }
        if plan.copy_up && !plan.is_file_system("tmpfs") {
            return Err(invalid(format!("mount {shown}: tmpcopyup is an option of tmpfs")));
        }
        Ok(plan.with_default_propagation())
    }

    /// Whether something of the host is mounted.
    pub(crate) fn is_bind(&self) -> bool {
        matches!(self.source, Source::Bind { .. })
    }

    /// Whether a file system of this type is mounted.
    pub(crate) fn is_file_system(&self, wanted: &str) -> bool {
        matches!(&self.source, Source::FileSystem { kind, .. } if kind == wanted)
    }

    fn check_target(&self) -> Result<()> {
        let shown = self.target.display();
        let inside_proc = self.target.starts_with("/proc") && self.target != Path::new("/proc");
        let allowed = PROC_FILES.iter().any(|p| self.target == Path::new(p));
        if inside_proc && !(self.is_bind() && allowed) && !self.is_file_system("binfmt_misc") {
            return Err(invalid(format!("{shown:?} cannot be mounted because it is inside /proc")));
        }
        Ok(())
    }

    /// Nothing that the host mounts later beneath a source, and nothing that the container mounts, goes over the border
    /// unless somebody asked for it.
    fn with_default_propagation(mut self) -> Self {
        if self.is_bind() && self.attributes.propagation == 0 && self.recursive.propagation == 0 {
            self.recursive.propagation = mount::PRIVATE;
        }
        self
    }
}

#[derive(Default)]
struct Options {
    own: Attributes,
    recursive: Attributes,
    /// Whether it is a bind mount, and whether a recursive one.
    bind: Option<bool>,
    /// Whether ids are mapped, and recursively.
    id_map: Option<bool>,
    copy_up: bool,
    data: Vec<Datum>,
}

fn id_map(spec: &Mount, options: &Options, shown: &str) -> Result<Option<IdMap>> {
    let recursive = options.id_map == Some(true);
    if spec.uid_mappings.is_empty() && spec.gid_mappings.is_empty() {
        return Ok(options.id_map.map(|_| IdMap { ids: None, recursive }));
    }
    let ids = IdMaps::new(&format!("mount {shown}"), &spec.uid_mappings, &spec.gid_mappings)?;
    Ok(Some(IdMap { ids: Some(ids), recursive }))
}

impl Options {
    fn take(&mut self, word: &str) {
        if let Some((recursive, propagation)) = propagation(word) {
            let (this, other) = match recursive {
                true => (&mut self.recursive, &mut self.own),
                false => (&mut self.own, &mut self.recursive),
            };
            this.propagation = propagation;
            other.propagation = 0;
            return;
        }
        if let Some((set, clear)) = attribute(word) {
            change(&mut self.own, set, clear);
            return;
        }
        if let Some((set, clear)) =
            word.strip_prefix('r').and_then(attribute).filter(|_| word.len() > 2)
        {
            change(&mut self.recursive, set, clear);
            return;
        }
        match word {
            "" | "defaults" | "norelatime" | "nostrictatime" | "async" | "nomand" | "mand"
            | "remount" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            // What newinstance asks for has been the only way since Linux 4.7.
            "newinstance" => {}
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            "tmpcopyup" | "copyup" => self.copy_up = true,
            "notmpcopyup" | "nocopyup" => self.copy_up = false,
            _ => self.data.push(match word.split_once('=') {
                Some((key, value)) => Datum::Pair(key.to_owned(), value.to_owned()),
                None => Datum::Flag(word.to_owned()),
            }),
        }
    }
}

/// Later words win over earlier ones.
fn change(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = (attributes.set & !clear) | set;
    attributes.clear = (attributes.clear & !set) | clear;
}

/// What a word sets and clears.
fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (mount::RDONLY, 0),
        "rw" => (0, mount::RDONLY),
        "nosuid" => (mount::NOSUID, 0),
        "suid" => (0, mount::NOSUID),
        "nodev" => (mount::NODEV, 0),
        "dev" => (0, mount::NODEV),
        "noexec" => (mount::NOEXEC, 0),
        "exec" => (0, mount::NOEXEC),
        "nodiratime" => (mount::NODIRATIME, 0),
        "diratime" => (0, mount::NODIRATIME),
        "nosymfollow" => (mount::NOSYMFOLLOW, 0),
        "symfollow" => (0, mount::NOSYMFOLLOW),
        // The ways of keeping access times exclude each other; relatime is the zero among them.
        "relatime" | "atime" => (0, mount::ATIME_MASK),
        "noatime" => (mount::NOATIME, mount::ATIME_MASK & !mount::NOATIME),
        "strictatime" => (mount::STRICTATIME, mount::ATIME_MASK & !mount::STRICTATIME),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<(bool, u64)> {
    Some(match word {
        "private" => (false, mount::PRIVATE),
        "rprivate" => (true, mount::PRIVATE),
        "slave" => (false, mount::SLAVE),
        "rslave" => (true, mount::SLAVE),
        "shared" => (false, mount::SHARED),
        "rshared" => (true, mount::SHARED),
        "unbindable" => (false, mount::UNBINDABLE),
        "runbindable" => (true, mount::UNBINDABLE),
        _ => return None,
    })
}
