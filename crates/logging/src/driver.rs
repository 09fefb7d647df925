//! The contract of log drivers.
//!
//! A driver says where a container's records go. The shim writes them into a [`File`] in any case, unless they go
//! nowhere: for `json-file` and `local` that is all; for every other driver the file is what the daemon ships from
//! ([`crate::ship`]) and what `logs` reads, whether the daemon lives or not.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stdx::{Error, Result};

use crate::options::{flag, int_of, size_of, without_common};
use crate::{Attributes, Entry, Info, Options, Query, Reader};

/// A log driver.
pub trait Driver: Send + Sync + Debug {
    /// As `--log-driver` has it.
    fn name(&self) -> &'static str;

    /// Whether it is only `json-file` or `local`: what the shim writes is all that there is.
    fn is_file(&self) -> bool {
        false
    }

    /// Whether a container may be created with these options (those that every driver takes are not among them).
    fn check(&self, options: &Options) -> Result<()>;

    /// What becomes of the records of a container that is about to start. Touches no network: who is not there now
    /// gets them later.
    fn open(&self, info: &Info) -> Result<Destination>;
}

/// Where records go.
#[derive(Debug)]
pub enum Destination {
    /// Into a file.
    File(File),
    /// Elsewhere, from a file.
    Remote(Box<dyn Shipper>),
}

/// How records are kept in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// In which form.
    pub format: Format,
    /// Bytes after which a file is rotated; `None`: never.
    pub max_size: Option<u64>,
    /// How many files are kept, at least one.
    pub max_files: u32,
    /// Rotated files are compressed.
    pub compress: bool,
    /// Written into every record.
    pub attributes: Attributes,
}

/// The forms of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Docker's json-file.
    Json,
    /// Our own, smaller and byte-exact.
    Local,
}

impl Format {
    /// Where the file of a container is below its folder.
    pub fn path(self, folder: &Path, id: &str) -> std::path::PathBuf {
        match self {
            Self::Json => folder.join(format!("{id}-json.log")),
            Self::Local => folder.join("local-logs").join("container.log"),
        }
    }
}

/// Sends records elsewhere. Blocking; used by one thread.
pub trait Shipper: Send + Debug {
    /// Delivers `entries` in order, connecting first when there is no connection.
    fn ship(&mut self, entries: &[Entry]) -> Result<(), Undelivered>;

    /// How long to wait after a failure before the first next try.
    fn retry_wait(&self) -> Duration {
        Duration::from_millis(500)
    }
}

/// A delivery that failed.
#[derive(Debug)]
pub struct Undelivered {
    /// So many entries need not be sent again.
    pub delivered: usize,
    /// Why.
    pub error: Error,
}

/// How to open a log for reading.
pub type OpenLog = fn(Format, &Path, Query) -> Result<Box<dyn Reader>>;

/// The drivers of a daemon.
#[derive(Debug, Clone)]
pub struct Registry {
    drivers: Vec<Arc<dyn Driver>>,
    open: OpenLog,
}

/// What Docker has and we have not.
const REFUSED: [(&str, &str); 4] = [
    ("awslogs", "use fluentd or syslog with an agent that forwards to CloudWatch"),
    ("gcplogs", "use fluentd or journald with an agent that forwards to Cloud Logging"),
    ("splunk", "use syslog or fluentd with a Splunk forwarder"),
    ("etwlogs", "it is Windows'"),
];

/// What is kept of a container's output.
#[derive(Debug)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// A file.
    File(File),
    /// A file, which is shipped.
    Shipped(File, Box<dyn Shipper>),
}

impl Registry {
    /// Of these drivers, whose files `open` reads.
    pub fn new(drivers: Vec<Arc<dyn Driver>>, open: OpenLog) -> Self {
        Self { drivers, open }
    }

    /// The names, sorted, as `info` has them.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.drivers.iter().map(|d| d.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Reads a log back.
    pub fn open(&self, format: Format, path: &Path, query: Query) -> Result<Box<dyn Reader>> {
        (self.open)(format, path, query)
    }

