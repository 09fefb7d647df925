//! What plugins were asked for and keep, on disk.
//!
//! ```text
//! networks/<network>             whose it is
//! pools/<network>.4, .6          a pool: what its plugin calls it, and the network's own addresses in it
//! addresses/<network>-<address>  an endpoint's address: of which pool
//! endpoints/<endpoint>           whose it is, and the host's name of the link
//! ```
//!
//! A note is there from before the plugin is asked, or from when its answer is known where only that says what it is
//! about, until the plugin has taken it back. Networks, pools and addresses outlive a power cut: plugins may keep them in
//! databases of their own. Endpoints are of the running host.

use ipnet::IpNet;
use network::{EndpointId, Family, NetworkId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stdx::fs::{Durability, remove_file, replace};
use stdx::{Context as _, Error, Result};

/// A network that a plugin was asked to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkNote {
    pub(crate) driver: String,
    #[serde(default)]
    pub(crate) global: bool,
}

/// A pool that a plugin gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolNote {
    pub(crate) driver: String,
    /// What the plugin calls it.
    pub(crate) id: String,
    /// The plugin's name for what its pools are told apart in.
    pub(crate) space: String,
    #[serde(with = "crate::text::one")]
    pub(crate) subnet: IpNet,
    #[serde(default, with = "crate::text::maybe")]
    pub(crate) range: Option<IpNet>,
    #[serde(default)]
    pub(crate) options: std::collections::BTreeMap<String, String>,
    /// The gateway that came with the pool.
    #[serde(default, with = "crate::text::maybe")]
    pub(crate) gateway: Option<IpNet>,
    /// The network's own addresses: the gateway's, if it was asked for, and those of others. First the gateway's.
    #[serde(default, with = "crate::text::many")]
    pub(crate) held: Vec<IpNet>,
    /// The first of them is the gateway's.
    #[serde(default)]
    pub(crate) gateway_held: bool,
    /// The plugin wants to know to which Ethernet address it gives an address.
    #[serde(default)]
    pub(crate) needs_mac: bool,
    /// The plugin forgets what it gave, and is told again at the daemon's start.
    #[serde(default)]
    pub(crate) replay: bool,
}

/// An endpoint's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddressNote {
    pub(crate) driver: String,
    /// What the plugin calls the pool.
    pub(crate) pool: String,
    /// With the prefix that it has on a link.
    #[serde(with = "crate::text::one")]
    pub(crate) address: IpNet,
    #[serde(default)]
    pub(crate) mac: String,
    /// Tells it from an earlier endpoint's.
    #[serde(skip)]
    pub(crate) serial: u64,
}

/// An endpoint that a plugin was asked to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointNote {
    pub(crate) driver: String,
    pub(crate) network: String,
    /// The link's name on the host, once the plugin has named it.
    #[serde(default)]
    pub(crate) source: String,
}

/// The folders of notes.
const KINDS: [&str; 4] = ["networks", "pools", "addresses", "endpoints"];

/// A pool's name among ours.
pub(crate) type PoolKey = (NetworkId, Family);

/// All notes, in memory as on disk.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    notes: Mutex<Notes>,
    addresses: Mutex<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) networks: HashMap<NetworkId, NetworkNote>,
    pub(crate) pools: HashMap<PoolKey, PoolNote>,
    pub(crate) addresses: HashMap<(NetworkId, IpAddr), AddressNote>,
    pub(crate) endpoints: HashMap<EndpointId, EndpointNote>,
    serial: u64,
}

