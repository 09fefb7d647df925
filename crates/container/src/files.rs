//! The small files of a container: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, and compiled seccomp programs.

use crate::services::Paths;
use crate::spec::EngineFiles;
use crate::state::Endpoints;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use stdx::fs::{Durability, replace};
use stdx::{Context as _, Result};
use store::records::container::{ContainerRecord, HostConfig};

/// Where the files of container `id` are.
pub fn paths(paths: &Paths, id: &str) -> EngineFiles {
    let dir = paths.data_of(id);
    EngineFiles {
        hosts: dir.join("hosts"),
        hostname: dir.join("hostname"),
        resolv_conf: dir.join("resolv.conf"),
    }
}

/// Writes the files that do not depend on addresses. Called once, when the container is created.
pub fn write_at_create(
    files: &EngineFiles,
    record: &ContainerRecord,
    host_resolv_conf: &str,
) -> Result<()> {
    let hostname = crate::spec::hostname(record);
    let hostname = if record.config.domainname.is_empty() {
        format!("{hostname}\n")
    } else {
        format!("{hostname}.{}\n", record.config.domainname)
    };
    let resolv = resolv_conf(&record.host, host_resolv_conf);
    write(&files.hostname, hostname.as_bytes())?;
    write(&files.resolv_conf, resolv.as_bytes())?;
    write(&files.hosts, hosts(record, &Endpoints::new()).as_bytes())
}

/// Writes `/etc/hosts` with the addresses of this start. In place: a running container has the file mounted.
pub fn write_hosts(
    files: &EngineFiles,
    record: &ContainerRecord,
    endpoints: &Endpoints,
) -> Result<()> {
    write(&files.hosts, hosts(record, endpoints).as_bytes())
}

/// These files are runtime-class: a power cut ends the container, and the next start writes them again.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    options
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
        .context(|| format!("write {}", path.display()))
}

fn hosts(record: &ContainerRecord, endpoints: &Endpoints) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for line in &record.host.extra_hosts {
        // The server has refused what is not `name:address`, and names with white space in them.
        if let Some((name, address)) = line.split_once(':') {
            let _infallible = writeln!(text, "{address}\t{name}");
        }
    }
    let hostname = crate::spec::hostname(record);
    let domain = &record.config.domainname;
    for endpoint in endpoints.values() {
        for (address, _) in endpoint.ipv4().into_iter().chain(endpoint.ipv6()) {
            let _infallible = if domain.is_empty() {
                writeln!(text, "{address}\t{hostname}")
            } else {
                writeln!(text, "{address}\t{hostname}.{domain} {hostname}")
            };
        }
    }
    text
}

