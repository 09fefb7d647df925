//! The thread that hears which links go.

use crate::{Inner, rules};
use network::NetworkId;
use network::route::{self, LINK_GROUP, LinkEvent};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stdx::{Context as _, Result};
use sys::netlink::{Protocol, Socket};

const ENOBUFS: i32 = 105;
/// `NFNLGRP_NFTABLES`, as a mask.
const RULES_GROUP: u32 = 1 << 6;
/// How long to wait for the rest of what somebody changes in the firewall.
const CROWD: Duration = Duration::from_millis(100);

/// The thread; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(inner: Arc<Inner>) -> Result<Self> {
        // Subscribed before anybody joins, so that no link can go unheard.
        let events =
            Socket::subscribe(Protocol::Route, LINK_GROUP).context(|| "listen to links")?;
        let rules = Socket::subscribe(Protocol::Netfilter, RULES_GROUP)
            .context(|| "listen to firewall changes")?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(std::io::Error::from)
            .context(|| "eventfd")?;
        let end = Arc::new(end);
        let theirs = Arc::clone(&end);
        let thread = std::thread::Builder::new()
            .name("links".into())
            .stack_size(256 << 10)
            .spawn(move || listen(&inner, events, rules, &theirs))
            .context(|| "start thread")?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.end, &1u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            // A panic there has been reported by its own hook.
            let _ended = thread.join();
        }
    }
}