impl Journal {
    /// Reads what is there.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        for kind in KINDS {
            stdx::fs::create_dir(&folder.join(kind), 0o700)?;
        }
        let mut notes = Notes::default();
        for (name, note) in read::<NetworkNote>(&folder.join("networks"))? {
            if let Ok(id) = name.parse() {
                notes.networks.insert(id, note);
            }
        }
        for (name, note) in read::<EndpointNote>(&folder.join("endpoints"))? {
            if let Ok(id) = name.parse() {
                notes.endpoints.insert(id, note);
            }
        }
        for (name, note) in read::<PoolNote>(&folder.join("pools"))? {
            if let Some((id, _)) = name.split_once('.')
                && let Ok(id) = id.parse()
            {
                notes.pools.insert((id, Family::of(&note.subnet)), note);
            }
        }
        for (name, note) in read::<AddressNote>(&folder.join("addresses"))? {
            if let Some((id, _)) = name.split_once('-')
                && let Ok(id) = id.parse()
            {
                notes.addresses.insert((id, note.address.addr()), note);
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            notes: Mutex::new(notes),
            addresses: Mutex::default(),
        })
    }

    /// The notes, to be looked at.
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        // Notes change by whole inserts and removes: a panic elsewhere leaves them consistent.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put_network(&self, id: NetworkId, note: NetworkNote) -> Result<()> {
        self.write("networks", &id.to_string(), &note, Durability::Power)?;
        self.notes().networks.insert(id, note);
        Ok(())
    }

    pub(crate) fn remove_network(&self, id: &NetworkId) -> Result<()> {
        self.notes().networks.remove(id);
        self.remove("networks", &id.to_string())
    }

    pub(crate) fn put_pool(&self, key: PoolKey, note: PoolNote) -> Result<()> {
        self.write("pools", &pool_name(&key), &note, Durability::Power)?;
        self.notes().pools.insert(key, note);
        Ok(())
    }

    pub(crate) fn remove_pool(&self, key: &PoolKey) -> Result<()> {
        self.notes().pools.remove(key);
        self.remove("pools", &pool_name(key))
    }

    pub(crate) fn put_address(&self, network: NetworkId, mut note: AddressNote) -> Result<()> {
        let address = note.address.addr();
        let _alone = self.addresses();
        self.write("addresses", &address_name(&network, address), &note, Durability::Power)?;
        let mut notes = self.notes();
        notes.serial += 1;
        note.serial = notes.serial;
        notes.addresses.insert((network, address), note);
        Ok(())
    }

    /// An address that was given before this daemon started and that nobody has claimed yet: it is the asker's now, and
    /// is not taken back.
    pub(crate) fn claim(&self, network: &NetworkId, address: IpAddr) -> Option<IpNet> {
        let mut notes = self.notes();
        let serial = notes.serial + 1;
        let note = notes.addresses.get_mut(&(*network, address)).filter(|n| n.serial == 0)?;
        note.serial = serial;
        let address = note.address;
        notes.serial = serial;
        Some(address)
    }

    /// Forgets an address, unless somebody has it since: the plugin may give it again while it is told that it is free.
    pub(crate) fn remove_address(
        &self,
        network: &NetworkId,
        address: IpAddr,
        serial: u64,
    ) -> Result<()> {
        let _alone = self.addresses();
        let key = (*network, address);
        {
            let mut notes = self.notes();
            if notes.addresses.get(&key).is_none_or(|note| note.serial != serial) {
                return Ok(());
            }
            notes.addresses.remove(&key);
        }
        self.remove("addresses", &address_name(network, address))
    }

    /// Held while an address's note and its file change together; taken before the notes.
    fn addresses(&self) -> MutexGuard<'_, ()> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put_endpoint(&self, id: EndpointId, note: EndpointNote) -> Result<()> {
        self.write("endpoints", &id.to_string(), &note, Durability::Process)?;
        self.notes().endpoints.insert(id, note);
        Ok(())
    }

    pub(crate) fn remove_endpoint(&self, id: &EndpointId) -> Result<()> {
        self.notes().endpoints.remove(id);
        self.remove("endpoints", &id.to_string())
    }

    fn write(
        &self,
        kind: &str,
        name: &str,
        note: &impl Serialize,
        durability: Durability,
    ) -> Result<()> {
        let bytes =
            serde_json::to_vec(note).map_err(|e| Error::internal("encode a note").caused_by(e))?;
        replace(&self.folder.join(kind).join(name), &bytes, 0o600, durability)
    }

    fn remove(&self, kind: &str, name: &str) -> Result<()> {
        remove_file(&self.folder.join(kind).join(name))
    }
}

fn pool_name((network, family): &PoolKey) -> String {
    format!("{network}.{}", if *family == Family::V4 { 4 } else { 6 })
}

fn address_name(network: &NetworkId, address: IpAddr) -> String {
    format!("{network}-{address}")
}

/// The notes in a folder by their names. One that cannot be read was never finished, and is passed over.
fn read<T: DeserializeOwned>(folder: &Path) -> Result<Vec<(String, T)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context(|| format!("read {}", folder.display())),
    };
    let mut notes = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("read {}", folder.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let bytes = std::fs::read(entry.path()).context(|| format!("read {name}"))?;
        if let Ok(note) = serde_json::from_slice(&bytes) {
            notes.push((name, note));
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("notes");
        let (network, endpoint) = (NetworkId::from_bytes([1; 32]), EndpointId::from_bytes([2; 32]));
        let journal = Journal::open(&place).unwrap();
        let known = NetworkNote { driver: "p".into(), global: true };
        journal.put_network(network, known.clone()).unwrap();
        let note = EndpointNote {
            driver: "p".into(),
            network: network.to_string(),
            source: String::new(),
        };
        journal.put_endpoint(endpoint, note.clone()).unwrap();
        let six = AddressNote {
            driver: "p".into(),
            pool: "a/../b".into(),
            address: "fd00::5/64".parse().unwrap(),
            mac: String::new(),
            serial: 0,
        };
        journal.put_address(network, six).unwrap();
        std::fs::write(place.join("networks/.tmp"), "{").unwrap();
        let again = Journal::open(&place).unwrap();
        assert_eq!(again.notes().networks.get(&network), Some(&known));
        assert_eq!(again.notes().endpoints.get(&endpoint), Some(&note));
        assert!(again.notes().addresses.contains_key(&(network, "fd00::5".parse().unwrap())));
        again.remove_network(&network).unwrap();
        again.remove_endpoint(&endpoint).unwrap();
        let five = "fd00::5".parse().unwrap();
        // Who claims it has it: what was said of it before is not to take it away.
        assert!(again.claim(&network, five).is_some());
        again.remove_address(&network, five, 0).unwrap();
        let serial = again.notes().addresses[&(network, five)].serial;
        again.remove_address(&network, five, serial).unwrap();
        let empty = Journal::open(&place).unwrap();
        let notes = empty.notes();
        assert!(notes.networks.is_empty() && notes.endpoints.is_empty());
        assert!(notes.addresses.is_empty());
    }
}
