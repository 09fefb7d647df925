//! The daemon's configuration: what was given, checked and with defaults.

use crate::given::{self, Given};
use server::Tls;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stdx::{Error, Result};

/// How the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where it listens, as `unix://…`, `tcp://…`, `fd://…`.
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
    /// Log lines are JSON.
    pub(crate) log_json: bool,
    /// No colours, whatever standard error is.
    pub(crate) raw_logs: bool,
    /// Registries that may be spoken to without TLS.
    pub(crate) insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub(crate) registry_mirrors: Vec<String>,
    /// Layers fetched at a time.
    pub(crate) max_concurrent_downloads: u32,
    /// Layers sent at a time.
    pub(crate) max_concurrent_uploads: u32,
    /// How often a download is tried.
    pub(crate) max_download_attempts: u32,
    /// The way out.
    pub(crate) proxies: engine::Proxies,
    /// Labels of the daemon.
    pub(crate) labels: Vec<String>,
    /// Features by name.
    pub(crate) features: BTreeMap<String, bool>,
    /// The log driver of containers that name none.
    pub(crate) log_driver: String,
    /// Options of that driver.
    pub(crate) log_options: BTreeMap<String, String>,
    /// Clients are told that experimental features are on.
    pub(crate) experimental: bool,
    /// Older versions of the API are refused.
    pub(crate) min_api_version: Option<String>,
    /// Whose ids containers have; empty: the host's.
    pub(crate) userns_remap: String,
    /// Containers have an init when they do not say.
    pub(crate) init: bool,
    /// Another init than ours.
    pub(crate) init_path: Option<PathBuf>,
    /// Directories of CDI specifications, the later the stronger; empty: Docker's.
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// The file that says whom the host asks for names.
    pub(crate) resolv_conf: PathBuf,
    /// What containers get when they do not say.
    pub(crate) defaults: engine::Defaults,
    /// How networks are set that do not say.
    pub(crate) networks: engine::NetworkDefaults,
    /// Processes a container may have when nobody says otherwise.
    pub(crate) default_pids_limit: i64,
    /// Seconds between a container's stop signal and SIGKILL when it says nothing itself.
    pub(crate) default_stop_timeout: i64,
    /// Containers go on without the daemon.
    pub(crate) live_restore: bool,
    /// Seconds that stopping containers with the daemon may take.
    pub(crate) shutdown_timeout: i64,
    /// `tcp://` is TLS.
    pub(crate) tls: Option<Tls>,
    /// `--tls=false` or `--tlsverify=false` was said: `tcp://` in plain text is wanted.
    pub(crate) plain_tcp: bool,
    /// Where the figures are served as well, as `HOST:PORT`; `None`: nowhere.
    pub(crate) metrics_address: Option<String>,
    /// Other OCI runtimes by name.
    pub(crate) runtimes: BTreeMap<String, container::runtimes::Program>,
    /// The runtime of containers that name none; empty: the built-in one.
    pub(crate) default_runtime: String,
    /// Remove what was made on the host, and end.
    pub(crate) cleanup: bool,
    /// What the user should know, for the log.
    pub(crate) notices: Vec<String>,
    /// What was given, and where it can be read again.
    pub(crate) source: Source,
}

/// Where a configuration came from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    flags: Given,
    merged: Given,
    path: PathBuf,
    name: &'static str,
}

const DATA_ROOT: &str = "/var/lib/gantry";
const EXEC_ROOT: &str = "/run/gantry";
const SOCKET: &str = "unix:///run/gantry.sock";
const PIDS_LIMIT: i64 = 4096;
const STOP_TIMEOUT: i64 = 10;
const SHUTDOWN_TIMEOUT: i64 = 15;

/// Options that a running daemon takes over from a file that has changed.
const RELOADED: &[&str] = &[
    "debug",
    "log-level",
    "labels",
    "insecure-registries",
    "registry-mirrors",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "features",
    "runtimes",
    "default-runtime",
];

/// Puts flags, file and defaults together. `name`: what the program was started as.
pub(crate) fn load(flags: Given, name: &'static str) -> Result<Config> {
    let folder = if name == "dockerd" { "/etc/docker" } else { "/etc/gantry" };
    let asked = flags.text("config-file").map(PathBuf::from);
    let path = asked.clone().unwrap_or_else(|| Path::new(folder).join("daemon.json"));
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && asked.is_none() => Vec::new(),
        Err(e) => {
            let why = match e.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => e.to_string(),
            };
            let why = Error::invalid(format!("open {}: {why}", path.display()));
            return Err(given::in_file(&path, &why));
        }
    };
    from_text(flags, &text, path, name)
}

