//! Who is called what, where, and what a container is told about it.
//!
//! As Docker's resolver: `a.b.c` is first looked for as a name on each of the container's networks, in their order, then
//! as `a.b` on a network called `c`, then as `a` on one called `b.c`. On each network what the container alone calls
//! somebody (links) goes before the names that are everybody's. The first network that knows an address of the wanted
//! family answers. A name that is known but has no such address, or no record of the wanted type, is answered with
//! nothing: it is ours, and nobody outside is to be asked about it.

use crate::message::{CLASS_IN, Query, Rcode, TYPE_A, TYPE_AAAA, TYPE_PTR, Transport};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// What is to be done about a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Somebody outside is to be asked.
    Forward,
    /// Nobody may be asked: the container's networks are internal (CVE-2024-29018).
    Refuse(Rcode),
}

/// What one container sees, and what others see of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Where it is, the most important network first.
    pub places: Vec<Place>,
    /// Names that it alone knows.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Unknown names of one label are answered with nothing, so that its search domains get their turn.
    pub ndots: bool,
}

/// A container's place on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The network's id.
    pub network: String,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// What it is called there, the true name first.
    pub names: Vec<String>,
    /// What it alone calls others there: its word and their name.
    pub links: BTreeMap<String, String>,
    /// No way out from here.
    pub internal: bool,
}

/// All names of all networks.
#[derive(Debug, Default)]
pub struct Tables {
    networks: HashMap<String, Network>,
    sandboxes: HashMap<String, View>,
}

#[derive(Debug, Default)]
struct Network {
    /// Its name and whether it is internal; a network that has none is not one whose containers have names.
    known: Option<(String, bool)>,
    /// By name: whose it is and where they are.
    names: HashMap<String, Vec<(String, Vec<IpAddr>)>>,
    /// By address: whose it is and their true name.
    addresses: HashMap<IpAddr, (String, String)>,
}

/// What is known about a name.
enum Known {
    /// These are its addresses of the wanted family.
    At(Vec<IpAddr>),
    /// It exists, without such an address.
    Elsewhere,
}

impl Tables {
    /// The network `id` is called `name` from now on.
    pub fn set_network(&mut self, id: &str, name: &str, internal: bool) {
        let network = self.networks.entry(id.to_owned()).or_default();
        network.known = Some((name.to_ascii_lowercase(), internal));
    }

    /// The network's containers have no names any more.
    pub fn remove_network(&mut self, id: &str) {
        if let Some(network) = self.networks.get_mut(id) {
            network.known = None;
        }
        self.forget_if_empty(id);
    }

    /// The container `id` is there from now on; what was said of it before is forgotten.
    pub fn set_sandbox(&mut self, id: &str, mut view: View) {
        self.remove_sandbox(id);
        lower(&mut view);
        for place in &view.places {
            let network = self.networks.entry(place.network.clone()).or_default();
            for (position, name) in place.names.iter().enumerate() {
                // A name that is given twice is still one container.
                if !place.names[..position].contains(name) {
                    let who = (id.to_owned(), place.addresses.clone());
                    network.names.entry(name.clone()).or_default().push(who);
                }
            }
            if let Some(name) = place.names.first() {
                for address in &place.addresses {
                    network.addresses.insert(*address, (id.to_owned(), name.clone()));
                }
            }
        }
        self.sandboxes.insert(id.to_owned(), view);
    }

    /// The container is no more.
    pub fn remove_sandbox(&mut self, id: &str) {
        let Some(view) = self.sandboxes.remove(id) else { return };
        for place in &view.places {
            let Some(network) = self.networks.get_mut(&place.network) else { continue };
            for name in &place.names {
                if let Some(who) = network.names.get_mut(name) {
                    who.retain(|(sandbox, _)| sandbox != id);
                    if who.is_empty() {
                        network.names.remove(name);
                    }
                }
            }
            for address in &place.addresses {
                if network.addresses.get(address).is_some_and(|(sandbox, _)| sandbox == id) {
                    network.addresses.remove(address);
                }
            }
            self.forget_if_empty(&place.network);
        }
    }

    /// How many networks are known by name, and how many containers.
    pub fn counts(&self) -> (usize, usize) {
        let networks = self.networks.values().filter(|n| n.known.is_some()).count();
        (networks, self.sandboxes.len())
    }

    /// What the container `sandbox` is told. `random` decides in which order several addresses come.
    pub fn decide(
        &self,
        sandbox: &str,
        query: &Query,
        transport: Transport,
        random: u64,
    ) -> Decision {
        let Some(view) = self.sandboxes.get(sandbox) else {
            return Decision::Refuse(Rcode::ServFail);
        };
        if query.class == CLASS_IN
            && let Some(answer) = self.local(view, query, transport, random)
        {
            return Decision::Answer(answer);
        }
        if !self.leads_outside(view) {
            return Decision::Refuse(Rcode::ServFail);
        }
        let is_single = query.name.text().is_some_and(|name| !name.contains('.'));
        if view.ndots && is_single && matches!(query.kind, TYPE_A | TYPE_AAAA) {
            return Decision::Answer(query.empty(Rcode::NoError));
        }
        Decision::Forward
    }

