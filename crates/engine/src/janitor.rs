//! Deletes what has been thrown away, off everybody's path.
//!
//! Removing a container renames its folders into `trash/`, which takes microseconds and is one step; the janitor's
//! thread deletes them, a moment later and several at once. What a crash leaves in the trash is deleted at the next
//! start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use stdx::{Context as _, Result};

/// Deleting begins when nothing has been thrown away for this long: whoever removed something has been answered and has
/// the processors and the disk to himself.
const QUIET: Duration = Duration::from_millis(20);
/// It begins at the latest after this.
const LATEST: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Janitor {
    wake: Sender<()>,
}

impl Janitor {
    /// Starts the thread; it empties `folders` and the snapshots' own trash now and whenever it is woken.
    pub(crate) fn start(
        folders: Vec<PathBuf>,
        snapshots: Arc<dyn snapshot::Snapshotter>,
    ) -> Result<Self> {
        let (wake, woken) = channel();
        std::thread::Builder::new()
            .name("janitor".to_owned())
            .spawn(move || work(&woken, &folders, snapshots.as_ref()))
            .context(|| "start the janitor's thread")?;
        let janitor = Self { wake };
        janitor.wake();
        Ok(janitor)
    }

    /// There is something to delete.
    pub(crate) fn wake(&self) {
        // The thread lives as long as the daemon.
        let _alive = self.wake.send(());
    }
}

fn work(woken: &Receiver<()>, folders: &[PathBuf], snapshots: &dyn snapshot::Snapshotter) {
    while woken.recv().is_ok() {
        let latest = Instant::now() + LATEST;
        while woken.recv_timeout(QUIET).is_ok() && Instant::now() < latest {}
        for folder in folders {
            empty(folder);
        }
        if let Err(e) = snapshots.empty_trash() {
            tracing::warn!("empty the snapshots' trash: {e}");
        }
    }
}

fn empty(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if let Err(e) = stdx::fs::remove_tree(&entry.path()) {
            tracing::warn!("empty the trash: {e}");
        }
    }
}

/// Moves a folder into a trash on the same file system; that it is gone already is success.
pub(crate) fn throw_away(folder: &Path, trash: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default();
    match std::fs::rename(folder, trash.join(name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        // The same name is in the trash still: then it is deleted here and now.
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists
            ) =>
        {
            stdx::fs::remove_tree(folder)
        }
        result => result.context(|| format!("remove {}", folder.display())),
    }
}
