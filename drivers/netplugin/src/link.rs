//! Taking the link that a plugin made into a container.

use crate::Inner;
use crate::ipam::shortened;
use ipnet::IpNet;
use network::route::{self, LinkInfo};
use network::{Mac, Sandbox};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use stdx::{Error, Kind, Result};
use sys::netlink::Batch;

const ENODEV: i32 = 19;

/// What a container is to have.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// What the plugin calls the link on the host.
    pub(crate) source: &'a str,
    /// What it is to be called inside, if the user says so.
    pub(crate) name: Option<&'a str>,
    /// What its name begins with, if he does not.
    pub(crate) prefix: &'a str,
    pub(crate) mac: Option<Mac>,
    pub(crate) addresses: &'a [IpNet],
    pub(crate) link_local: &'a [IpAddr],
    pub(crate) routes: &'a [(IpNet, Option<IpAddr>)],
    /// Where everything else goes.
    pub(crate) gateways: &'a [IpAddr],
}

impl Inner {
    /// Takes it. Answers its name inside and its Ethernet address. On an error it is on the host again, or gone.
    pub(crate) fn take_link(
        &self,
        sandbox: &mut Sandbox,
        wanted: &Wanted<'_>,
    ) -> Result<(String, Option<Mac>)> {
        let found = self.find_link(wanted.source)?;
        let (_, free) = sandbox.next_link_named(wanted.prefix);
        let name = wanted.name.unwrap_or(&free);
        let mut batch = Batch::new();
        route::move_link(&mut batch, found.index, sandbox.netns(), name);
        self.host().execute(batch).map_err(|e| {
            let text = format!("move link {} into the container as {name}", wanted.source);
            Error::internal(text).caused_by(e)
        })?;
        let link = route::link(sandbox.route(), name)?
            .ok_or_else(|| Error::internal("the link is not in the sandbox"))?;
        match set_up(sandbox, wanted, &link) {
            Ok(mac) => {
                sandbox.linked(link.index, name);
                Ok((name.to_owned(), mac))
            }
            Err(e) => {
                // The error that led here is the one to report.
                let _back = self.give_back(sandbox, name, wanted.source);
                Err(e)
            }
        }
    }

    /// Takes a link out of a container: what is made of nothing ends, hardware comes back to the host under its old name.
    /// Nothing that a container made itself comes to the host. That it is not there is success.
    pub(crate) fn give_back(&self, sandbox: &mut Sandbox, name: &str, source: &str) -> Result<()> {
        let Some(link) = route::link(sandbox.route(), name)? else { return Ok(()) };
        let mut batch = Batch::new();
        if link.kind.is_empty() && is_name(source) {
            route::move_link(&mut batch, link.index, self.home.as_fd(), source);
        } else {
            route::delete_link(&mut batch, link.index);
        }
        match sandbox.route().execute(batch) {
            Err(e) if e.errno() == Some(ENODEV) => Ok(()),
            result => {
                result.map_err(|e| Error::internal(format!("remove link {name}")).caused_by(e))
            }
        }
    }

    /// The link of that name on the host, if it is one that a plugin may give away.
    fn find_link(&self, source: &str) -> Result<LinkInfo> {
        let refused = |why: &str| {
            Error::new(
                Kind::Internal,
                format!("the plugin named link {:?}, {why}", shortened(source)),
            )
        };
        if !is_name(source) {
            return Err(refused("which is no name of a link"));
        }
        let mut host = self.host();
        let found =
            route::link(&mut host, source)?.ok_or_else(|| refused("which is not on the host"))?;
        if found.index == route::LOOPBACK {
            return Err(refused("which is the host's loopback"));
        }
        if found.alias.starts_with("gantry") || found.kind == "bridge" || found.master != 0 {
            return Err(refused("which is in use on the host"));
        }
        // The link that the host's own packets leave by.
        if route::default_routes(&mut host)?.iter().any(|r| r.index == found.index) {
            return Err(refused("which is the host's way out"));
        }
        Ok(found)
    }
}

/// Gives the link in the sandbox its addresses and routes.
fn set_up(sandbox: &mut Sandbox, wanted: &Wanted<'_>, link: &LinkInfo) -> Result<Option<Mac>> {
    let local = wanted.link_local.iter().map(|address| {
        let prefix = if address.is_ipv4() { 16 } else { 64 };
        IpNet::new(*address, prefix).expect("the prefix is one of the family")
    });
    let addresses: Vec<IpNet> = wanted.addresses.iter().copied().chain(local).collect();
    if addresses.iter().any(|address| address.addr().is_ipv6()) {
        let set = |key: &str, value: &str| {
            (format!("net/ipv6/conf/{}/{key}", link.name), value.to_owned())
        };
        // Addresses and routes are given; nobody's announcements are believed.
        sandbox.sysctls(vec![set("accept_ra", "0"), set("disable_ipv6", "0")])?;
    }
    let mut batch = Batch::new();
    if let Some(mac) = wanted.mac.filter(|mac| link.mac != Some(*mac)) {
        route::set_mac(&mut batch, link.index, mac);
    }
    for address in &addresses {
        route::add_address(&mut batch, link.index, *address);
    }
    route::raise(&mut batch, link.index);
    // First those that need no neighbour: they may lead to the others' neighbours.
    let direct = wanted.routes.iter().filter(|(_, via)| via.is_none());
    let others = wanted.routes.iter().filter(|(_, via)| via.is_some());
    for (to, via) in direct.chain(others) {
        route::add_route(&mut batch, link.index, *to, *via);
    }
    for gateway in wanted.gateways {
        route::add_default_route(&mut batch, link.index, *gateway);
    }
    sandbox
        .route()
        .execute(batch)
        .map_err(|e| Error::internal("set up the plugin's link in the container").caused_by(e))?;
    Ok(wanted.mac.or(link.mac))
}

/// Whether a link can be called so (the kernel's `dev_valid_name`).
pub(crate) fn is_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    (1..16).contains(&name.len()) && name != "." && name != ".." && !name.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_of_links() {
        assert!(is_name("eth0") && is_name("weave.12-x"));
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "a\n", "0123456789abcdef", "a\0"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