    /// An answer from our own names, if it is one of ours.
    fn local(
        &self,
        view: &View,
        query: &Query,
        transport: Transport,
        random: u64,
    ) -> Option<Vec<u8>> {
        let name = query.name.text().filter(|name| !name.is_empty())?;
        if query.kind == TYPE_PTR
            && let Some(address) = query.name.reversed_address()
        {
            let name = self.name_of(view, address)?;
            // A name that no message can hold is still nobody else's business.
            let answer = query.pointer(&name, transport);
            return Some(answer.unwrap_or_else(|| query.empty(Rcode::ServFail)));
        }
        Some(match self.find(view, name, query.kind)? {
            Known::Elsewhere => query.empty(Rcode::NoError),
            Known::At(mut addresses) => {
                shuffle(&mut addresses, random);
                query.addresses(&addresses, transport)
            }
        })
    }

    fn find(&self, view: &View, name: &str, kind: u16) -> Option<Known> {
        if let Some(addresses) = view.hosts.get(name) {
            return Some(of_family(addresses.iter().copied(), kind));
        }
        let whole = (name, None);
        let parts = name.rmatch_indices('.').map(|(at, _)| (&name[..at], Some(&name[at + 1..])));
        std::iter::once(whole)
            .chain(parts)
            .find_map(|(name, network)| self.find_on(view, name, network, kind))
    }

    /// Looks for `name` on all the container's networks, or on those called `network`.
    fn find_on(&self, view: &View, name: &str, network: Option<&str>, kind: u16) -> Option<Known> {
        let mut found = None;
        for links in [true, false] {
            for place in &view.places {
                let Some(there) = self.networks.get(&place.network) else { continue };
                let Some((called, _)) = &there.known else { continue };
                if network.is_some_and(|network| network != called) {
                    continue;
                }
                let linked = place.links.get(name);
                let name = match (links, linked) {
                    (true, Some(target)) => target.as_str(),
                    (false, None) => name,
                    _ => continue,
                };
                let Some(who) = there.names.get(name) else { continue };
                let all = who.iter().flat_map(|(_, addresses)| addresses.iter().copied());
                match of_family(all, kind) {
                    Known::Elsewhere => found = Some(Known::Elsewhere),
                    known @ Known::At(_) => return Some(known),
                }
            }
            if found.is_some() {
                break;
            }
        }
        found
    }

    fn name_of(&self, view: &View, address: IpAddr) -> Option<String> {
        view.places.iter().find_map(|place| {
            let network = self.networks.get(&place.network)?;
            let (called, _) = network.known.as_ref()?;
            let (_, name) = network.addresses.get(&address)?;
            Some(format!("{name}.{called}"))
        })
    }

    /// Whether one of its networks has a way out.
    fn leads_outside(&self, view: &View) -> bool {
        view.places.iter().any(|place| {
            let network = self.networks.get(&place.network).and_then(|n| n.known.as_ref());
            !place.internal && !network.is_some_and(|(_, internal)| *internal)
        })
    }

    fn forget_if_empty(&mut self, id: &str) {
        if self
            .networks
            .get(id)
            .is_some_and(|n| n.known.is_none() && n.names.is_empty() && n.addresses.is_empty())
        {
            self.networks.remove(id);
        }
    }
}

fn of_family(addresses: impl Iterator<Item = IpAddr>, kind: u16) -> Known {
    let wanted: Vec<_> = addresses
        .filter(|address| match kind {
            TYPE_A => address.is_ipv4(),
            TYPE_AAAA => address.is_ipv6(),
            _ => false,
        })
        .collect();
    if wanted.is_empty() { Known::Elsewhere } else { Known::At(wanted) }
}

/// Names are compared without regard to case (RFC 4343).
fn lower(view: &mut View) {
    let lowered = |name: &String| name.to_ascii_lowercase();
    view.hosts = view.hosts.iter().map(|(name, to)| (lowered(name), to.clone())).collect();
    for place in &mut view.places {
        place.names.iter_mut().for_each(|name| name.make_ascii_lowercase());
        place.links = place.links.iter().map(|(name, to)| (lowered(name), lowered(to))).collect();
    }
}

/// Fisher and Yates, with numbers from one random seed (splitmix64): who comes first is nobody's secret.
fn shuffle(addresses: &mut [IpAddr], mut random: u64) {
    for at in (1..addresses.len()).rev() {
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        addresses.swap(at, (mixed % (at as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests;