/// Reads the file again with the same flags, for SIGHUP. The second value: what has changed and needs a new start.
pub(crate) fn reload(old: &Config) -> Result<(Config, Vec<&'static str>)> {
    let Source { flags, path, name, merged } = old.source.clone();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(given::in_file(&path, &Error::invalid(e.to_string()))),
    };
    let new = from_text(flags, &text, path, name)?;
    let mut changes = merged.changes(&new.source.merged);
    changes.retain(|id| !RELOADED.contains(id));
    Ok((new, changes))
}

fn from_text(flags: Given, text: &[u8], path: PathBuf, name: &'static str) -> Result<Config> {
    let merged = Given::from_file(text)
        .and_then(|file| Given::merge(&flags, file))
        .map_err(|e| given::in_file(&path, &e))?;
    let validation = "merged configuration validation from file and command line flags failed: ";
    let config = build(&merged, name)
        .map_err(|e| given::in_file(&path, &Error::invalid(format!("{validation}{e}"))))?;
    let notices = merged.admit()?;
    Ok(Config { notices, source: Source { flags, merged, path, name }, ..config })
}

fn build(given: &Given, name: &'static str) -> Result<Config> {
    let log_level = given.text("log-level").unwrap_or_else(|| "info".to_owned());
    if !matches!(
        log_level.as_str(),
        "trace" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic"
    ) {
        return Err(Error::invalid(format!("invalid logging level: {log_level}")));
    }
    let log_format = given.text("log-format").unwrap_or_else(|| "text".to_owned());
    if !matches!(log_format.as_str(), "text" | "json") {
        return Err(Error::invalid(format!("invalid log format: {log_format}")));
    }
    let mut hosts = given.list("hosts");
    if hosts.is_empty() {
        hosts.push(
            if name == "dockerd" { "unix:///var/run/docker.sock" } else { SOCKET }.to_owned(),
        );
    }
    let path = |id: &str| given.text(id).map(PathBuf::from);
    let said = |id: &str, value: bool| given.switch(id) == Some(value);
    exec_options(&given.list("exec-opts"))?;
    registries(given)?;
    let defaults = crate::defaults::containers(given)?;
    let strict = defaults.profile == engine::SecurityProfile::Strict;
    if strict && !said("tlsverify", true) && hosts.iter().any(|host| host.starts_with("tcp://")) {
        return Err(Error::invalid(
            "conflicting options: a tcp host without --tlsverify and security-profile=strict",
        ));
    }
    Ok(Config {
        hosts,
        data_root: path("data-root").unwrap_or_else(|| DATA_ROOT.into()),
        exec_root: path("exec-root").unwrap_or_else(|| EXEC_ROOT.into()),
        pidfile: path("pidfile"),
        // Who may use the socket is root here: nobody else, unless a group is named.
        group: given.text("group").or_else(|| strict.then(|| "0".to_owned())),
        debug: given.switch("debug").unwrap_or(log_level == "debug"),
        log_level,
        log_json: log_format == "json",
        raw_logs: given.switch("raw-logs").unwrap_or(false),
        insecure_registries: given.list("insecure-registries"),
        // As dockerd shows them.
        registry_mirrors: given
            .list("registry-mirrors")
            .into_iter()
            .map(|mirror| format!("{}/", mirror.trim_end_matches('/')))
            .collect(),
        max_concurrent_downloads: count(
            given,
            "max-concurrent-downloads",
            "max concurrent downloads",
            3,
        )?,
        max_concurrent_uploads: count(
            given,
            "max-concurrent-uploads",
            "max concurrent uploads",
            5,
        )?,
        max_download_attempts: count(given, "max-download-attempts", "max download attempts", 5)?,
        proxies: engine::Proxies {
            http: given.text("http-proxy"),
            https: given.text("https-proxy"),
            no: given.text("no-proxy"),
        },
        labels: labels(given.list("labels"))?,
        log_driver: given.text("log-driver").unwrap_or_else(|| "json-file".to_owned()),
        log_options: given.map("log-opts"),
        features: given.switches("features"),
        experimental: given.switch("experimental").unwrap_or(false),
        min_api_version: given.text("min-api-version").map(min_api_version).transpose()?,
        userns_remap: given.text("userns-remap").unwrap_or_default(),
        init: given.switch("init").unwrap_or(false),
        init_path: path("init-path"),
        cdi_spec_dirs: match given.list("cdi-spec-dirs") {
            none if none.is_empty() => crate::defaults::CDI.map(PathBuf::from).to_vec(),
            // One empty text looks nowhere.
            some => some.into_iter().filter(|d| !d.is_empty()).map(PathBuf::from).collect(),
        },
        resolv_conf: path("resolv-conf").unwrap_or_else(|| "/etc/resolv.conf".into()),
        defaults,
        networks: crate::networks::networks(given)?,
        default_pids_limit: given.int("default-pids-limit").unwrap_or(PIDS_LIMIT),
        default_stop_timeout: given.int("default-stop-timeout").unwrap_or(STOP_TIMEOUT),
        live_restore: given.switch("live-restore").unwrap_or(true),
        shutdown_timeout: given.int("shutdown-timeout").unwrap_or(SHUTDOWN_TIMEOUT),
        tls: (said("tls", true) || said("tlsverify", true)).then(|| tls(given)),
        plain_tcp: said("tls", false) || said("tlsverify", false),
        metrics_address: given.text("metrics-addr"),
        runtimes: crate::runtimes::configured(given)?,
        default_runtime: given.text("default-runtime").unwrap_or_default(),
        cleanup: given.switch("cleanup").unwrap_or(false),
        notices: Vec::new(),
        source: Source {
            flags: Given::default(),
            merged: given.clone(),
            path: PathBuf::new(),
            name,
        },
    })
}

