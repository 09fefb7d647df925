//! What is remembered of a container between invocations, and what it says about the container now.

use std::path::{Path, PathBuf};

use oci::runtime::Spec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stdx::fs::Durability;
use stdx::{Context as _, Error, Result};

/// A container's directory beneath the root.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
}

/// The content of `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat`, against reuse of the number.
    pub(crate) start_time: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) created: String,
    #[serde(rename = "config")]
    pub(crate) spec: Spec,
}

/// Where a container is in its life (runtime-spec, `runtime.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Dir {
    /// The directory of `id`, which must be a plain name.
    pub(crate) fn of(root: &Path, id: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        if id.is_empty() || id.len() > 1024 || !id.bytes().all(plain) || id == "." || id == ".." {
            return Err(Error::invalid(format!("invalid container ID format: {id:?}")));
        }
        Ok(Self { path: root.join(id) })
    }

    /// Makes it; one of that name must not exist.
    pub(crate) fn create(&self) -> Result<()> {
        if let Some(root) = self.path.parent() {
            stdx::fs::create_dir(root, 0o711)?;
        }
        let mode = rustix::fs::Mode::from_raw_mode(0o700);
        match rustix::fs::mkdir(&self.path, mode) {
            Err(rustix::io::Errno::EXIST) => {
                Err(Error::conflict("container with given ID already exists"))
            }
            result => result
                .map_err(std::io::Error::from)
                .context(|| format!("create {}", self.path.display())),
        }
    }

    /// Whether there is anything of it.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(crate) fn remove(&self) -> Result<()> {
        stdx::fs::remove_tree(&self.path)
    }

    /// Where the container waits for start.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("start.sock")
    }

    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record)
            .map_err(|e| Error::internal("write the state").caused_by(e))?;
        stdx::fs::replace(&self.path.join("state.json"), &text, 0o600, Durability::Process)
    }

    pub(crate) fn load(&self) -> Result<Record> {
        let path = self.path.join("state.json");
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::not_found("container does not exist"));
            }
            result => result.context(|| format!("read {}", path.display()))?,
        };
        serde_json::from_slice(&text).map_err(|e| garbled(&path).caused_by(e))
    }

    /// Where the container is in its life now.
    pub(crate) fn status(&self, record: &Record) -> Status {
        match start_time(record.pid) {
            Some(time) if time == record.start_time => {}
            _ => return Status::Stopped,
        }
        if self.socket().exists() {
            return Status::Created;
        }
        let frozen = group(record).and_then(|group| group.is_frozen()).unwrap_or(false);
        if frozen { Status::Paused } else { Status::Running }
    }
}

/// The container's cgroup, if it exists; without root it may have none.
pub(crate) fn group(record: &Record) -> Result<cgroups::Group> {
    if record.cgroup.is_empty() {
        return Err(Error::not_found("the container has no cgroup"));
    }
    cgroups::Group::open(&cgroups::Hierarchies::detect()?, &record.cgroup)
}

/// Whose containers these are: a root directory has one owner.
pub(crate) const OWNER: &str = "root";

/// What `state` prints (runtime-spec, `runtime.md`, state).
pub(crate) fn describe(record: &Record, status: Status) -> Value {
    let root = record.spec.root.as_ref().map(|r| record.bundle.join(&r.path));
    json!({
        "ociVersion": record.spec.oci_version,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status.word(),
        "bundle": record.bundle,
        "rootfs": root,
        "created": record.created,
        "annotations": record.spec.annotations,
        "owner": OWNER,
    })
}

/// When a process was started, in clock ticks since boot; `None` when it is gone or only waits to be reaped.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let time = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(time)
}

fn garbled(path: &Path) -> Error {
    Error::new(stdx::Kind::DataLoss, format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names() {
        let root = Path::new("/run/x");
        for good in ["a", "A-1_2.3+4", "0123456789abcdef"] {
            assert!(Dir::of(root, good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\n", "ä"] {
            assert!(Dir::of(root, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn this_process_has_a_start_time_and_nobody_has_none() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(me).unwrap() > 0);
        assert_eq!(start_time(i32::MAX), None);
    }
}
