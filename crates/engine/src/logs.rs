//! What becomes of containers' output: kept by their shims, shipped and compressed by the daemon.
//!
//! ```text
//! DATA-ROOT/containers/<id>/<id>-json.log            json-file
//! DATA-ROOT/containers/<id>/local-logs/container.log local, and the cache of every driver that ships
//!                           …/container.log.cursor   how far it has been shipped
//! DATA-ROOT/shipping/<id>/                           the folder of a container that was removed before all was shipped
//!                           ship.json                what is needed to go on with that
//! ```

mod keeper;

use crate::janitor::throw_away;
use container::Paths;
use keeper::Keeper;
use logging::driver::{File, Format, Kept};
use logging::ship::{Job, Shipping, Watcher};
use logging::{Info, Registry};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stdx::fs::{Durability, replace};
use stdx::{Context as _, Error, Result};
use store::records::container::ContainerRecord;
use task::protocol;
use tokio::sync::mpsc::UnboundedSender;

/// How long after a container's removal a destination that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// What makes shipping possible when the container's record is gone.
const SHIP_FILE: &str = "ship.json";

/// All containers' logs.
#[derive(Debug)]
pub(crate) struct Logs {
    registry: Registry,
    paths: Paths,
    hostname: String,
    shipped: Mutex<HashMap<String, Shipped>>,
    keeper: Keeper,
}

/// A container whose log is shipped.
#[derive(Debug)]
struct Shipped {
    shipping: Shipping,
    watcher: Arc<Teller>,
}

/// `ship.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Orphan {
    driver: String,
    info: Info,
}

impl Logs {
    pub(crate) fn new(registry: Registry, paths: Paths, hostname: String) -> Result<Arc<Self>> {
        let keeper = Keeper::start()?;
        Ok(Arc::new(Self { registry, paths, hostname, shipped: Mutex::default(), keeper }))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The log that `logs` reads; `None`: there is none to be read.
    pub(crate) fn readable(&self, record: &ContainerRecord) -> Option<(Format, PathBuf)> {
        let log = &record.host.log;
        let format = self.registry.readable(&log.driver, &log.options)?;
        Some((format, format.path(&self.paths.data_of(&record.id), &record.id)))
    }

    /// The file that users may look at themselves, as `inspect` tells it: Docker tells json-file's only.
    pub(crate) fn public_path(&self, record: &ContainerRecord) -> Option<PathBuf> {
        let path = self.readable(record).filter(|(format, _)| *format == Format::Json);
        path.map(|(_, path)| path)
    }

    fn shipped(&self) -> MutexGuard<'_, HashMap<String, Shipped>> {
        self.shipped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self, record: &ContainerRecord) -> Info {
        let config = &record.config;
        let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
        Info {
            options: record.host.log.options.clone(),
            id: record.id.clone(),
            name: record.name.clone(),
            image_id: record.image_id.clone(),
            image_name: config.image.clone(),
            command: words.cloned().collect(),
            env: config.env.clone(),
            labels: config.labels.clone(),
            created: record.created.to_string(),
            log_path: self
                .public_path(record)
                .map_or_else(String::new, |p| p.display().to_string()),
            hostname: self.hostname.clone(),
        }
    }

    /// Prepares the container's file and, when it is to go elsewhere, ships it.
    fn open(&self, record: &ContainerRecord, running: bool) -> Result<protocol::Log> {
        let driver = &record.host.log.driver;
        let (file, shipper) = match self.registry.keep(driver, &self.info(record))? {
            Kept::Nothing => return Ok(protocol::Log::None),
            Kept::File(file) => (file, None),
            Kept::Shipped(file, shipper) => (file, Some(shipper)),
        };
        let folder = self.paths.data_of(&record.id);
        let path = file.format.path(&folder, &record.id);
        if file.format == Format::Local
            && let Some(parent) = path.parent()
        {
            stdx::fs::create_dir(parent, 0o710)?;
        }
        let shipping = match shipper {
            None => None,
            Some(shipper) => {
                let blocking =
                    record.host.log.options.get("mode").is_none_or(|m| m != "non-blocking");
                Some(self.ship(&folder, &record.id, &file, shipper, blocking && running)?)
            }
        };
        if file.compress || shipping.is_some() {
            self.keeper.watch(&path, file.compress, shipping)?;
        }
        Ok(written(path, file))
    }