/// Docker's places where nothing is said: `DOCKER_CERT_PATH`, or the user's `.docker`.
fn tls(given: &Given) -> Tls {
    let folder = std::env::var_os("DOCKER_CERT_PATH").filter(|p| !p.is_empty()).map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
                .join(".docker")
        },
        PathBuf::from,
    );
    let file =
        |id: &str, name: &str| given.text(id).map_or_else(|| folder.join(name), PathBuf::from);
    Tls {
        ca: (given.switch("tlsverify") == Some(true)).then(|| file("tlscacert", "ca.pem")),
        cert: file("tlscert", "cert.pem"),
        key: file("tlskey", "key.pem"),
    }
}

fn count(given: &Given, id: &str, what: &str, default: u32) -> Result<u32> {
    match given.int(id) {
        // As with dockerd, nothing is the same as the default.
        None | Some(0) => Ok(default),
        Some(n) => u32::try_from(n).map_err(|_| Error::invalid(format!("invalid {what}: {n}"))),
    }
}

/// Two values for one label are a mistake; the same one twice is not.
fn labels(all: Vec<String>) -> Result<Vec<String>> {
    let mut kept: Vec<String> = Vec::new();
    for label in all {
        let key = label.split('=').next().unwrap_or_default();
        match kept.iter().find(|other| other.split('=').next() == Some(key)) {
            Some(other) if *other != label => {
                return Err(Error::invalid(format!("conflict labels for {label} and {other}")));
            }
            Some(_) => {}
            None => kept.push(label),
        }
    }
    Ok(kept)
}

/// Containers' cgroups are made in the file system, as `native.cgroupdriver=cgroupfs` says; everything else is refused.
fn exec_options(options: &[String]) -> Result<()> {
    for option in options {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("unable to parse key/value option: {option}")))?;
        match (key.trim().to_ascii_lowercase().as_str(), value) {
            ("native.cgroupdriver", "cgroupfs") => {}
            ("native.cgroupdriver", "systemd") => {
                return Err(Error::not_implemented(
                    "native.cgroupdriver=systemd is not supported: cgroups are made in the file system (cgroupfs)",
                ));
            }
            ("native.cgroupdriver", other) => {
                return Err(Error::invalid(format!("invalid cgroupdriver option: {other}")));
            }
            _ => return Err(Error::invalid(format!("invalid exec-opt: {option}"))),
        }
    }
    Ok(())
}

fn registries(given: &Given) -> Result<()> {
    let mut config = remote::Config::default();
    given.list("insecure-registries").iter().try_for_each(|text| config.add_insecure(text))
}

