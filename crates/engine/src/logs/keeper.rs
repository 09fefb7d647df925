//! One thread that watches logs rotate: it holds containers whose logs are shipped too slowly and has another thread
//! compress what was rotated.

use logging::files::compress;
use logging::ship::Shipping;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Context as _, Result};

/// Watches logs.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    rotated: Sender<Log>,
}

#[derive(Debug)]
struct Shared {
    notify: OwnedFd,
    logs: Mutex<HashMap<i32, Log>>,
}

#[derive(Debug, Clone)]
struct Log {
    path: PathBuf,
    compress: bool,
    shipping: Option<Shipping>,
}

impl Keeper {
    pub(super) fn start() -> Result<Self> {
        let notify = rustix::fs::inotify::init(CreateFlags::CLOEXEC)
            .map_err(std::io::Error::from)
            .context(|| "watch logs")?;
        let shared = Arc::new(Shared { notify, logs: Mutex::default() });
        let (rotated, work) = channel();
        let watching = Arc::clone(&shared);
        let sender = rotated.clone();
        let thread =
            |name: &str| std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10);
        thread("log-keeper")
            .spawn(move || keep(&watching, &sender))
            .context(|| "start the log keeper")?;
        thread("log-compressor")
            .spawn(move || compress_all(&work))
            .context(|| "start the log compressor")?;
        Ok(Self { shared, rotated })
    }

    /// Looks after the log at `path`, whose folder exists, until the folder is gone.
    pub(super) fn watch(
        &self,
        path: &Path,
        compress: bool,
        shipping: Option<Shipping>,
    ) -> Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let log = Log { path: path.to_owned(), compress, shipping };
        {
            let mut logs = self.shared.logs();
            // The watch's number is known to the thread before its first event.
            let flags = WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            let watch = rustix::fs::inotify::add_watch(&self.shared.notify, folder, flags)
                .map_err(std::io::Error::from)
                .context(|| format!("watch {}", folder.display()))?;
            logs.insert(watch, log.clone());
        }
        if compress {
            // What was rotated while nobody looked.
            let _alive = self.rotated.send(log);
        }
        Ok(())
    }
}

impl Shared {
    fn logs(&self) -> MutexGuard<'_, HashMap<i32, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(shared: &Shared, rotated: &Sender<Log>) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(&shared.notify, &mut buffer);
    loop {
        let (watch, events, first) = match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|n| n.to_bytes());
                (event.wd(), event.events(), name.is_some_and(|n| n.ends_with(b".1")))
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => {
                tracing::error!("watch logs: {e}");
                return;
            }
        };
        if events.contains(ReadFlags::IGNORED) {
            shared.logs().remove(&watch);
            continue;
        }
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            let all: Vec<Log> = shared.logs().values().cloned().collect();
            all.into_iter().for_each(|log| on_rotation(log, rotated));
            continue;
        }
        // Every rotation makes a first rotated file.
        let log = first.then(|| shared.logs().get(&watch).cloned()).flatten();
        if let Some(log) = log {
            on_rotation(log, rotated);
        }
    }
}

fn on_rotation(log: Log, rotated: &Sender<Log>) {
    if let Some(shipping) = &log.shipping {
        shipping.check_hold();
    }
    if log.compress {
        let _alive = rotated.send(log);
    }
}

fn compress_all(work: &Receiver<Log>) {
    while let Ok(log) = work.recv() {
        // What is being shipped, and what will be, stays as it is.
        let unread =
            log.shipping.as_ref().filter(|s| !s.is_done()).map(|s| unshipped(&log.path, s));
        let result = compress(&log.path, |file| {
            unread.as_ref().is_none_or(|unread| !unread.contains(&(file.dev(), file.ino())))
        });
        if let Err(e) = result
            && e.kind() != stdx::Kind::NotFound
        {
            tracing::warn!(log = %log.path.display(), "compress: {e}");
        }
    }
}

/// Device and inode of the files of a log that have not been shipped wholly; all of them before the first delivery.
fn unshipped(path: &Path, shipping: &Shipping) -> Vec<(u64, u64)> {
    let reading = shipping.reading();
    let mut files = Vec::new();
    let rotated = |index: u32| PathBuf::from(format!("{}.{index}", path.display()));
    for name in std::iter::once(path.to_owned()).chain((1..10_000).map(rotated)) {
        let Ok(m) = name.symlink_metadata() else { break };
        let this = (m.dev(), m.ino());
        files.push(this);
        if Some(this) == reading {
            break;
        }
    }
    files
}
