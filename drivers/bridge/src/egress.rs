//! Where containers may go, in the kernel: before their links are there, until they are gone.

use crate::host::Host;
use crate::lease::Lease;
use crate::rules::egress::{self, Port};
use crate::{Inner, Net, State, plan};
use network::{Endpoint, Live};
use nft::Change;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use stdx::{Error, Result, fail_point};
use sys::netlink::Message;
use types::Egress;

/// What the rules of this instance are and were.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Ports with rules, by their links.
    pub(crate) ports: BTreeMap<String, Port>,
    /// The table is there, as far as we know.
    pub(crate) there: bool,
}

impl Net {
    /// The port that the endpoint will be, if somebody forbids it something.
    fn port(&self, link: &str, own: Option<&Egress>) -> Option<Port> {
        if own.is_none() && self.options.egress.is_none() {
            return None;
        }
        Some(Port {
            link: link.to_owned(),
            own: own.cloned(),
            network: self.options.egress.clone(),
            sides: self.pools.iter().map(|pool| (pool.subnet, pool.gateway)).collect(),
        })
    }
}

impl State {
    /// Ports whose leases ended with their network.
    pub(crate) fn forget_unjudged(&mut self) {
        let Self { leases, judged, .. } = self;
        judged.ports.retain(|link, _| leases.links().any(|(known, _, _)| known == link));
    }
}

impl Inner {
    /// Forbids what is forbidden to an endpoint; its link is about to be made.
    pub(crate) fn judge(&self, host: &mut Host, endpoint: &Endpoint, link: &str) -> Result<()> {
        let (port, there) = {
            let mut state = self.state();
            let net = state.networks.get(&endpoint.network);
            let port = net.and_then(|net| net.port(link, endpoint.egress.as_ref()));
            let Some(port) = port else { return Ok(()) };
            if !self.config.policy.any_rules() {
                let text = "egress rules cannot be held: the daemon writes no firewall rules (--iptables=false)";
                return Err(Error::invalid(text));
            }
            state.judged.ports.insert(link.to_owned(), port.clone());
            (port, state.judged.there)
        };
        // First the file: what is not in it is lost when gantry-netd puts the tables back.
        self.write_file_of_now()?;
        fail_point!("bridge.egress.before-rules");
        let changes = self.changes_of(&port, true);
        if !(there && host.firewall.change(&changes)?) {
            self.write_rules(host)?;
        }
        fail_point!("bridge.egress.after-rules");
        Ok(())
    }

    /// The endpoint's link, which has got another name or was never made, is not judged any more.
    pub(crate) fn unjudge(&self, host: &mut Host, link: &str) {
        let port = self.state().judged.ports.remove(link);
        if let Some(port) = port
            && let Err(e) = self.let_go(host, &[port])
        {
            tracing::warn!("egress rules of {link}: {e}");
        }
    }

    /// Living endpoints are judged as before when the rules are next written.
    pub(crate) fn judge_all(&self, live: &[Live]) {
        let mut state = self.state();
        for Live { endpoint, joined, .. } in live {
            let link = joined.host_interface.clone();
            let link = link.unwrap_or_else(|| plan::link_names(&endpoint.id)[0].clone());
            let net = state.networks.get(&endpoint.network);
            if let Some(port) = net.and_then(|net| net.port(&link, endpoint.egress.as_ref())) {
                state.judged.ports.insert(link, port);
            }
        }
    }

    /// Removes the table that an earlier daemon left, if nobody needs it.
    pub(crate) fn sweep_egress(&self, host: &mut Host) -> Result<()> {
        let is_needed = !self.state().judged.ports.is_empty();
        let table = egress::table(&self.config.table());
        if is_needed || !host.firewall.has(nft::Family::Bridge, &table)? {
            return Ok(());
        }
        host.firewall.delete(nft::Family::Bridge, &table)
    }

    /// Whether a change is nothing but an address that `gantry-netd` allows for a name, or forgets.
    pub(crate) fn is_learned(&self, message: &Message) -> bool {
        nft::is_change_of(message, &self.egress_table().0)
            && nft::changed_elements(message)
                .is_some_and(|set| set.contains("names") || set.contains("services"))
    }

    /// The rules of a link that is gone.
    pub(crate) fn unjudged(&self, lease: &Lease) -> Option<Port> {
        self.state().judged.ports.remove(&lease.link)
    }

    /// Removes what was said of ports that are gone, and the table with the last of them.
    pub(crate) fn let_go(&self, host: &mut Host, ports: &[Port]) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let (last, there) = {
            let state = self.state();
            (state.judged.ports.is_empty(), state.judged.there)
        };
        if last {
            return self.drop_egress(host);
        }
        let changes: Vec<Change> =
            ports.iter().flat_map(|port| self.changes_of(port, false)).collect();
        if there && host.firewall.change(&changes)? {
            return Ok(());
        }
        self.write_rules(host)
    }

    /// Removes the table if no container needs it any more.
    pub(crate) fn drop_unused_egress(&self, host: &mut Host) -> Result<()> {
        let unused = {
            let state = self.state();
            state.judged.there && state.judged.ports.is_empty()
        };
        if unused { self.drop_egress(host) } else { Ok(()) }
    }

    /// Removes the table, which no container needs.
    fn drop_egress(&self, host: &mut Host) -> Result<()> {
        self.write_file_of_now()?;
        self.state().judged.there = false;
        host.firewall.delete(nft::Family::Bridge, &egress::table(&self.config.table()))
    }

    fn changes_of(&self, port: &Port, come: bool) -> Vec<Change> {
        let mut sets: BTreeMap<String, Vec<nft::Element>> = BTreeMap::new();
        for (set, element) in port.elements() {
            sets.entry(set).or_default().push(element);
        }
        let table = egress::table(&self.config.table());
        sets.into_iter()
            .map(|(set, elements)| {
                let (add, remove) =
                    if come { (elements, Vec::new()) } else { (Vec::new(), elements) };
                Change { family: nft::Family::Bridge, table: table.clone(), set, add, remove }
            })
            .collect()
    }

    /// Whether this kernel tells of packets. Asked once.
    pub(crate) fn can_log(&self) -> bool {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| match nft::can_log() {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!(
                    "packets that egress rules deny are dropped and not told of: this kernel has no nfnetlink_log ({e})"
                );
                false
            }
        })
    }

    /// Where `gantry-netd` finds the sets of addresses, and hears of what is denied.
    pub(crate) fn egress_table(&self) -> (String, u16) {
        let table = self.config.table();
        (egress::table(&table), egress::group(&table))
    }
}
