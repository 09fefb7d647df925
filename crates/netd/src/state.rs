//! What the daemon writes down for its helper: the truth after either of them was killed.
//!
//! ```text
//! EXEC-ROOT/netd/
//! ├── networks/<id>.json     Network: one a network whose containers know each other by name
//! ├── sandboxes/<id>.json    Sandbox: one a container: endpoints, names, servers, ports on ::1
//! ├── owners/<id>            the helper's own: the process that a sandbox lives as long as
//! ├── firewall               the bytes of the netlink transaction that rewrites our tables
//! ├── port                   the helper's own: where its redirect listener was, to be there again
//! ├── socket                 `protocol` is spoken here
//! ├── lock                   held by the helper that lives
//! └── log                    what it had to say
//! ```
//!
//! A file a container, not one for all: to start one among five hundred is to write a few hundred bytes. Each is
//! replaced in one step, by the daemon alone, *before* the helper is told; what the helper serves is made of these files
//! and nothing else, so it is the same after it was killed. They live in the exec-root: they survive `kill -9`, not a
//! reboot, and nobody waits for a disk.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use stdx::{Context as _, Error, Result};

/// Larger records are not read: no container has that many names.
pub const MAX_RECORD: u64 = 4 << 20;

/// The id of a network or of a container, safe as a file name: 1 to 64 digits and letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{text:?} is no id of a network or container")))
        }
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A network whose containers know each other by name. The default bridge, `host` and `none` have no record, so what is
/// on them has no names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name, as in `web.NAME`.
    pub name: String,
    /// Nothing leaves it: a sandbox that is on such networks alone never asks a server outside (CVE-2024-29018).
    #[serde(default)]
    pub internal: bool,
}

/// A container's network namespace: who is in it and what it may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its resolver is 127.0.0.11: names are answered in its namespace. Without it (default bridge, or only
    /// [`forwards`](Self::forwards)) the namespace is left alone.
    #[serde(default)]
    pub dns: bool,
    /// Where it is connected, the most important first: names are looked up in this order.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The servers of `--dns` (or the daemon's own `dns` setting), asked from the container's namespace. None: the
    /// host's own of `/etc/resolv.conf`, as it is at that moment.
    #[serde(default)]
    pub upstream: Vec<SocketAddr>,
    /// The user set `ndots` above 0 (`--dns-option`): an unknown name of a single label is answered with nothing rather
    /// than asked outside, so that the container's search domains get their turn.
    #[serde(default)]
    pub ndots: bool,
    /// Names that only this container knows: `host.docker.internal`, links of the default bridge.
    #[serde(default)]
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Published ports that the kernel cannot translate, served by the helper.
    #[serde(default)]
    pub forwards: Vec<Forward>,
    /// It may not go everywhere: only allowed names are asked for outside, and their addresses are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// Where a sandbox may go. The rules are in the kernel; the helper adds the addresses of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// The table of family `bridge` whose sets have the addresses.
    pub table: String,
    /// The group of `nfnetlink_log` that denied packets are told to.
    pub group: u16,
    /// The container's own rules ([`types::Egress`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// Its links.
    pub links: Vec<Link>,
}

/// A link of a sandbox with rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The host's end.
    pub name: String,
    /// The network's id.
    pub network: String,
    /// The network's rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// The network's subnets: an answer from outside that names an address there is not believed.
    pub subnets: Vec<String>,
}

/// One container on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network.
    pub network: Id,
    /// Its addresses there, of both families.
    pub addresses: Vec<IpAddr>,
    /// What it is called there: its name first (the answer to "who is 172.18.0.2"), then aliases, short id, hostname.
    /// Several containers may have the same.
    pub names: Vec<String>,
    /// Legacy links: what this container alone calls others of the network (`--link db:database` is
    /// `database` → `db`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// The network lets nothing out, or this endpoint has no way out. Such endpoints alone: nothing is asked outside.
    #[serde(default)]
    pub internal: bool,
}

/// What is sent to an address of the host that the kernel cannot translate, as `::1`, or any of IPv6 for a container that
/// has none. Datagrams are served on IPv6 only.
///
/// The firewall redirects it to [`Client::redirect_port`](crate::client::Client::redirect_port); the helper asks the
/// kernel where they were meant to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Of which protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Address and first port that clients connect to, as `[::1]:8080`. An unspecified address stands for any of its
    /// family.
    pub listen: SocketAddr,
    /// How many ports from there on, 1 or more; the n-th goes to the n-th from [`to`](Self::to) on.
    pub ports: u16,
    /// Address and first port in the container, reachable from the host's namespace.
    pub to: SocketAddr,
}