    /// Ships the log in `folder`, unless that is done already.
    fn ship(
        &self,
        folder: &Path,
        id: &str,
        file: &File,
        shipper: Box<dyn logging::Shipper>,
        blocking: bool,
    ) -> Result<Shipping> {
        let mut shipped = self.shipped();
        if let Some(Shipped { shipping, .. }) = shipped.get(id)
            && shipping.go_on(blocking)
        {
            return Ok(shipping.clone());
        }
        let (opened, log) = opened(folder, file.format, id)?;
        let watcher = Arc::new(Teller {
            id: id.to_owned(),
            hold: Mutex::default(),
            opened: Mutex::new(Some(opened)),
            then: Mutex::default(),
        });
        let job = Job {
            log,
            format: file.format,
            max_files: file.max_files,
            open: self.registry.opener(),
            shipper,
        };
        let shipping = Shipping::start(job, Arc::clone(&watcher) as Arc<dyn Watcher>, blocking)?;
        shipped.insert(id.to_owned(), Shipped { shipping: shipping.clone(), watcher });
        Ok(shipping)
    }

    /// Takes up what an earlier daemon left of containers that do not run.
    pub(crate) fn recover(&self, stopped: &[Arc<ContainerRecord>]) {
        for record in stopped {
            let log = &record.host.log;
            let remote = self.registry.is_remote(&log.driver);
            let compressed =
                matches!(log.options.get("compress").map(String::as_str), Some("true" | "1"))
                    || log.driver == "local";
            let there = self.readable_file(record).exists();
            if there && (remote || compressed) {
                match self.open(record, false) {
                    Ok(_) => container::Logs::ended(self, &record.id),
                    Err(e) => tracing::warn!(container = %record.id, "log: {e}"),
                }
            }
        }
        for folder in std::fs::read_dir(self.removed()).into_iter().flatten().flatten() {
            if let Err(e) = self.recover_removed(&folder.path()) {
                tracing::warn!(folder = %folder.path().display(), "log of a removed container: {e}");
                self.throw_away(&folder.path());
            }
        }
    }

    fn readable_file(&self, record: &ContainerRecord) -> PathBuf {
        let json = matches!(record.host.log.driver.as_str(), "" | "json-file");
        let format = if json { Format::Json } else { Format::Local };
        format.path(&self.paths.data_of(&record.id), &record.id)
    }

    fn recover_removed(&self, folder: &Path) -> Result<()> {
        let bytes = std::fs::read(folder.join(SHIP_FILE)).context(|| "read ship.json")?;
        let Orphan { driver, info } = serde_json::from_slice(&bytes)
            .map_err(|e| Error::invalid("damaged ship.json").caused_by(e))?;
        let Kept::Shipped(file, shipper) = self.registry.keep(&driver, &info)? else {
            return Err(Error::invalid(format!("{driver} ships nothing")));
        };
        let shipping = self.ship(folder, &info.id, &file, shipper, false)?;
        self.finish_removed(&info.id, folder.to_owned());
        shipping.end_within(PATIENCE);
        Ok(())
    }

    /// Where folders of removed containers are as long as they are shipped.
    fn removed(&self) -> PathBuf {
        self.paths.data.join("shipping")
    }

    /// Before the removal of a container: makes sure that the rest of its log can be shipped without its record.
    pub(crate) fn before_removal(&self, record: &ContainerRecord) {
        // A full disk does not keep anybody from removing; then only a crash at this very moment loses the rest.
        if self.is_shipping(&record.id)
            && let Err(e) = self.write_orphan(record)
        {
            tracing::warn!(container = %record.id, "{e}");
        }
    }

    fn write_orphan(&self, record: &ContainerRecord) -> Result<()> {
        let orphan = Orphan { driver: record.host.log.driver.clone(), info: self.info(record) };
        let bytes = serde_json::to_vec(&orphan)
            .map_err(|e| Error::internal("encode ship.json").caused_by(e))?;
        let path = self.paths.data_of(&record.id).join(SHIP_FILE);
        replace(&path, &bytes, 0o600, Durability::Process)
    }

    fn is_shipping(&self, id: &str) -> bool {
        self.shipped().get(id).is_some_and(|s| !s.shipping.is_done())
    }

    /// After the removal of a container: its folder stays as long as its log is shipped. Says whether it does.
    pub(crate) fn after_removal(&self, id: &str) -> bool {
        let folder = self.removed().join(id);
        if !self.is_shipping(id) || std::fs::rename(self.paths.data_of(id), &folder).is_err() {
            self.shipped().remove(id);
            return false;
        }
        self.finish_removed(id, folder);
        if let Some(shipped) = self.shipped().get(id) {
            shipped.shipping.end_within(PATIENCE);
        }
        true
    }

