//! The daemon's configuration: flags over `daemon.json` over defaults.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use stdx::{Context as _, Error, Result};

/// How the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where it listens, as `unix://…`, `tcp://…`.
    pub(crate) hosts: Vec<String>,
    /// What survives a power cut.
    pub(crate) data_root: PathBuf,
    /// What survives the daemon.
    pub(crate) exec_root: PathBuf,
    /// Where its pid is written; `None`: nowhere.
    pub(crate) pidfile: Option<PathBuf>,
    /// Who owns UNIX sockets; `None`: `gantry` or `docker`, whichever there is.
    pub(crate) group: Option<String>,
    /// Debug messages.
    pub(crate) debug: bool,
    /// The least level that is logged.
    pub(crate) log_level: String,
    /// Registries that may be spoken to without TLS.
    pub(crate) insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub(crate) registry_mirrors: Vec<String>,
    /// Labels of the daemon.
    pub(crate) labels: Vec<String>,
    /// Processes a container may have when nobody says otherwise.
    pub(crate) default_pids_limit: i64,
    /// `--tls=false` or `--tlsverify=false` was said: `tcp://` in plain text is wanted.
    pub(crate) plain_tcp: bool,
    /// Remove what was made on the host, and end.
    pub(crate) cleanup: bool,
    /// What the user should know, for the log.
    pub(crate) notices: Vec<String>,
    /// The flags and the file's place, for a reload.
    pub(crate) source: (Flags, PathBuf),
}

/// What was said on the command line.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each is the flag of that name")]
pub(crate) struct Flags {
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) data_root: Option<String>,
    pub(crate) exec_root: Option<String>,
    pub(crate) pidfile: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) debug: Option<bool>,
    pub(crate) log_level: Option<String>,
    pub(crate) insecure_registries: Option<Vec<String>>,
    pub(crate) registry_mirrors: Option<Vec<String>>,
    pub(crate) labels: Option<Vec<String>>,
    pub(crate) live_restore: Option<bool>,
    pub(crate) default_pids_limit: Option<i64>,
    pub(crate) tls: Option<bool>,
    pub(crate) tlsverify: Option<bool>,
    pub(crate) cleanup: bool,
    pub(crate) notices: Vec<String>,
}

/// `daemon.json`, as far as it is obeyed. An unknown key is an error, as with dockerd.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    hosts: Option<Vec<String>>,
    data_root: Option<String>,
    exec_root: Option<String>,
    pidfile: Option<String>,
    group: Option<String>,
    debug: Option<bool>,
    log_level: Option<String>,
    insecure_registries: Option<Vec<String>>,
    registry_mirrors: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    live_restore: Option<bool>,
    default_pids_limit: Option<i64>,
    tls: Option<bool>,
    tlsverify: Option<bool>,
    containerd: Option<String>,
    containerd_namespace: Option<String>,
    containerd_plugin_namespace: Option<String>,
}

const DATA_ROOT: &str = "/var/lib/gantry";
const EXEC_ROOT: &str = "/run/gantry";
const SOCKET: &str = "unix:///run/gantry.sock";
const PIDS_LIMIT: i64 = 4096;

/// Puts flags, file and defaults together. `name`: what the program was started as.
pub(crate) fn load(flags: Flags, name: &str) -> Result<Config> {
    let folder = if name == "dockerd" { "/etc/docker" } else { "/etc/gantry" };
    let path = flags.config_file.clone().unwrap_or_else(|| Path::new(folder).join("daemon.json"));
    let file = read(&path, flags.config_file.is_some())?;
    merge(flags, file, path, name)
}

/// Reads the file again with the same flags, for SIGHUP.
pub(crate) fn reload(old: &Config) -> Result<Config> {
    let (flags, path) = old.source.clone();
    let file = read(&path, false)?;
    merge(flags, file, path, "gantryd")
}

/// An absent file is empty unless it was asked for; so is an empty one.
fn read(path: &Path, required: bool) -> Result<File> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => {
            return Ok(File::default());
        }
        Err(e) => {
            return Err(e).context(|| {
                format!("unable to configure the daemon with file {}", path.display())
            });
        }
    };
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_json::from_str(&text).map_err(|e| {
        Error::invalid(format!("unable to configure the daemon with file {}", path.display()))
            .caused_by(e)
    })
}

