//! Sandboxes that may not go everywhere: which names they may ask for, whose addresses are allowed, and what was denied.
//!
//! A name that is not allowed is refused before anybody outside hears of it: names carry data. The addresses of one that is
//! are allowed for longer than the answer says that they hold, before the container has the answer. What was allowed is
//! remembered, so that it is there again after somebody flushed the firewall.
//!
//! Denied packets are heard of by `nfnetlink_log`. They and denied names are told to the daemon; while there is none, the
//! last thousand wait for it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use dns::{Query, TYPE_A, TYPE_AAAA};
use ipnet::IpNet;
use nft::{Element, Family, Field, Value};
use rustix::event::epoll::EventFlags;
use stdx::{Context as _, Error, Result};
use types::egress::Rule;

use super::Server;
use super::firewall::Table;
use super::poll::Token;
use super::slab::Key;
use crate::packet;
use crate::protocol::{Answer, Denial, Denied};
use crate::state::{self, Id};

/// How much longer than it holds an address is allowed: connections are opened a moment after the answer came.
const LONGER: u32 = 300;
/// Addresses are allowed for a minute at least, and a day at most, beside that.
const HOLDS: std::ops::RangeInclusive<u32> = 60..=86_400;
/// Allowed addresses of one sandbox; more are not believed.
const MOST_LEARNED: usize = 4096;
/// Addresses of one answer that are allowed; whoever owns a name may give it thousands.
const MOST_OF_NAME: usize = 64;
/// Denials that wait for a daemon.
const MOST_WAITING: usize = 1024;
/// The same denial of the same sandbox is told once in this time.
const AGAIN: Duration = Duration::from_secs(10);
/// Denials that are compared with new ones.
const MOST_RECENT: usize = 256;
/// A port to which nothing is sent.
const DISCARD: u16 = 9;
/// Denied names of one sandbox that are told in a second.
const MOST_NAMES: u32 = 20;

/// Where a sandbox may go.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) group: u16,
    pub(crate) links: Vec<Link>,
    table: String,
    own: Option<types::Egress>,
}

/// A link of it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    network: String,
    rules: Option<types::Egress>,
    subnets: Vec<IpNet>,
}

impl Judge {
    pub(crate) fn read(record: &state::Egress) -> Result<Self> {
        let rules = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
        let links = record.links.iter().map(|link| -> Result<Link> {
            let subnet = |text: &String| {
                let wrong = |_| Error::invalid(format!("{text:?} is no subnet"));
                text.parse().map_err(wrong)
            };
            Ok(Link {
                name: link.name.clone(),
                network: link.network.clone(),
                rules: rules(&link.rules)?,
                subnets: link.subnets.iter().map(subnet).collect::<Result<_>>()?,
            })
        });
        Ok(Self {
            group: record.group,
            links: links.collect::<Result<_>>()?,
            table: record.table.clone(),
            own: rules(&record.own)?,
        })
    }

    /// Whether the name may be asked for: by the sandbox's own rules, and by those of a network that could lead there.
    fn allows(&self, name: &str) -> bool {
        let by = |rules: &Option<types::Egress>| {
            rules.as_ref().is_none_or(|rules| rules.allows_name(name))
        };
        by(&self.own) && self.links.iter().any(|link| by(&link.rules))
    }

    /// Whether an answer from outside may name this address: not the host itself, not a neighbour, nothing that only means
    /// something nearby. What a stranger says of his own name would otherwise open the way to those.
    fn believes(&self, address: IpAddr) -> bool {
        let is_near = match address {
            IpAddr::V4(address) => {
                address.is_loopback()
                    || address.is_link_local()
                    || address.is_multicast()
                    || address.is_broadcast()
                    || address.octets()[0] == 0
            }
            IpAddr::V6(address) => {
                address.is_loopback()
                    || address.is_unspecified()
                    || address.is_multicast()
                    || address.is_unicast_link_local()
                    || address.to_ipv4().is_some()
            }
        };
        let mut subnets = self.links.iter().flat_map(|link| &link.subnets);
        !is_near && !subnets.any(|subnet| subnet.contains(&address)) && !is_of_host(address)
    }

    /// Which elements of which sets allow the addresses of a name.
    fn keys(&self, name: &str, addresses: &[IpAddr]) -> Vec<(String, Vec<Field>)> {
        let mut all = Vec::new();
        for link in &self.links {
            for (whose, egress) in [("own", &self.own), ("network", &link.rules)] {
                let rules = egress.iter().flat_map(|egress| egress.of_name(name));
                for (rule, address) in
                    rules.flat_map(|rule| addresses.iter().map(move |address| (rule, *address)))
                {
                    all.extend(keys_of(whose, &link.name, rule, address));
                }
            }
        }
        all
    }
}