/// What the helper passes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    dir: PathBuf,
}

impl Paths {
    /// The files below `dir`, which is `EXEC-ROOT/netd`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Records of networks.
    pub fn networks(&self) -> PathBuf {
        self.dir.join("networks")
    }

    /// The record of a network.
    pub fn network(&self, id: &Id) -> PathBuf {
        self.networks().join(format!("{id}.json"))
    }

    /// Records of sandboxes.
    pub fn sandboxes(&self) -> PathBuf {
        self.dir.join("sandboxes")
    }

    /// The record of a sandbox.
    pub fn sandbox(&self, id: &Id) -> PathBuf {
        self.sandboxes().join(format!("{id}.json"))
    }

    /// Records of owners.
    pub fn owners(&self) -> PathBuf {
        self.dir.join("owners")
    }

    /// The record of a sandbox's owner.
    pub fn owner(&self, id: &Id) -> PathBuf {
        self.owners().join(id.as_str())
    }

    /// The transaction that rewrites our tables.
    pub fn firewall(&self) -> PathBuf {
        self.dir.join("firewall")
    }

    /// The port of the redirect listener.
    pub fn port(&self) -> PathBuf {
        self.dir.join("port")
    }

    /// The socket of [`protocol`](crate::protocol).
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The lock of the helper that lives.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// What the helper had to say.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Makes the directories.
    pub fn create(&self) -> Result<()> {
        for dir in [self.networks(), self.sandboxes(), self.owners()] {
            stdx::fs::create_dir(&dir, 0o700)?;
        }
        Ok(())
    }
}

/// A record, `None` when there is none.
pub fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("read {}", path.display()), e)),
    };
    if bytes.len() as u64 > MAX_RECORD {
        return Err(Error::invalid(format!("{} is too long", path.display())));
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::internal(format!("read {}", path.display())).caused_by(e))
}

/// Replaces a record.
pub fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(record)
        .map_err(|e| Error::internal(format!("write {}", path.display())).caused_by(e))?;
    stdx::fs::replace(path, &bytes, 0o600, stdx::fs::Durability::Process)
}

/// The ids that have a record in `dir`; none when there is no such directory. What has another name is not ours.
pub fn ids(dir: &Path) -> Result<Vec<Id>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(format!("list {}", dir.display()), e)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.context(|| format!("list {}", dir.display()))?.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Ok(id) = name.strip_suffix(".json").unwrap_or(name).parse() {
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_safe_as_a_file_name() {
        for text in ["", ".", "..", "a/b", "a\0", &"a".repeat(65), "a.json"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
        assert_eq!("0a9Z".parse::<Id>().unwrap().as_str(), "0a9Z");
        assert!(serde_json::from_str::<Id>("\"../x\"").is_err());
    }

    #[test]
    fn records_come_back_and_old_ones_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        paths.create().unwrap();
        let (id, network) = ("c1".parse::<Id>().unwrap(), "n1".parse::<Id>().unwrap());
        let sandbox = Sandbox {
            dns: true,
            endpoints: vec![Endpoint {
                network,
                addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
                names: vec!["web".into(), "c1".into()],
                links: BTreeMap::from([("database".into(), "db".into())]),
                internal: false,
            }],
            upstream: vec!["10.0.0.1:53".parse().unwrap()],
            ndots: true,
            hosts: BTreeMap::from([("host".into(), vec!["10.0.0.1".parse().unwrap()])]),
            forwards: vec![Forward {
                protocol: Protocol::Udp,
                listen: "[::1]:80".parse().unwrap(),
                ports: 1,
                to: "10.0.0.2:80".parse().unwrap(),
            }],
            egress: Some(Egress {
                table: "t".into(),
                group: 1,
                own: Some("none".into()),
                links: vec![Link { name: "veth1".into(), ..Link::default() }],
            }),
        };
        write(&paths.sandbox(&id), &sandbox).unwrap();
        assert_eq!(read(&paths.sandbox(&id)).unwrap(), Some(sandbox));
        assert_eq!(ids(&paths.sandboxes()).unwrap(), [id]);
        assert_eq!(read::<Network>(&paths.network(&"x".parse().unwrap())).unwrap(), None);
        assert_eq!(serde_json::from_str::<Sandbox>("{}").unwrap(), Sandbox::default());
        std::fs::write(paths.firewall(), "{").unwrap();
        assert!(read::<Network>(&paths.firewall()).is_err());
    }
}