/// The container's resolver configuration: the host's, without name servers that only the host can reach, or what the
/// user asked for.
fn resolv_conf(host: &HostConfig, on_host: &str) -> String {
    let lines = |keyword: &str| -> Vec<&str> {
        on_host
            .lines()
            .map(str::trim)
            .filter(|l| l.split_whitespace().next() == Some(keyword))
            .collect()
    };
    let own_network = host.network_mode != "host" && !host.network_mode.starts_with("container:");
    let mut text = String::new();
    let mut servers: Vec<String> = if host.dns.is_empty() {
        let reachable = |line: &&str| {
            let server = line.split_whitespace().nth(1).unwrap_or_default();
            !own_network || !(server.starts_with("127.") || server == "::1")
        };
        lines("nameserver").into_iter().filter(reachable).map(str::to_owned).collect()
    } else {
        host.dns.iter().map(|server| format!("nameserver {server}")).collect()
    };
    if servers.is_empty() && own_network && host.network_mode != "none" {
        servers = vec!["nameserver 8.8.8.8".to_owned(), "nameserver 8.8.4.4".to_owned()];
    }
    let search = match host.dns_search.as_slice() {
        [] => lines("search").first().map(|l| (*l).to_owned()),
        [dot] if dot == "." => None,
        domains => Some(format!("search {}", domains.join(" "))),
    };
    let options = match host.dns_options.as_slice() {
        [] => lines("options").first().map(|l| (*l).to_owned()),
        options => Some(format!("options {}", options.join(" "))),
    };
    for line in servers.into_iter().chain(search).chain(options) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// A container's seccomp profile.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    BuiltIn,
    Text(&'a str),
}

fn profile(wanted: Wanted<'_>) -> Result<seccomp::Profile> {
    match wanted {
        Wanted::BuiltIn => Ok(seccomp::Profile::builtin(seccomp::Strictness::Default)),
        Wanted::Text(text) => seccomp::Profile::parse(text),
    }
}

/// Compiled seccomp programs, each compiled once and kept as a file that shims load.
#[derive(Debug)]
pub struct SeccompCache {
    dir: PathBuf,
    kernel: seccomp::Kernel,
    /// The daemon's own default: `unconfined` or a profile's text; `None`: the built-in one.
    default: Option<String>,
    known: Mutex<HashMap<String, PathBuf>>,
}

impl SeccompCache {
    /// A cache in `dir`, which is created, for the kernel of that release (`uname -r`).
    pub fn open(dir: PathBuf, release: &str, default: Option<String>) -> Result<Self> {
        let default = default.filter(|d| d != "builtin");
        if let Some(profile) = default.as_deref().filter(|d| *d != "unconfined") {
            seccomp::Profile::parse(profile).context(|| "read the default seccomp profile")?;
        }
        stdx::fs::create_dir(&dir, 0o700)?;
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let kernel = seccomp::Kernel {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next().unwrap_or(0),
        };
        Ok(Self { dir, kernel, default, known: Mutex::default() })
    }

    /// The profile of a container, `None` when it runs unconfined: for runtimes that compile it themselves.
    pub fn profile(
        &self,
        host: &HostConfig,
        capabilities: &[String],
    ) -> Result<Option<oci::runtime::Seccomp>> {
        let Some(wanted) = self.wanted(host) else { return Ok(None) };
        let arch = seccomp::Arch::native();
        Ok(Some(profile(wanted)?.resolve(capabilities, arch, self.kernel)))
    }

    /// Which profile a container has; `None` when it runs unconfined.
    fn wanted<'a>(&'a self, host: &'a HostConfig) -> Option<Wanted<'a>> {
        let prefixes = ["seccomp=", "seccomp:"];
        let asked =
            host.security_opt.iter().find_map(|o| prefixes.iter().find_map(|p| o.strip_prefix(p)));
        // Clients send a profile's text, not its path.
        match asked {
            Some("unconfined") => None,
            Some("builtin") => Some(Wanted::BuiltIn),
            None if host.privileged => None,
            None => match self.default.as_deref() {
                Some("unconfined") => None,
                Some(text) => Some(Wanted::Text(text)),
                None => Some(Wanted::BuiltIn),
            },
            Some(text) => Some(Wanted::Text(text)),
        }
    }

    /// The program for a container, `None` when it runs unconfined.
    pub fn program(&self, host: &HostConfig, capabilities: &[String]) -> Result<Option<PathBuf>> {
        let Some(wanted) = self.wanted(host) else { return Ok(None) };
        let text = match wanted {
            Wanted::BuiltIn => "builtin",
            Wanted::Text(text) => text,
        };
        let arch = seccomp::Arch::native();
        let key = seccomp::Program::cache_key(text, capabilities, arch, self.kernel);
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(path) = known.get(&key) {
            return Ok(Some(path.clone()));
        }
        let program =
            seccomp::compile(&profile(wanted)?.resolve(capabilities, arch, self.kernel), arch)?;
        let path = self.dir.join(format!("{key}.bpf"));
        replace(&path, program.as_bytes(), 0o600, Durability::Process)?;
        known.insert(key, path.clone());
        Ok(Some(path))
    }
}