/// Whether it is one of the host's own addresses: what is sent there goes out from there. Nothing is sent.
fn is_of_host(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, DISCARD))?;
        socket.local_addr()
    });
    match source {
        Ok(source) => source.ip() == address,
        // There is no way to it, so it is not here. For want of anything else nobody can tell.
        Err(e) => !matches!(
            e.kind(),
            ErrorKind::NetworkUnreachable
                | ErrorKind::HostUnreachable
                | ErrorKind::AddrNotAvailable
                | ErrorKind::PermissionDenied
                | ErrorKind::Unsupported
        ),
    }
}

fn keys_of(whose: &str, link: &str, rule: &Rule, address: IpAddr) -> Vec<(String, Vec<Field>)> {
    let digit = if address.is_ipv4() { 4 } else { 6 };
    let link = Field::Link(link.to_owned());
    let Some(ports) = rule.ports else {
        return vec![(format!("{whose}-names{digit}"), vec![link, Field::Address(address)])];
    };
    (ports.first..=ports.last)
        .map(|port| {
            let key = vec![
                link.clone(),
                Field::Protocol(ports.protocol),
                Field::Port(port),
                Field::Address(address),
            ];
            (format!("{whose}-services{digit}"), key)
        })
        .collect()
}

/// An element that was added, by set and key.
type Learned = (String, Vec<Field>);

/// What all sandboxes with rules share.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    log: Option<(u16, nft::Log)>,
    /// Until when what is allowed, by sandbox.
    learned: HashMap<Id, Vec<(Learned, Instant)>>,
    waiting: VecDeque<Denial>,
    recent: VecDeque<(Instant, Denial)>,
    /// Names that were denied to a sandbox in the second that began then.
    pace: HashMap<Id, (Instant, u32)>,
    /// The daemon's connection that is told.
    watcher: Option<Key>,
    told: u64,
}

impl Egress {
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// The connection is gone.
    pub(crate) fn forget_daemon(&mut self, daemon: Key) {
        if self.watcher == Some(daemon) {
            self.watcher = None;
        }
    }

    /// What was denied just now. What was told a moment ago is counted, and the count told with the next of the same.
    fn note(&mut self, mut denial: Denial) {
        let now = Instant::now();
        let same = |(_, other): &(Instant, Denial)| {
            (&other.sandbox, &other.what) == (&denial.sandbox, &denial.what)
        };
        denial.again = 0;
        if let Some(at) = self.recent.iter().position(same) {
            let (told, known) = &mut self.recent[at];
            if now - *told <= AGAIN {
                known.again = known.again.saturating_add(1);
                return;
            }
            denial.again = known.again;
            self.recent.remove(at);
        }
        if self.recent.len() == MOST_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, Denial { again: 0, ..denial.clone() }));
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(denial);
        self.told += 1;
    }
}

impl Server {
    /// Whether the sandbox may ask outside; who may not is told of. `None`: it may ask as it likes.
    pub(crate) fn may_ask(&mut self, key: Key, query: &Query) -> Option<bool> {
        let id = self.sandboxes.get(key)?.id.clone();
        let judge = self.records.sandbox(&id)?.egress.clone()?;
        let name = query.name.text();
        if name.is_some_and(|name| judge.allows(name)) {
            return Some(true);
        }
        let now = Instant::now();
        let (since, count) = self.egress.pace.entry(id.clone()).or_insert((now, 0));
        if now - *since > Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count <= MOST_NAMES {
            let what = Denied::Name(name.unwrap_or("(no text)").to_owned());
            self.egress.note(Denial { sandbox: id, network: String::new(), what, again: 0 });
            self.tell_denials();
        }
        Some(false)
    }