fn listen(inner: &Inner, mut links: Socket, mut firewall: Socket, end: &OwnedFd) {
    // Set while a change that somebody else made is looked at after a moment: such changes come in crowds.
    let mut touched: Option<Instant> = None;
    // Among them was one of our own tables.
    let mut harmed = false;
    // News of links were lost. The kernel goes on losing them, and does not say so again, until all that wait are taken:
    // only then it is looked at what there is.
    let mut lost = false;
    loop {
        let patience = touched.map(|since| {
            let left = CROWD.saturating_sub(since.elapsed());
            Timespec::try_from(left).unwrap_or_default()
        });
        let patience = if lost { Some(Timespec::default()) } else { patience };
        let mut ready = [
            PollFd::new(&links, PollFlags::IN),
            PollFd::new(&firewall, PollFlags::IN),
            PollFd::new(&inner.bell, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        match poll(&mut ready, patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                tracing::error!("waiting for news of links: {e}; addresses will not be given back");
                return;
            }
        }
        let [link, rule, bell, over] = ready.map(|fd| !fd.revents().is_empty());
        if over {
            return;
        }
        if bell {
            let _emptied = rustix::io::read(&inner.bell, &mut [0u8; 8]);
            inner.do_chores();
        }
        if link {
            match links.receive() {
                Ok(messages) => {
                    for event in messages.iter().filter_map(route::event) {
                        inner.heard(event);
                    }
                }
                Err(e) if e.errno() == Some(ENOBUFS) => lost = true,
                Err(e) => tracing::warn!("news of links: {e}"),
            }
        } else if lost {
            lost = false;
            inner.look_again();
        }
        if rule {
            let (ours, others) = inner.foreign_changes(&mut firewall);
            harmed |= ours;
            if ours || others {
                touched.get_or_insert_with(Instant::now);
            }
        }
        if touched.is_some_and(|since| since.elapsed() >= CROWD) {
            touched = None;
            inner.put_rules_back(std::mem::take(&mut harmed));
        }
    }
}

impl Inner {
    /// Whether somebody else has changed our tables, and whether others' in a way that may block us.
    fn foreign_changes(&self, socket: &mut Socket) -> (bool, bool) {
        let messages = match socket.receive() {
            Ok(messages) => messages,
            // Ours may have been so many that others' were lost among them: what is there is looked at.
            Err(e) if e.errno() == Some(ENOBUFS) => return (!self.is_intact(), true),
            Err(e) => {
                tracing::warn!("news of the firewall: {e}");
                return (false, false);
            }
        };
        let own = self.own_port();
        let strange = || messages.iter().filter(|message| Some(message.port) != own);
        let tables = [self.config.table(), self.egress_table().0];
        let is_ours = |message: &sys::netlink::Message| {
            tables.iter().any(|table| nft::is_change_of(message, table))
        };
        // What gantry-netd adds to the sets of egress rules is no harm.
        let ours = strange().any(|message| is_ours(message) && !self.is_learned(message));
        (ours, strange().any(nft::may_block))
    }

    /// Whether our chains are there with as many rules as they shall have. Elements are not counted.
    fn is_intact(&self) -> bool {
        let looked = (|| -> Result<bool> {
            // Held to the end, so that nobody changes what is looked at.
            let mut host = self.host();
            let world = self.world()?;
            let mut wanted = rules::desired(&world);
            if !world.egress.is_empty() {
                let log = world.egress_log;
                wanted.push(rules::egress::desired(&world.table, &world.egress, log));
            }
            for ruleset in wanted {
                let there = host.firewall.rules(ruleset.family.number(), &ruleset.name)?;
                for chain in &ruleset.chains {
                    let rules = there.iter().filter(|rule| rule.chain == chain.name).count();
                    if rules != chain.rules.len() {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })();
        looked.unwrap_or_else(|e| {
            tracing::warn!("firewall after lost news: {e}");
            false
        })
    }

    /// By which our own changes are told from others'.
    fn own_port(&self) -> Option<u32> {
        self.host().firewall.port().ok()
    }

    /// Makes things right after somebody else's change: our tables where they were `harmed`, and our way through others'.
    fn put_rules_back(&self, harmed: bool) {
        let mut host = self.host();
        if self.state().networks.is_empty() {
            return;
        }
        let result = if harmed {
            tracing::warn!("somebody has changed the firewall; writing our tables again");
            self.write_rules(&mut host)
        } else {
            self.pass_foreign(&mut host)
        };
        if let Err(e) = result {
            tracing::error!("our firewall tables: {e}");
        }
    }

    fn heard(&self, event: LinkEvent) {
        let LinkEvent::Gone(link) = event else { return };
        if self.is_door(&link.name) {
            tracing::warn!("link {} was deleted by somebody; making it again", link.name);
            self.put_rules_back(true);
            return;
        }
        {
            // See `make_way`.
            let _host = self.host();
            let freed = self.state().leases.link_gone(&link.name);
            self.release(freed);
        }
        let bridge = {
            let state = self.state();
            state
                .networks
                .iter()
                .find(|(_, net)| net.index == link.index && net.bridge == link.name)
                .map(|(id, _)| *id)
        };
        if let Some(network) = bridge {
            self.mend(&network, &link.name);
        }
    }

    /// Somebody deleted a bridge of ours; `delete` forgets the network first.
    fn mend(&self, network: &NetworkId, bridge: &str) {
        tracing::warn!("bridge {bridge} was deleted by somebody; making it again");
        let mut host = self.host();
        if let Err(e) = self.repair(&mut host, network) {
            tracing::error!("bridge {bridge}: {e}");
        }
    }

    /// News were lost: what is not there any more has gone.
    fn look_again(&self) {
        let outcome = (|| -> Result<()> {
            // Held to the end, so that no link appears between looking and concluding.
            let mut host = self.host();
            let there: HashSet<String> =
                route::links(&mut host.route)?.into_iter().map(|link| link.name).collect();
            let mut state = self.state();
            let links: Vec<String> =
                state.leases.links().map(|(link, _, _)| link.to_owned()).collect();
            let gone = links.iter().filter(|link| !there.contains(*link));
            let freed: Vec<_> = gone.map(|link| state.leases.link_gone(link)).collect();
            drop(state);
            freed.into_iter().for_each(|lease| self.release(lease));
            Ok(())
        })();
        if let Err(e) = outcome {
            tracing::warn!("links after lost news: {e}");
        }
    }
}
