//! Doing what a [`LinkPlan`] says.

use crate::plan::LinkPlan;
use network::Sandbox;
use network::route::{self, Veth};
use stdx::Error;
use sys::netlink::{self, Batch, Socket};

const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// Why a plan could not be applied. Nothing of it is left.
#[derive(Debug)]
pub enum Failure {
    /// The host has a link of that name.
    NameTaken,
    /// There is no bridge of that number.
    NoBridge,
    /// Anything else.
    Other(Error),
}

/// Makes the pair of links, puts one end into the bridge, gives the other its address and routes: four messages to the
/// kernel, and as many answers.
///
/// Making the link and naming it again are not one batch: the kernel goes on after a refusal, and would put a stranger's
/// link of that name into our bridge. The host's end comes first, so that only it has to be waited for; see
/// [`forward_now`].
pub fn apply(host: &mut Socket, sandbox: &mut Sandbox, plan: &LinkPlan) -> Result<(), Failure> {
    let mut pair = Batch::new();
    let veth = Veth {
        name: &plan.host,
        mtu: plan.mtu,
        peer: &plan.interface,
        peer_mac: plan.mac,
        netns: sandbox.netns(),
    };
    route::add_veth(&mut pair, &veth);
    host.execute(pair).map_err(|e| match e.errno() {
        Some(EEXIST) => Failure::NameTaken,
        _ => Failure::Other(failed("make a pair of links", e)),
    })?;

    let mut port = Batch::new();
    route::enslave(&mut port, &plan.host, plan.bridge, &plan.alias);
    if plan.isolated {
        route::isolate(&mut port, &plan.host);
    }
    if let Err(e) = host.execute(port) {
        remove(host, &plan.host);
        return Err(match e.errno() {
            Some(ENODEV | EINVAL) => Failure::NoBridge,
            _ => Failure::Other(failed("put the link into its bridge", e)),
        });
    }

    let inside = set_up_inside(sandbox, plan).and_then(|index| {
        forward_now(host, plan)?;
        speak_ipv6_now(sandbox, plan, index)?;
        Ok(index)
    });
    match inside {
        Ok(index) => {
            sandbox.linked(index, &plan.interface);
            Ok(())
        }
        Err(e) => {
            remove(host, &plan.host);
            Err(Failure::Other(e))
        }
    }
}

/// Gives the sandbox's end its settings, addresses and routes and raises it. Returns its number.
fn set_up_inside(sandbox: &mut Sandbox, plan: &LinkPlan) -> stdx::Result<u32> {
    if !plan.sysctls.is_empty() {
        sandbox.sysctls(plan.sysctls.clone())?;
    }
    let batch = |index: u32| {
        let mut batch = Batch::new();
        for address in plan.addresses.iter().chain(&plan.link_local) {
            route::add_address(&mut batch, index, *address);
        }
        route::raise(&mut batch, index);
        for gateway in plan.gateways.iter().filter(|_| plan.default_route) {
            route::add_default_route(&mut batch, index, *gateway);
        }
        batch
    };
    let refused = |e| failed("set up the link in the sandbox", e);
    match sandbox.route().execute(batch(plan.index)) {
        // The kernel chose another number. The one we thought of does not exist, so nothing has happened yet.
        Err(e) if e.errno() == Some(ENODEV) => {
            let link = route::link(sandbox.route(), &plan.interface)?;
            let index =
                link.ok_or_else(|| Error::internal("the link is not in the sandbox"))?.index;
            sandbox.route().execute(batch(index)).map_err(refused)?;
            Ok(index)
        }
        result => result.map(|()| plan.index).map_err(refused),
    }
}

/// Makes the host's end carry packets before the container can send one.
///
/// The end that is raised first has no carrier yet, so the kernel leaves its queue and its bridge port switched off until
/// a worker thread ("linkwatch") gets to it; the answer to the container's first ARP request is lost until then, and asked
/// for again only after a second. Asking for the link makes the kernel catch up at once (since Linux 6.8; before, the
/// worker is usually, not certainly, faster than the container's first program).
fn forward_now(host: &mut Socket, plan: &LinkPlan) -> stdx::Result<()> {
    if route::link(host, &plan.host)?.is_none() {
        return Err(Error::internal(format!("link {} vanished", plan.host)));
    }
    // The first port gives the bridge itself its carrier, in the same delayed way: the gateway would not answer yet.
    match route::link_of(host, plan.bridge)? {
        Some(_) => Ok(()),
        None => Err(Error::internal("the network's bridge vanished")),
    }
}

/// Makes IPv6 in the sandbox notice that its link has a carrier: until then it neither asks for its neighbours nor answers
/// them. IPv4 does not look.
fn speak_ipv6_now(sandbox: &mut Sandbox, plan: &LinkPlan, index: u32) -> stdx::Result<()> {
    if plan.addresses.iter().any(|address| address.addr().is_ipv6()) {
        route::link_of(sandbox.route(), index)?;
    }
    Ok(())
}

/// Takes a link away that was made a moment ago. This is the one place that waits for it, on the way of an error.
fn remove(host: &mut Socket, name: &str) {
    if let Ok(Some(link)) = route::link(host, name) {
        let mut batch = Batch::new();
        route::delete_link(&mut batch, link.index);
        // The error that led here is the one to report; the sandbox's end takes the link away in any case.
        let _removed = host.execute(batch);
    }
}

fn failed(doing: &str, error: netlink::Error) -> Error {
    Error::internal(doing).caused_by(error)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NameTaken => {
                Self::conflict("all names for the host's end of the link are taken")
            }
            Failure::NoBridge => Self::internal("the network's bridge is gone"),
            Failure::Other(error) => error,
        }
    }
}