    /// Allows the addresses in an answer that the sandbox is about to get. `outside`: a stranger gave it.
    ///
    /// # Errors
    /// When they cannot be allowed: then it must not get the answer.
    pub(crate) fn learn(
        &mut self,
        key: Key,
        query: &Query,
        answer: &[u8],
        outside: bool,
    ) -> Result<()> {
        let Some(id) = self.sandboxes.get(key).map(|attached| attached.id.clone()) else {
            return Ok(());
        };
        let judge = self.records.sandbox(&id).and_then(|settings| settings.egress.clone());
        let (Some(judge), Some(name)) = (judge, query.name.text()) else { return Ok(()) };
        if !matches!(query.kind, TYPE_A | TYPE_AAAA) {
            return Ok(());
        }
        let found = dns::relay::addresses(answer);
        let holds = found.iter().map(|(_, seconds)| *seconds).min().unwrap_or_default();
        let mut addresses: Vec<IpAddr> =
            found.into_iter().map(|(address, _)| address).take(MOST_OF_NAME).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|address| !outside || judge.believes(*address));
        let holds = holds.clamp(*HOLDS.start(), *HOLDS.end());
        let keys = judge.keys(name, &addresses);
        self.allow(&id, &judge.table, keys, Duration::from_secs((holds + LONGER).into()))
    }

    fn allow(&mut self, id: &Id, table: &str, keys: Vec<Learned>, time: Duration) -> Result<()> {
        let now = Instant::now();
        let until = now + time;
        let known = self.egress.learned.entry(id.clone()).or_default();
        known.retain(|(_, until)| *until > now);
        // It is allowed for longer than it holds.
        let enough = until - Duration::from_secs(u64::from(LONGER) / 2);
        let is_allowed =
            |key: &Learned| known.iter().any(|(other, until)| other == key && *until >= enough);
        let news: Vec<Learned> = keys.into_iter().filter(|key| !is_allowed(key)).collect();
        known.retain(|(other, _)| !news.contains(other));
        if known.len() + news.len() > MOST_LEARNED {
            return Err(Error::new(
                stdx::Kind::NoSpace,
                format!("{id} has more than {MOST_LEARNED} addresses of names"),
            ));
        }
        // What the kernel does not know is not remembered as allowed.
        self.firewall.write(&renewal(table, news.iter().map(|key| (key, time))))?;
        known.extend(news.into_iter().map(|key| (key, until)));
        Ok(())
    }

    /// These tables were made anew, after somebody flushed them: what was learned is to be there again.
    pub(crate) fn learn_again(&mut self, made: &BTreeSet<Table>) {
        let now = Instant::now();
        let (records, learned) = (&self.records, &mut self.egress.learned);
        learned.retain(|id, _| records.sandbox(id).is_some());
        for (id, known) in learned {
            let judge = records.sandbox(id).and_then(|settings| settings.egress.as_ref());
            let Some(judge) = judge else { continue };
            if !made.iter().any(|(_, name)| name == judge.table.as_bytes()) {
                continue;
            }
            known.retain(|(_, until)| *until > now);
            let again = known.iter().map(|(key, until)| (key, *until - now));
            if let Err(e) = self.firewall.write(&renewal(&judge.table, again)) {
                self.log.note(&e);
                // Whoever asks for a name again gets its addresses allowed again.
                known.clear();
            }
        }
    }

    /// Listens to what the kernel denies, as soon as somebody has rules.
    pub(crate) fn listen_to_denials(&mut self) {
        let Some(group) = self.records.group() else { return };
        if self.egress.log.as_ref().is_some_and(|(listened, _)| *listened == group) {
            return;
        }
        let listen = || -> Result<nft::Log> {
            let log = nft::Log::listen(group)?;
            self.poll
                .add(&log, Token::Denied, EventFlags::IN)
                .context(|| "wait for denied packets")?;
            Ok(log)
        };
        match listen() {
            Ok(log) => self.egress.log = Some((group, log)),
            // They are denied all the same.
            Err(e) => self.log.note(&e),
        }
    }

    /// The kernel denied something.
    pub(crate) fn hear_denials(&mut self) {
        let Some((_, log)) = &mut self.egress.log else { return };
        let Ok(all) = log.receive() else { return };
        // A link that is gone belonged to nobody who could still be told of.
        let named = |denied: nft::Denied| {
            let name = rustix::net::netdevice::index_to_name(&*log, denied.link).ok()?;
            Some((name, denied))
        };
        let all: Vec<(String, nft::Denied)> = all.into_iter().filter_map(named).collect();
        for (link, denied) in all {
            let Some((id, judge)) = self.records.of_link(&link) else { continue };
            let network = judge.links.iter().find(|own| own.name == link);
            let what = Denied::Packet {
                address: denied.address,
                protocol: denied.protocol,
                port: denied.port,
                ether_type: denied.ether_type,
            };
            let network = network.map(|link| link.network.clone()).unwrap_or_default();
            let denial = Denial { sandbox: id.clone(), network, what, again: 0 };
            self.egress.note(denial);
        }
        self.tell_denials();
    }

    /// A daemon wants to be told on this connection.
    pub(crate) fn watch_denials(&mut self, daemon: Key) {
        self.egress.watcher = Some(daemon);
        // It asks nothing, so it is not one that has not said its netlink port yet.
        self.firewall.forget_daemon(daemon);
    }

    /// Tells what waits, as far as somebody listens.
    pub(crate) fn tell_denials(&mut self) {
        let Some(watcher) = self.egress.watcher else { return };
        let Some(daemon) = self.daemons.get(watcher) else { return };
        while let Some(denial) = self.egress.waiting.front() {
            let told = packet::send(daemon.socket(), &Answer::Denied(denial.clone()), &[]);
            if told.is_err() {
                // It is slow, or gone: the next denial tries again.
                return;
            }
            self.egress.waiting.pop_front();
        }
    }

    /// The sandbox is no more.
    pub(crate) fn forget_egress(&mut self, id: &Id) {
        self.egress.learned.remove(id);
        self.egress.pace.remove(id);
    }
}