    /// Has the folder thrown away when everything of it is shipped.
    fn finish_removed(&self, id: &str, folder: PathBuf) {
        let mut shipped = self.shipped();
        let Some(Shipped { shipping, watcher }) = shipped.remove(id) else { return };
        let trash = self.paths.data.join("trash");
        *watcher.then() = Some((folder.clone(), trash.clone()));
        if shipping.is_done() {
            // It may have ended before it was told what then.
            watcher.finish();
        }
        shipped.insert(id.to_owned(), Shipped { shipping, watcher });
        shipped.retain(|_, s| !s.shipping.is_done());
    }

    /// A folder without an owner, found when the daemon starts: it may be that of a container whose log was not
    /// shipped to its end when the daemon was killed. Says whether it is kept for that.
    pub(crate) fn claim(paths: &Paths, folder: &Path) -> bool {
        let Some(name) = folder.file_name() else { return false };
        folder.join(SHIP_FILE).exists()
            && std::fs::rename(folder, paths.data.join("shipping").join(name)).is_ok()
    }

    fn throw_away(&self, folder: &Path) {
        if let Err(e) = throw_away(folder, &self.paths.data.join("trash")) {
            tracing::warn!("{e}");
        }
    }

    /// Ends all shipping after the deliveries that are under way; the next daemon goes on.
    pub(crate) fn stop(&self) {
        self.shipped().values().for_each(|s| s.shipping.stop());
        let deadline = Instant::now() + Duration::from_secs(1);
        let all: Vec<_> = self.shipped().values().map(|s| s.shipping.clone()).collect();
        all.iter().for_each(|shipping| shipping.wait(deadline));
    }
}

impl container::Logs for Logs {
    fn prepare(&self, record: &ContainerRecord) -> Result<protocol::Log> {
        self.open(record, true).map_err(|e| {
            let text = format!(
                "failed to create task for container: failed to initialize logging driver: {e}"
            );
            Error::new(e.kind(), text)
        })
    }

    fn running(&self, record: &ContainerRecord, hold: UnboundedSender<bool>) {
        if !self.shipped().contains_key(&record.id)
            && self.registry.is_remote(&record.host.log.driver)
        {
            // Found running: its shim writes already.
            if let Err(e) = self.open(record, true) {
                tracing::warn!(container = %record.id, "log is not shipped: {e}");
            }
        }
        if let Some(shipped) = self.shipped().get(&record.id) {
            *shipped.watcher.hold() = Some(hold);
            shipped.shipping.check_hold();
        }
    }

    fn ended(&self, id: &str) {
        if let Some(shipped) = self.shipped().get(id) {
            *shipped.watcher.hold() = None;
            shipped.shipping.end();
        }
    }
}

/// The folder, opened, and the log's path through it: it stays when the folder is moved.
fn opened(folder: &Path, format: Format, id: &str) -> Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty())
        .map_err(std::io::Error::from)
        .context(|| format!("open {}", folder.display()))?;
    let place = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    Ok((opened, format.path(&place, id)))
}

fn written(path: PathBuf, file: File) -> protocol::Log {
    let File { format, max_size, max_files, attributes, .. } = file;
    match format {
        Format::Json => protocol::Log::JsonFile { path, max_size, max_files, attributes },
        Format::Local => protocol::Log::Local { path, max_size, max_files },
    }
}

/// What a shipping thread tells, and to whom.
#[derive(Debug)]
struct Teller {
    id: String,
    hold: Mutex<Option<UnboundedSender<bool>>>,
    /// Kept open as long as the log is read through it.
    opened: Mutex<Option<OwnedFd>>,
    /// A folder, and the trash into which it goes when the thread has ended.
    then: Mutex<Option<(PathBuf, PathBuf)>>,
}

impl Teller {
    fn hold(&self) -> MutexGuard<'_, Option<UnboundedSender<bool>>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn then(&self) -> MutexGuard<'_, Option<(PathBuf, PathBuf)>> {
        self.then.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        if let Some((folder, trash)) = self.then().take()
            && let Err(e) = throw_away(&folder, &trash)
        {
            tracing::warn!("{e}");
        }
    }
}

impl Watcher for Teller {
    fn tell(&self, what: &str) {
        tracing::warn!(container = %self.id, "{what}");
    }

    fn hold(&self, hold: bool) {
        if let Some(sender) = &*Self::hold(self) {
            // A container that has ended is not held.
            let _ended = sender.send(hold);
        }
    }

    fn done(&self) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.finish();
    }
}
