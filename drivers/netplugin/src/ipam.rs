//! Addresses that plugins give.

use crate::Inner;
use crate::journal::{AddressNote, PoolKey, PoolNote};
use crate::peer::Peer;
use crate::undo::Chore;
use crate::wire::{AddressAnswer, Done, GATEWAY, MAC, PoolAnswer};
use ipnet::IpNet;
use network::ipam::{AddressUser, AddressWish, GivenPool, PoolWish};
use network::{Family, Ipam, Mac, NetworkId, Usage};
use plugin::Failure;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use stdx::{Error, Result};

/// Address management by whoever a network names: us or a plugin.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) inner: Arc<Inner>,
}

impl Ipam for Addresses {
    fn pool(&self, wish: &PoolWish<'_>) -> Result<GivenPool> {
        if wish.ipam.is_builtin() {
            return self.inner.builtin.pool(wish);
        }
        let key = (*wish.network, wish.family);
        if let Some(note) = self.note(&key) {
            // Given before this daemon started.
            return Ok(GivenPool { subnet: note.subnet, gateway: note.gateway });
        }
        let inner = &self.inner;
        let peer = inner.peer(&wish.ipam.driver);
        peer.settle();
        let (capabilities, spaces) = peer.ipam(inner)?;
        let space = if wish.ipam.global {
            spaces.global_default_address_space
        } else {
            spaces.local_default_address_space
        };
        let options = &wish.ipam.options;
        let given = ask_pool(inner, &peer, &space, wish.wanted, wish.range, options, wish.family)?;
        let note = PoolNote {
            driver: wish.ipam.driver.clone(),
            id: given.id,
            space,
            subnet: given.subnet,
            range: wish.range,
            options: options.clone(),
            gateway: given.gateway,
            held: Vec::new(),
            gateway_held: false,
            needs_mac: capabilities.needs_mac,
            replay: capabilities.replay,
        };
        let (subnet, gateway) = (note.subnet, note.gateway);
        inner.journal.put_pool(key, note)?;
        peer.is_alive(inner);
        Ok(GivenPool { subnet, gateway })
    }

    fn release_pool(&self, network: &NetworkId, pool: &IpNet) {
        let key = (*network, Family::of(pool));
        let Some(note) = self.note(&key) else {
            return self.inner.builtin.release_pool(network, pool);
        };
        // The kernel may not have told yet of the end of links that have addresses of it.
        let left: Vec<Chore> = {
            let notes = self.inner.journal.notes();
            let mine = notes.addresses.iter().filter(|((of, address), _)| {
                of == network && address.is_ipv4() == pool.addr().is_ipv4()
            });
            mine.map(|((of, address), note)| Chore::Address(*of, *address, note.serial)).collect()
        };
        let peer = self.inner.peer(&note.driver);
        for chore in left.into_iter().chain([Chore::Pool(key)]) {
            peer.later(&self.inner, chore);
        }
    }

    fn allocate(&self, wish: &AddressWish<'_>) -> Result<IpNet> {
        let key = (*wish.network, Family::of(wish.pool));
        let Some(note) = self.note(&key) else { return self.inner.builtin.allocate(wish) };
        match wish.user {
            AddressUser::Endpoint => self.for_endpoint(wish, &note),
            user => self.for_network(wish, key, note, user == AddressUser::Gateway),
        }
    }

    fn release(&self, network: &NetworkId, pool: &IpNet, address: IpAddr) {
        let Some(pool_note) = self.note(&(*network, Family::of(pool))) else {
            return self.inner.builtin.release(network, pool, address);
        };
        let serial =
            self.inner.journal.notes().addresses.get(&(*network, address)).map(|note| note.serial);
        if let Some(serial) = serial {
            let chore = Chore::Address(*network, address, serial);
            self.inner.peer(&pool_note.driver).later(&self.inner, chore);
        }
    }

    fn usage(&self, network: &NetworkId, pool: &IpNet, range: Option<&IpNet>) -> Option<Usage> {
        // Plugins are not asked for it.
        match self.note(&(*network, Family::of(pool))) {
            None => self.inner.builtin.usage(network, pool, range),
            Some(_) => None,
        }
    }

    fn needs_mac(&self, network: &NetworkId) -> bool {
        let notes = self.inner.journal.notes();
        [Family::V4, Family::V6]
            .iter()
            .any(|family| notes.pools.get(&(*network, *family)).is_some_and(|n| n.needs_mac))
    }
}

impl Addresses {
    fn note(&self, key: &PoolKey) -> Option<PoolNote> {
        self.inner.journal.notes().pools.get(key).cloned()
    }

    fn for_endpoint(&self, wish: &AddressWish<'_>, pool: &PoolNote) -> Result<IpNet> {
        let inner = &self.inner;
        let peer = inner.peer(&pool.driver);
        peer.settle();
        if let Some(wanted) = wish.wanted
            && let Some(address) = inner.journal.claim(wish.network, wanted)
        {
            return Ok(address);
        }
        let address = ask_address(inner, &peer, pool, wish, false);
        if address.as_ref().is_err_and(|e| e.kind() == stdx::Kind::Internal) {
            // It answers, so it may take back now what it should have before.
            peer.is_alive(inner);
        }
        let address = address?;
        inner.journal.put_address(
            *wish.network,
            AddressNote {
                driver: pool.driver.clone(),
                pool: pool.id.clone(),
                address,
                mac: wish.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                serial: 0,
            },
        )?;
        peer.is_alive(inner);
        Ok(address)
    }