fn renewal<'a>(
    table: &'a str,
    keys: impl Iterator<Item = (&'a Learned, Duration)>,
) -> sys::netlink::Batch {
    let elements: Vec<(&str, Element)> = keys
        .map(|((set, key), time)| {
            (set.as_str(), Element { key: key.clone(), value: Value::For(time) })
        })
        .collect();
    nft::encode_renewal(Family::Bridge, table, &elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(own: Option<&str>, network: Option<&str>) -> Judge {
        let link = state::Link {
            name: "veth1".into(),
            network: "aa".into(),
            rules: network.map(str::to_owned),
            subnets: vec!["10.9.0.0/24".into()],
        };
        let record = state::Egress {
            table: "t".into(),
            group: 1,
            own: own.map(str::to_owned),
            links: vec![link],
        };
        Judge::read(&record).unwrap()
    }

    #[test]
    fn both_sets_of_rules_must_allow_a_name() {
        for (own, network, name, allowed) in [
            (Some("allow:a.test"), None, "a.test", true),
            (Some("allow:a.test"), None, "b.test", false),
            (None, Some("allow:a.test"), "a.test", true),
            (None, Some("none"), "a.test", false),
            (Some("allow:a.test"), Some("allow:*.test"), "a.test", true),
            (Some("allow:a.test"), Some("allow:b.test"), "a.test", false),
            (Some("allow:10.0.0.0/8"), None, "a.test", false),
        ] {
            assert_eq!(judge(own, network).allows(name), allowed, "{own:?} {network:?} {name}");
        }
    }

    #[test]
    fn strangers_do_not_name_what_is_near() {
        let judge = judge(Some("allow:*"), None);
        for (address, believed) in [
            ("192.0.2.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("10.9.0.1", false),
            ("10.9.0.77", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::ffff:192.0.2.1", false),
        ] {
            assert_eq!(judge.believes(address.parse().unwrap()), believed, "{address}");
        }
    }

    #[test]
    fn addresses_become_elements_of_whose_rules_name_them() {
        let judge = judge(Some("allow:a.test:80-81,a.test:53/udp"), Some("allow:*.test"));
        let sets: Vec<String> = judge
            .keys("a.test", &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()])
            .into_iter()
            .map(|(set, key)| format!("{set} {}", key.len()))
            .collect();
        let own = |digit| std::iter::repeat_n(format!("own-services{digit} 4"), 3);
        let mut wanted: Vec<String> = own(4).chain(own(6)).collect();
        wanted.extend(["network-names4 2".to_owned(), "network-names6 2".to_owned()]);
        let sorted = |mut all: Vec<String>| {
            all.sort();
            all
        };
        assert_eq!(sorted(sets), sorted(wanted));
        assert!(judge.keys("b.example", &["192.0.2.1".parse().unwrap()]).is_empty());
    }

    #[test]
    fn the_same_denial_is_told_once() {
        let mut egress = Egress::default();
        let denial = |name: &str| Denial {
            sandbox: "a1".parse().unwrap(),
            network: String::new(),
            what: Denied::Name(name.into()),
            again: 0,
        };
        for name in ["x", "x", "y", "x"] {
            egress.note(denial(name));
        }
        assert_eq!((egress.waiting.len(), egress.told), (2, 2));
        // After a while the next is told, with how often it was tried between.
        for (told, _) in &mut egress.recent {
            *told -= AGAIN + Duration::from_secs(1);
        }
        egress.note(denial("x"));
        egress.note(denial("z"));
        let again: Vec<u32> = egress.waiting.iter().map(|denial| denial.again).collect();
        assert_eq!(again, [0, 0, 2, 0]);
        for number in 0..2000 {
            egress.note(denial(&number.to_string()));
        }
        assert_eq!((egress.waiting.len(), egress.recent.len()), (MOST_WAITING, MOST_RECENT));
    }
}
