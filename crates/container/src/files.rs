//! The small files of a container: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, and compiled seccomp programs.

use crate::links;
use crate::resolver::{self, Resolver};
use crate::services::Paths;
use crate::spec::EngineFiles;
use crate::state::Endpoints;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::IpAddr;
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
    on_host: resolver::OnHost<'_>,
) -> Result<()> {
    let hostname = crate::spec::hostname(record);
    let hostname = if record.config.domainname.is_empty() {
        format!("{hostname}\n")
    } else {
        format!("{hostname}.{}\n", record.config.domainname)
    };
    let resolver = match record.host.network_mode.as_str() {
        "host" => Resolver::Host,
        _ => Resolver::Legacy,
    };
    let resolv = resolver::resolv_conf(&record.host, on_host, resolver);
    write(&files.hostname, hostname.as_bytes())?;
    write(&files.resolv_conf, resolv.as_bytes())?;
    write(&files.hosts, hosts(record, &Endpoints::new(), &[], &[]).as_bytes())
}

/// Writes `/etc/hosts` with the addresses of this start. In place: a running container has the file mounted. `links`: the
/// lines for its legacy links.
pub fn write_hosts(
    files: &EngineFiles,
    record: &ContainerRecord,
    endpoints: &Endpoints,
    host_gateways: &[IpAddr],
    links: &[links::Line],
) -> Result<()> {
    write(&files.hosts, hosts(record, endpoints, host_gateways, links).as_bytes())
}

/// Puts the addresses of linked containers right in `/etc/hosts`, and leaves alone what the container wrote there.
pub(crate) fn update_links(files: &EngineFiles, links: &[links::Line]) -> Result<()> {
    let Some(now) = read_ours(&files.hosts)? else { return Ok(()) };
    let text = links::put_right(&now, links);
    if text == now { Ok(()) } else { write(&files.hosts, text.as_bytes()) }
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

fn hosts(
    record: &ContainerRecord,
    endpoints: &Endpoints,
    host_gateways: &[IpAddr],
    links: &[links::Line],
) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for line in &record.host.extra_hosts {
        // The server has refused what is not `name:address`, and names with white space in them.
        let Some((name, address)) = line.split_once(':') else { continue };
        if address == "host-gateway" {
            // Known when it is started.
            for gateway in host_gateways {
                let _infallible = writeln!(text, "{gateway}\t{name}");
            }
        } else {
            let _infallible = writeln!(text, "{address}\t{name}");
        }
    }
    for line in links {
        let _infallible = writeln!(text, "{}\t{}", line.address, line.names);
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

/// Makes the resolver of a container that is on a network with names ours.
pub(crate) fn use_names(
    files: &EngineFiles,
    record: &ContainerRecord,
    endpoints: &Endpoints,
) -> Result<()> {
    let has_rules = crate::egress::of(&record.host).is_some();
    // With rules the addresses of names are allowed by our resolver, on every network.
    let needs = |endpoint: &store::records::network::EndpointRecord| {
        !endpoint.dns_names.is_empty() || (has_rules && !endpoint.host_interface.is_empty())
    };
    if !endpoints.values().any(needs) {
        return Ok(());
    }
    let path = &files.resolv_conf;
    match read_ours(path)?.and_then(|now| resolver::made_internal(&record.host, &now)) {
        Some(text) => write(path, text.as_bytes()),
        None => Ok(()),
    }
}

/// The text of a file that we wrote and that the container can write, too; `None`: it is no text, or longer than any
/// of ours, and so not ours any more.
fn read_ours(path: &Path) -> Result<Option<String>> {
    const LONGEST: u64 = 64 << 10;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .context(|| format!("read {}", path.display()))?;
    let whole = bytes.len() as u64 <= LONGEST;
    Ok(String::from_utf8(bytes).ok().filter(|_| whole))
}

/// A container's seccomp profile.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    BuiltIn(seccomp::Strictness),
    Text(&'a str),
}

fn profile(wanted: Wanted<'_>) -> Result<seccomp::Profile> {
    match wanted {
        Wanted::BuiltIn(strictness) => Ok(seccomp::Profile::builtin(strictness)),
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
        let strict = crate::strict::is_strict(&host.security_opt);
        let built_in = Wanted::BuiltIn(match strict {
            true => seccomp::Strictness::Strict,
            false => seccomp::Strictness::Default,
        });
        // Clients send a profile's text, not its path.
        match asked {
            Some("unconfined") => None,
            Some("builtin") => Some(built_in),
            None if host.privileged => None,
            None => match self.default.as_deref() {
                // No default takes the filter away from who asked for more than the default.
                Some("unconfined") if strict => Some(built_in),
                Some("unconfined") => None,
                Some(text) => Some(Wanted::Text(text)),
                None => Some(built_in),
            },
            Some(text) => Some(Wanted::Text(text)),
        }
    }

    /// The program for a container, `None` when it runs unconfined.
    pub fn program(&self, host: &HostConfig, capabilities: &[String]) -> Result<Option<PathBuf>> {
        let Some(wanted) = self.wanted(host) else { return Ok(None) };
        let text = match wanted {
            Wanted::BuiltIn(seccomp::Strictness::Default) => "builtin",
            Wanted::BuiltIn(seccomp::Strictness::Strict) => "strict",
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