fn min_api_version(text: String) -> Result<String> {
    let wrong = |why: String| Error::invalid(format!("invalid min-api-version: {why}"));
    if text.starts_with(['v', 'V']) {
        return Err(wrong("API version must be provided without \"v\" prefix".to_owned()));
    }
    let version: api::ApiVersion =
        text.parse().map_err(|_| wrong(format!("{text} is no API version")))?;
    if version < api::MIN {
        return Err(wrong(format!("minimum supported API version is {}: {text}", api::MIN)));
    }
    if version > api::MAX {
        return Err(wrong(format!("maximum supported API version is {}: {text}", api::MAX)));
    }
    Ok(text)
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

    /// The least level that is logged.
    pub(crate) fn level(&self) -> &str {
        match self.log_level.as_str() {
            _ if self.debug => "debug",
            "fatal" | "panic" => "error",
            "warning" => "warn",
            level => level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, want: &str) {
        let got = match from_text(Given::default(), file.as_bytes(), "/f".into(), "gantryd") {
            Ok(_) => "fine".to_owned(),
            Err(e) => e.to_string(),
        };
        let merged = "unable to configure the Docker daemon with file /f: merged configuration validation from file and \
                      command line flags failed: ";
        assert_eq!(got.strip_prefix(merged).unwrap_or(&got), want, "{file}");
    }

    #[test]
    fn values_are_checked_with_dockerds_words() {
        check(r#"{"log-level":"foo"}"#, "invalid logging level: foo");
        check(r#"{"log-format":"yaml"}"#, "invalid log format: yaml");
        check(r#"{"max-concurrent-downloads":-1}"#, "invalid max concurrent downloads: -1");
        check(r#"{"max-concurrent-uploads":-1}"#, "invalid max concurrent uploads: -1");
        check(r#"{"max-download-attempts":-1}"#, "invalid max download attempts: -1");
        check(r#"{"max-download-attempts":0}"#, "fine");
        check(r#"{"labels":["a=b","a=c"]}"#, "conflict labels for a=c and a=b");
        check(r#"{"labels":["a=b","a=b"]}"#, "fine");
        check(r#"{"exec-opts":["native.cgroupdriver=cgroupfs"]}"#, "fine");
        check(r#"{"exec-opts":["native.cgroupdriver=foo"]}"#, "invalid cgroupdriver option: foo");
        check(r#"{"exec-opts":["foo"]}"#, "unable to parse key/value option: foo");
        check(
            r#"{"exec-opts":["native.cgroupdriver=systemd"]}"#,
            "native.cgroupdriver=systemd is not supported: cgroups are made in the file system (cgroupfs)",
        );
        check(r#"{"min-api-version":"1.24"}"#, "fine");
        check(
            r#"{"min-api-version":"1.10"}"#,
            &format!(
                "invalid min-api-version: minimum supported API version is {}: 1.10",
                api::MIN
            ),
        );
        check(
            r#"{"min-api-version":"1.999"}"#,
            &format!(
                "invalid min-api-version: maximum supported API version is {}: 1.999",
                api::MAX
            ),
        );
        check(
            r#"{"insecure-registries":["a/b"]}"#,
            "insecure registry a/b is not valid: invalid host \"a/b\"",
        );
        check(r#"{"live-restore":true,"tls":false,"storage-driver":"overlay2"}"#, "fine");
    }

    #[test]
    fn another_exec_root_is_another_instance() {
        let load = |file: &str| {
            from_text(Given::default(), file.as_bytes(), PathBuf::new(), "gantryd").unwrap()
        };
        assert_eq!(load(r#"{"exec-root":"/tmp/x"}"#).instance().map(|i| i.len()), Some(6));
        assert_eq!(load("{}").instance(), None);
    }

    #[test]
    fn tls_is_asked_for_and_plain_text_too() {
        let load = |file: &str| {
            from_text(Given::default(), file.as_bytes(), PathBuf::new(), "gantryd").unwrap()
        };
        let verified = load(r#"{"tlsverify":true,"tlscacert":"/ca","tlscert":"/c","tlskey":"/k"}"#);
        let (ca, cert, key) = (Some("/ca".into()), "/c".into(), "/k".into());
        assert_eq!(verified.tls, Some(Tls { ca, cert, key }));
        assert_eq!(load(r#"{"tls":true}"#).tls.unwrap().ca, None);
        assert!(load(r#"{"tls":false}"#).plain_tcp);
        assert!(!load("{}").plain_tcp && load("{}").tls.is_none());
    }

    #[test]
    fn a_reload_tells_what_needs_a_new_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.json");
        let old = from_text(Given::default(), b"{}", path.clone(), "gantryd").unwrap();
        std::fs::write(&path, r#"{"labels":["a=b"],"debug":true,"init":true}"#).unwrap();
        let (new, late) = reload(&old).unwrap();
        assert!(new.debug);
        assert_eq!(late, ["init"]);
        std::fs::write(&path, "x").unwrap();
        assert!(reload(&old).is_err());
    }
}
