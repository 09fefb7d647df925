//! The host's side: bridges and what is routed.

use ipnet::{IpNet, Ipv4Net};
use network::Mac;
use network::route::{self, LinkInfo};
use nft::Firewall;
use std::net::Ipv4Addr;
use stdx::{Context as _, Error, Result};
use sys::netlink::{Batch, Protocol, Socket};

/// The ways to the host's network configuration, opened once.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) route: Socket,
    pub(crate) firewall: Firewall,
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

    /// Makes the bridge, or makes the one that is ours right: marked, addressed, up. Returns its number.
    pub(crate) fn ensure_bridge(
        &mut self,
        name: &str,
        mark: &str,
        subnet: Ipv4Net,
        gateway: Ipv4Addr,
        mtu: u32,
    ) -> Result<u32> {
        let link = match route::link(&mut self.route, name)? {
            Some(link) if link.kind == "bridge" && link.alias == mark => link,
            Some(_) => {
                let text = format!(
                    "a link named {name} exists already and is not this network's; rename or remove it"
                );
                return Err(Error::conflict(text));
            }
            None => self.make_bridge(name, mark, gateway, mtu)?,
        };
        // IPv4 only: without this the bridge takes a link-local address that containers could talk to.
        disable_ipv6(name)?;
        let address =
            Ipv4Net::new(gateway, subnet.prefix_len()).expect("the prefix comes from a subnet");
        let mut batch = Batch::new();
        let mut present = false;
        for (_, other) in
            route::addresses(&mut self.route)?.into_iter().filter(|(index, _)| *index == link.index)
        {
            match other {
                IpNet::V4(other) if other == address => present = true,
                IpNet::V4(other) => route::delete_address(&mut batch, link.index, other),
                IpNet::V6(_) => {}
            }
        }
        if !present {
            route::add_address(&mut batch, link.index, address);
        }
        route::raise(&mut batch, link.index);
        self.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("set up bridge {name}")).caused_by(e))?;
        Ok(link.index)
    }

    fn make_bridge(
        &mut self,
        name: &str,
        mark: &str,
        gateway: Ipv4Addr,
        mtu: u32,
    ) -> Result<LinkInfo> {
        let mut batch = Batch::new();
        route::add_bridge(&mut batch, name, Mac::of(gateway), mtu);
        self.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("make bridge {name}")).caused_by(e))?;
        let mut batch = Batch::new();
        route::set_alias(&mut batch, name, mark);
        self.route
            .execute(batch)
            .map_err(|e| Error::internal(format!("mark bridge {name}")).caused_by(e))?;
        route::link(&mut self.route, name)?
            .ok_or_else(|| Error::internal(format!("bridge {name} vanished")))
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

fn disable_ipv6(link: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    match std::fs::write(&path, "1") {
        // A kernel without IPv6 has nothing to disable.
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).context(|| format!("set {path}"))
        }
        _ => Ok(()),
    }
}
