//! The host's side: bridges and what is routed.

use ipnet::IpNet;
use network::Mac;
use network::route::{self, LinkInfo};
use nft::Firewall;
use stdx::{Context as _, Error, Result};
use sys::netlink::{Batch, Protocol, Socket};

/// The ways to the host's network configuration, opened once.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) route: Socket,
    pub(crate) firewall: Firewall,
}

/// A bridge as it shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// The alias that says that it is ours.
    pub(crate) mark: &'a str,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    /// The gateways' addresses.
    pub(crate) addresses: &'a [IpNet],
    /// The network has IPv6.
    pub(crate) ipv6: bool,
    /// The user named it: a bridge that somebody else made will do.
    pub(crate) foreign: bool,
}

/// A bridge as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) index: u32,
    /// We made it.
    pub(crate) owned: bool,
}

impl Host {
    pub(crate) fn open() -> Result<Self> {
        let route = Socket::open(Protocol::Route).context(|| "open netlink socket")?;
        Ok(Self { route, firewall: Firewall::open()? })
    }

    /// What the host routes or has addresses in, not counting the link `bridge`, which is to be ours.
    pub(crate) fn routed_beside(&mut self, bridge: &str) -> Result<Vec<IpNet>> {
        let own = route::link(&mut self.route, bridge)?.map(|link| link.index);
        let addresses = route::addresses(&mut self.route)?;
        let (ours, others): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|(index, _)| Some(*index) == own);
        let ours: Vec<IpNet> = ours.into_iter().map(|(_, address)| address).collect();
        let mut taken: Vec<IpNet> = others.into_iter().map(|(_, address)| address).collect();
        // Routes of an old bridge of ours, among them the broadcast and local ones, do not stand in our own way.
        let routes = route::routes(&mut self.route)?;
        taken.extend(routes.into_iter().filter(|net| !ours.iter().any(|own| own.contains(net))));
        Ok(taken)
    }

    /// Makes the bridge, or makes the one that is ours right: marked, addressed, up. A bridge that somebody else made
    /// gets what it lacks and loses nothing.
    pub(crate) fn ensure_bridge(&mut self, wanted: &Wanted<'_>) -> Result<Found> {
        let name = wanted.name;
        let (link, owned) = match route::link(&mut self.route, name)? {
            Some(link) if link.kind == "bridge" && link.alias == wanted.mark => (link, true),
            Some(link) if link.kind == "bridge" && wanted.foreign => (link, false),
            Some(_) => {
                let text = format!(
                    "a link named {name} exists already and is not this network's; rename or remove it"
                );
                return Err(Error::conflict(text));
            }
            None => (self.make_bridge(wanted)?, true),
        };
        if wanted.ipv6 {
            set_ipv6(name, "accept_ra", "0")?;
            set_ipv6(name, "disable_ipv6", "0")?;
        } else if owned {
            // IPv4 only: without this the bridge takes a link-local address that containers could talk to.
            set_ipv6(name, "disable_ipv6", "1")?;
        }
        let mut batch = Batch::new();
        let mut missing = wanted.addresses.to_vec();
        for (_, other) in
            route::addresses(&mut self.route)?.into_iter().filter(|(index, _)| *index == link.index)
        {
            let kernels_own = matches!(other, IpNet::V6(six) if six.addr().is_unicast_link_local());
            if missing.contains(&other) {
                missing.retain(|address| *address != other);
            } else if owned && !kernels_own {
                route::delete_address(&mut batch, link.index, other);
            }
        }
        for address in &missing {
            route::add_address(&mut batch, link.index, *address);
        }
        route::raise(&mut batch, link.index);
        self.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("set up bridge {name}")).caused_by(e))?;
        Ok(Found { index: link.index, owned })
    }

    fn make_bridge(&mut self, wanted: &Wanted<'_>) -> Result<LinkInfo> {
        let name = wanted.name;
        let mut batch = Batch::new();
        route::add_bridge(&mut batch, name, wanted.mac, wanted.mtu);
        self.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("make bridge {name}")).caused_by(e))?;
        let mut batch = Batch::new();
        route::set_alias(&mut batch, name, wanted.mark);
        self.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("mark bridge {name}")).caused_by(e))?;
        route::link(&mut self.route, name)?
            .ok_or_else(|| Error::internal(format!("bridge {name} vanished")))
    }

    /// Takes addresses of ours from a bridge that is not. What is gone already is fine.
    pub(crate) fn remove_addresses(&mut self, bridge: u32, addresses: &[IpNet]) -> Result<()> {
        for (index, address) in route::addresses(&mut self.route)? {
            if index != bridge || !addresses.contains(&address) {
                continue;
            }
            let mut batch = Batch::new();
            route::delete_address(&mut batch, index, address);
            self.route
                .execute(batch)
                .map_err(|e| Error::internal(format!("remove address {address}")).caused_by(e))?;
        }
        Ok(())
    }

    /// Removes the links that `which` chooses, and returns their names.
    pub(crate) fn remove_links(
        &mut self,
        which: impl Fn(&LinkInfo) -> bool,
    ) -> Result<Vec<String>> {
        const ENODEV: i32 = 19;
        let mut removed = Vec::new();
        for link in route::links(&mut self.route)?.into_iter().filter(which) {
            let mut batch = Batch::new();
            route::delete_link(&mut batch, link.index);
            match self.route.execute(batch) {
                // It went by itself meanwhile, as a namespace's end takes its links along.
                Err(e) if e.errno() == Some(ENODEV) => {}
                Err(e) => {
                    return Err(Error::internal(format!("remove link {}", link.name)).caused_by(e));
                }
                Ok(()) => removed.push(link.name),
            }
        }
        Ok(removed)
    }
}

pub(crate) fn set_ipv6(link: &str, key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/{key}");
    match std::fs::write(&path, value) {
        // A kernel without IPv6 has nothing to set; what needs it fails with its addresses.
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).context(|| format!("set {path}"))
        }
        _ => Ok(()),
    }
}
