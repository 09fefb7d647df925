//! The pair of links by which packets come in a second time that the host's own input rules have let in.
//!
//! ```text
//!   LAN ──▶ eth0 ─ prerouting ─ input: the host's rules, then ours ──copy──▶ gantry-out ═══ gantry-in ─ prerouting ─ dnat ─▶ …
//! ```
//!
//! Nothing else goes that way: neither link has a route, and both ends are the host's. What a packet of theirs may do is
//! said in [`crate::rules`].

use crate::host::{Host, set_ipv6};
use crate::{Config, Inner};
use ipnet::IpNet;
use network::{Mac, route};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use stdx::{Context as _, Error, Result};
use sys::netlink::Batch;

const EEXIST: i32 = 17;
/// The most that a link of this kind carries: what comes in was put together from fragments.
const MTU: u32 = 65535;
/// Without an address of its own the kernel takes nothing in through a link whose senders it checks (`rp_filter`). This one
/// is for such purposes (RFC 7600), and nobody ever sees it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// What is redirected to the relay goes to an address of the link that it came by, which must be one that later packets, by
/// another link, can go to as well. Nobody is ever answered from this one (RFC 6666).
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);
/// Copies are sent to nobody's address on the link.
const TO: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 11)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
];
/// The sending end's, so that the other is its neighbour.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

impl Config {
    /// The end that copies are sent to, and the one that they come in by.
    pub(crate) fn door_links(&self) -> [String; 2] {
        match &self.instance {
            None => ["gantry-out".into(), "gantry-in".into()],
            Some(instance) => [format!("gantryo-{instance}"), format!("gantryi-{instance}")],
        }
    }

    fn door_mark(&self) -> String {
        format!("{}door", self.mark())
    }
}

impl Inner {
    /// The door as it is, for the rules.
    pub(crate) fn door(&self) -> Option<crate::rules::Door> {
        let link = self.state().door?;
        let [_, enters] = self.config.door_links();
        Some(crate::rules::Door { link, to: TO, enters })
    }

    /// Makes sure of the door where the host's rules are asked.
    pub(crate) fn ensure_door(&self, host: &mut Host) -> Result<()> {
        if !self.config.policy.ask_host {
            return Ok(());
        }
        let [out, enters] = self.config.door_links();
        let doing = || format!("make links {out} and {enters}");
        let indexes = match self.found(host, [&out, &enters])? {
            Some(indexes) => indexes,
            None => {
                let mut batch = Batch::new();
                route::add_loop(&mut batch, &out, &enters, Mac::of(ADDRESS), MTU);
                host.route.execute(batch).map_err(|e| Error::internal(doing()).caused_by(e))?;
                let found = self.found(host, [&out, &enters])?;
                found.ok_or_else(|| Error::internal(doing()))?
            }
        };
        self.settle(host, [&out, &enters], indexes).context(doing)?;
        self.state().door = Some(indexes[0]);
        Ok(())
    }

    /// The numbers of both ends if they are there. One alone, which somebody has left, is taken away.
    fn found(&self, host: &mut Host, names: [&str; 2]) -> Result<Option<[u32; 2]>> {
        let mark = self.config.door_mark();
        let mut found = Vec::new();
        for name in names {
            let Some(link) = route::link(&mut host.route, name)? else { continue };
            // Without a mark: we were killed before we could write it.
            if link.kind != "veth" || !(link.alias == mark || link.alias.is_empty()) {
                return Err(Error::conflict(format!(
                    "a link named {name} exists already and is not this daemon's; rename or remove it"
                )));
            }
            found.push(link.index);
        }
        match found[..] {
            [out, enters] => Ok(Some([out, enters])),
            [] => Ok(None),
            _ => {
                host.remove_links(|link| found.contains(&link.index))?;
                Ok(None)
            }
        }
    }

    /// Marks, settings, addresses; both up.
    fn settle(&self, host: &mut Host, names: [&str; 2], indexes: [u32; 2]) -> Result<()> {
        let [out, enters] = names;
        let mut batch = Batch::new();
        for name in names {
            route::set_alias(&mut batch, name, &self.config.door_mark());
        }
        host.route.execute(batch).map_err(|e| Error::internal("mark them").caused_by(e))?;
        // Senders are elsewhere: that there is a way to them at all is what can be asked here.
        set_ipv4(enters, "rp_filter", "2")?;
        set_ipv4(enters, "forwarding", "1")?;
        for name in names {
            set_ipv6(name, "accept_ra", "0")?;
            set_ipv6(name, "disable_ipv6", "0")?;
        }
        set_ipv6(enters, "forwarding", "1")?;
        let mut batch = Batch::new();
        for index in indexes {
            route::raise_unasked(&mut batch, index);
        }
        host.route.execute(batch).map_err(|e| Error::internal("raise them").caused_by(e))?;
        let mut addresses = vec![(indexes[1], IpNet::from(IpAddr::V4(ADDRESS)))];
        if Path::new("/proc/sys/net/ipv6").exists() {
            let local = IpNet::new(LINK_LOCAL.into(), 64).expect("64 bits are in 128");
            addresses.push((indexes[0], local));
            addresses.push((indexes[1], IpNet::from(IpAddr::V6(ADDRESS_V6))));
        }
        for (index, address) in addresses {
            let mut batch = Batch::new();
            route::add_address(&mut batch, index, address);
            match host.route.execute(batch) {
                Err(e) if e.errno() == Some(EEXIST) => {}
                result => result.map_err(|e| Error::internal("address them").caused_by(e))?,
            }
        }
        // Asked for, they carry packets from now on, not only when the kernel's worker gets to them.
        for name in [out, enters] {
            route::link(&mut host.route, name)?;
        }
        Ok(())
    }

    /// Takes the door away: there is no network any more.
    pub(crate) fn remove_door(&self, host: &mut Host) -> Result<()> {
        if self.state().door.take().is_some() {
            let names = self.config.door_links();
            let mark = self.config.door_mark();
            host.remove_links(|link| names.contains(&link.name) && link.alias == mark)?;
        }
        Ok(())
    }

    /// Whether a link that went is one of the door's, which is to come back.
    pub(crate) fn is_door(&self, link: &str) -> bool {
        self.state().door.is_some() && self.config.door_links().iter().any(|name| name == link)
    }
}

fn set_ipv4(link: &str, key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/{key}");
    std::fs::write(&path, value).context(|| format!("set {path}"))
}
