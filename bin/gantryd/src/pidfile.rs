//! The pid file: written at the start, removed at the end.

use std::path::{Path, PathBuf};
use stdx::fs::{Durability, replace};
use stdx::{Error, Result};

/// A pid file of this process; removed when dropped.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file. One of a process that still runs is refused.
    pub(crate) fn write(path: &Path) -> Result<Self> {
        if let Ok(text) = std::fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && Path::new(&format!("/proc/{pid}")).exists()
        {
            return Err(Error::conflict(format!(
                "process with PID {pid} is still running: ensure the daemon is not running or delete {}",
                path.display()
            )));
        }
        replace(path, std::process::id().to_string().as_bytes(), 0o644, Durability::Process)?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}