fn merge(flags: Flags, file: File, path: PathBuf, name: &str) -> Result<Config> {
    let both: Vec<String> = [
        ("hosts", flags.hosts.is_some() && file.hosts.is_some()),
        ("data-root", flags.data_root.is_some() && file.data_root.is_some()),
        ("exec-root", flags.exec_root.is_some() && file.exec_root.is_some()),
        ("pidfile", flags.pidfile.is_some() && file.pidfile.is_some()),
        ("group", flags.group.is_some() && file.group.is_some()),
        ("debug", flags.debug.is_some() && file.debug.is_some()),
        ("log-level", flags.log_level.is_some() && file.log_level.is_some()),
        ("live-restore", flags.live_restore.is_some() && file.live_restore.is_some()),
        (
            "default-pids-limit",
            flags.default_pids_limit.is_some() && file.default_pids_limit.is_some(),
        ),
        ("tls", flags.tls.is_some() && file.tls.is_some()),
        ("tlsverify", flags.tlsverify.is_some() && file.tlsverify.is_some()),
    ]
    .into_iter()
    .filter(|(_, both)| *both)
    .map(|(key, _)| key.to_owned())
    .collect();
    if !both.is_empty() {
        return Err(Error::invalid(format!(
            "unable to configure the daemon with file {}: the following directives are specified both as a flag and in \
             the configuration file: {}",
            path.display(),
            both.join(", ")
        )));
    }
    if flags.live_restore.or(file.live_restore) == Some(false) {
        return Err(Error::not_implemented(
            "live-restore=false is not there yet: containers always outlive the daemon; stop them before it",
        ));
    }
    let mut notices = flags.notices.clone();
    if file.containerd.is_some()
        || file.containerd_namespace.is_some()
        || file.containerd_plugin_namespace.is_some()
    {
        notices.push(
            "the containerd keys have no meaning here: Gantry needs no containerd".to_owned(),
        );
    }
    let lists = |flag: &Option<Vec<String>>, file: &Option<Vec<String>>| {
        flag.iter().chain(file).flatten().cloned().collect::<Vec<_>>()
    };
    let level = flags
        .log_level
        .clone()
        .or_else(|| file.log_level.clone())
        .unwrap_or_else(|| "info".to_owned());
    if !matches!(level.as_str(), "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "panic")
    {
        return Err(Error::invalid(format!("invalid logging level: {level}")));
    }
    let mut hosts = lists(&flags.hosts, &file.hosts);
    if hosts.is_empty() {
        hosts.push(if name == "dockerd" {
            "unix:///var/run/docker.sock".to_owned()
        } else {
            SOCKET.to_owned()
        });
    }
    let place = |flag: &Option<String>, file: &Option<String>, default: &str| {
        PathBuf::from(flag.as_deref().or(file.as_deref()).unwrap_or(default))
    };
    let said_plain = |v: Option<bool>| v == Some(false);
    if flags.tls.or(file.tls) == Some(true) || flags.tlsverify.or(file.tlsverify) == Some(true) {
        return Err(Error::not_implemented(
            "TLS on the API socket is not there yet; use unix:// or ssh",
        ));
    }
    Ok(Config {
        hosts,
        data_root: place(&flags.data_root, &file.data_root, DATA_ROOT),
        exec_root: place(&flags.exec_root, &file.exec_root, EXEC_ROOT),
        pidfile: flags.pidfile.clone().or_else(|| file.pidfile.clone()).map(PathBuf::from),
        group: flags.group.clone().or_else(|| file.group.clone()),
        debug: flags.debug.or(file.debug).unwrap_or(false) || level == "debug",
        log_level: level,
        insecure_registries: lists(&flags.insecure_registries, &file.insecure_registries),
        registry_mirrors: lists(&flags.registry_mirrors, &file.registry_mirrors),
        labels: lists(&flags.labels, &file.labels),
        default_pids_limit: flags
            .default_pids_limit
            .or(file.default_pids_limit)
            .unwrap_or(PIDS_LIMIT),
        plain_tcp: said_plain(flags.tls.or(file.tls))
            || said_plain(flags.tlsverify.or(file.tlsverify)),
        cleanup: flags.cleanup,
        notices,
        source: (flags, path),
    })
}

impl Config {
    /// Six hexadecimal digits that keep this instance's names apart from others', unless it is the default one.
    pub(crate) fn instance(&self) -> Option<String> {
        if self.exec_root == Path::new(EXEC_ROOT) {
            return None;
        }
        use std::os::unix::ffi::OsStrExt as _;
        let hash = self
            .exec_root
            .as_os_str()
            .as_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Some(format!("{:06x}", hash & 0xff_ffff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_said_twice_is_refused_as_dockerd_refuses_it() {
        let flags = Flags { debug: Some(true), ..Flags::default() };
        let file = File { debug: Some(false), ..File::default() };
        let error =
            merge(flags, file, PathBuf::from("/etc/gantry/daemon.json"), "gantryd").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("specified both as a flag and in the configuration file: debug")
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<File>(r#"{"no-such-key": 1}"#).is_err());
        assert!(serde_json::from_str::<File>("{}").is_ok());
    }

    #[test]
    fn another_exec_root_is_another_instance() {
        let flags = Flags { exec_root: Some("/tmp/x".to_owned()), ..Flags::default() };
        let config = merge(flags, File::default(), PathBuf::new(), "gantryd").unwrap();
        assert_eq!(config.instance().map(|i| i.len()), Some(6));
        let default = merge(Flags::default(), File::default(), PathBuf::new(), "gantryd").unwrap();
        assert_eq!(default.instance(), None);
    }
}
