//! The files beside the container: who supervises it, how it ended, what went wrong.
//!
//! `shim.json` and `exit.json` survive the end of any process but not a power cut, after which they mean nothing: they
//! are of a boot. Only the exit that no daemon took is written for good.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use stdx::fs::{Durability, remove_file, replace};
use stdx::time::Timestamp;
use stdx::{Context as _, Error, Result};
use task::protocol::{Exit, ShimRecord, VERSION};

/// The container's runtime folder.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says that we are there, before there is anything to be there for. What an earlier run left is removed.
    pub(crate) fn begin(&self, cgroup: &str) -> Result<ShimRecord> {
        remove_file(&self.dir.join("exit.json"))?;
        let record = ShimRecord {
            version: VERSION,
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            start_time: start_time()?,
            boot_id: boot_id()?,
            container_pid: None,
            cgroup: cgroup.to_owned(),
        };
        self.write_shim(&record)?;
        Ok(record)
    }

    /// Replaces `shim.json`.
    pub(crate) fn write_shim(&self, record: &ShimRecord) -> Result<()> {
        let json =
            serde_json::to_vec(record).map_err(|e| Error::internal("shim record").caused_by(e))?;
        replace(&self.dir.join("shim.json"), &json, 0o600, Durability::Process)
    }

    /// Writes `exit.json`.
    pub(crate) fn write_exit(&self, exit: &Exit) -> Result<()> {
        write_exit(&self.dir.join("exit.json"), exit, Durability::Process)
    }

    /// Takes `shim.json` away: nobody is there any more.
    pub(crate) fn end(&self) -> Result<()> {
        remove_file(&self.dir.join("shim.json"))
    }

    /// Notes a failure that nobody can be told of, in `shim.log`.
    pub(crate) fn complain(&self, error: &dyn std::fmt::Display) {
        let open = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.dir.join("shim.log"));
        if let Ok(mut file) = open {
            // The last resort has failed as well: there is nothing left to say it to.
            let _lost = writeln!(file, "{} {error}", Timestamp::now());
        }
    }
}

/// Writes an exit record that survives what `durability` says.
pub(crate) fn write_exit(path: &Path, exit: &Exit, durability: Durability) -> Result<()> {
    let json = serde_json::to_vec(exit).map_err(|e| Error::internal("exit record").caused_by(e))?;
    replace(path, &json, 0o600, durability)
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).context(|| format!("read {path}"))?.trim().to_owned())
}

/// Field 22 of our `/proc/PID/stat`: clock ticks from boot to our start.
fn start_time() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context(|| "read /proc/self/stat")?;
    // The name, field 2, may contain anything; what follows its last parenthesis are fields 3 and on.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace());
    let field = fields.and_then(|mut f| f.nth(19)).and_then(|f| f.parse().ok());
    field.ok_or_else(|| Error::internal("/proc/self/stat is not as proc(5) has it"))
}