    /// How to read logs.
    pub fn opener(&self) -> OpenLog {
        self.open
    }

    /// Whether a container may be created with this driver and these options.
    pub fn check(&self, driver: &str, options: &Options) -> Result<()> {
        if driver == "none" {
            return Ok(());
        }
        let own = without_common(options)?;
        self.find(driver)?.check(&own)
    }

    /// What is to be kept of the output of a container that is about to start.
    pub fn keep(&self, driver: &str, info: &Info) -> Result<Kept> {
        if driver == "none" {
            return Ok(Kept::Nothing);
        }
        match self.find(driver)?.open(info)? {
            Destination::File(file) => Ok(Kept::File(file)),
            Destination::Remote(shipper) => Ok(Kept::Shipped(cache(&info.options)?, shipper)),
        }
    }

    /// In which form the output of a container with this driver can be read back; `None`: it cannot.
    pub fn readable(&self, driver: &str, options: &Options) -> Option<Format> {
        match driver {
            "none" => None,
            "" | "json-file" => Some(Format::Json),
            "local" => Some(Format::Local),
            _ => (flag(options, "cache-disabled").ok().flatten() != Some(true))
                .then_some(Format::Local),
        }
    }

    /// Whether the daemon ships the output of containers with this driver.
    pub fn is_remote(&self, driver: &str) -> bool {
        self.find(driver).is_ok_and(|driver| !driver.is_file())
    }

    fn find(&self, name: &str) -> Result<&dyn Driver> {
        let name = if name.is_empty() { "json-file" } else { name };
        if let Some(driver) = self.drivers.iter().find(|d| d.name() == name) {
            return Ok(driver.as_ref());
        }
        Err(match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, instead)) => Error::not_implemented(format!(
                "logging driver \"{name}\" is not supported: {instead}"
            )),
            None => Error::invalid(format!(
                "error looking up logging plugin {name}: plugin \"{name}\" not found"
            )),
        })
    }
}

/// Twenty megabytes.
pub const DEFAULT_SIZE: u64 = 20_000_000;

/// Five files.
pub const DEFAULT_FILES: u32 = 5;

/// A file of the local form, from `max-size`, `max-file` and `compress`; `prefix` is `cache-` for a remote driver's.
/// Errors are those of Docker's local driver.
pub fn local_file(options: &Options, prefix: &str) -> Result<File> {
    let text = |name: &str| options.get(&format!("{prefix}{name}")).map(String::as_str);
    let invalid = |name: &str, value: &str, e: &Error| {
        Error::invalid(format!("invalid value for {name}: {value}: {e}"))
    };
    let max_size = match text("max-size") {
        None => DEFAULT_SIZE,
        Some(value) => size_of(value).map_err(|e| invalid("max-size", value, &e))?,
    };
    let max_files = match text("max-file") {
        None => i64::from(DEFAULT_FILES),
        Some(value) => int_of(value).map_err(|e| invalid("max-file", value, &e))?,
    };
    let compress = flag(options, &format!("{prefix}compress"))
        .map_err(|e| Error::invalid(format!("error reading compress log option: {e}")))?;
    let compress = compress.unwrap_or(true);
    if compress && max_files <= 1 {
        return Err(Error::invalid("compression cannot be enabled when max file count is 1"));
    }
    Ok(File {
        format: Format::Local,
        // Docker's zero means no bound; a log has one here unless somebody says -1 to json-file.
        max_size: (max_size > 0).then_some(max_size),
        max_files: u32::try_from(max_files.max(1)).unwrap_or(DEFAULT_FILES),
        compress,
        attributes: Vec::new(),
    })
}

fn cache(options: &Options) -> Result<File> {
    let mut file = local_file(options, "cache-")?;
    // What is shipped from must end some time, or a destination that is away fills the disk.
    file.max_size.get_or_insert(DEFAULT_SIZE);
    Ok(file)
}