    /// The network's own addresses. They go with the pool.
    fn for_network(
        &self,
        wish: &AddressWish<'_>,
        key: PoolKey,
        mut pool: PoolNote,
        gateway: bool,
    ) -> Result<IpNet> {
        let is_wanted = |held: &&IpNet| Some(held.addr()) == wish.wanted;
        if let Some(held) = pool.held.iter().find(is_wanted) {
            return Ok(*held);
        }
        if gateway && let Some(given) = pool.gateway.as_ref().filter(is_wanted) {
            return Ok(*given);
        }
        let peer = self.inner.peer(&pool.driver);
        let address = ask_address(&self.inner, &peer, &pool, wish, gateway)?;
        if gateway {
            pool.held.insert(0, address);
            pool.gateway_held = true;
        } else {
            pool.held.push(address);
        }
        self.inner.journal.put_pool(key, pool)?;
        Ok(address)
    }
}

/// A pool that a plugin gave.
pub(crate) struct Given {
    pub(crate) id: String,
    subnet: IpNet,
    gateway: Option<IpNet>,
}

/// Asks for a pool.
pub(crate) fn ask_pool(
    inner: &Inner,
    peer: &Peer,
    space: &str,
    wanted: Option<IpNet>,
    range: Option<IpNet>,
    options: &BTreeMap<String, String>,
    family: Family,
) -> Result<Given, Failure> {
    let text = |net: Option<IpNet>| net.map(|net| net.to_string()).unwrap_or_default();
    let method = "IpamDriver.RequestPool";
    let question = json!({
        "AddressSpace": space,
        "Pool": text(wanted),
        "SubPool": text(range),
        "Options": options,
        "V6": family == Family::V6,
    });
    let answer: PoolAnswer = peer.call(inner, method, &question)?;
    read_pool(&answer, family).map_err(|text| {
        // It thinks that we have it now. The refusal is what is told, whatever it says to this.
        let _told =
            peer.call::<Done>(inner, "IpamDriver.ReleasePool", &json!({"PoolID": answer.id}));
        Failure::garbled(&peer.name, method, text)
    })
}

/// The pool in an answer, or what is wrong with it.
fn read_pool(answer: &PoolAnswer, family: Family) -> Result<Given, String> {
    let subnet: IpNet = answer
        .pool
        .parse()
        .map_err(|_| format!("its answer has no pool: {:?}", shortened(&answer.pool)))?;
    if Family::of(&subnet) != family {
        return Err(format!("its pool {subnet} is not of the family that was asked for"));
    }
    let gateway = match answer.data.as_ref().and_then(|data| data.get(GATEWAY)) {
        Some(text) if !text.is_empty() => {
            let gateway = prefixed(text, &subnet).filter(|g| subnet.contains(&g.addr()));
            // Docker's words.
            let wrong = || {
                let text = shortened(text);
                format!("failed to parse gateway address ({text}) returned by ipam driver")
            };
            Some(gateway.ok_or_else(wrong)?)
        }
        _ => None,
    };
    Ok(Given { id: answer.id.clone(), subnet: subnet.trunc(), gateway })
}

/// Asks for an address of a pool, which the answer must be.
fn ask_address(
    inner: &Inner,
    peer: &Peer,
    pool: &PoolNote,
    wish: &AddressWish<'_>,
    gateway: bool,
) -> Result<IpNet> {
    let text = request_address(inner, peer, &pool.id, wish.wanted, wish.mac, gateway)?;
    let address = prefixed(&text, &pool.subnet)
        .filter(|a| pool.subnet.contains(&a.addr()))
        .filter(|a| wish.wanted.is_none_or(|wanted| wanted == a.addr()));
    address.ok_or_else(|| {
        give_back(inner, peer, pool, wish.network, &text);
        let wanted = wish.wanted.map(|a| format!(" {a}")).unwrap_or_default();
        let text = format!(
            "its answer {:?} is no address{wanted} of its pool {}",
            shortened(&text),
            pool.subnet
        );
        Error::from(Failure::garbled(&peer.name, "IpamDriver.RequestAddress", text))
    })
}

/// Gives back what a plugin gave in place of what was asked for, unless it is somebody's.
fn give_back(inner: &Inner, peer: &Peer, pool: &PoolNote, network: &NetworkId, text: &str) {
    let Some(address) = prefixed(text, &pool.subnet).map(|net| net.addr()) else { return };
    let is_somebodys = inner.journal.notes().addresses.contains_key(&(*network, address))
        || pool.held.iter().chain(&pool.gateway).any(|held| held.addr() == address);
    if !is_somebodys {
        let question = json!({"PoolID": pool.id, "Address": address.to_string()});
        let _told = peer.call::<Done>(inner, "IpamDriver.ReleaseAddress", &question);
    }
}

/// Asks for an address; the answer as it came.
pub(crate) fn request_address(
    inner: &Inner,
    peer: &Peer,
    pool: &str,
    wanted: Option<IpAddr>,
    mac: Option<Mac>,
    gateway: bool,
) -> Result<String, Failure> {
    let options = match (gateway, mac) {
        (true, _) => json!({"RequestAddressType": GATEWAY}),
        (false, Some(mac)) => json!({MAC: mac.to_string()}),
        (false, None) => Value::Null,
    };
    let wanted = wanted.map(|address| address.to_string()).unwrap_or_default();
    let question = json!({"PoolID": pool, "Address": wanted, "Options": options});
    let answer: AddressAnswer = peer.call(inner, "IpamDriver.RequestAddress", &question)?;
    Ok(answer.address)
}

/// An address with a prefix, the pool's where the text has none.
fn prefixed(text: &str, pool: &IpNet) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(net) => Some(net),
        Err(_) => IpNet::new(text.parse().ok()?, pool.prefix_len()).ok(),
    }
}

/// A plugin's words, as many of them as fit a line.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
