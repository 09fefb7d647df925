//! Other programs' firewalls that would drop what ours lets through.
//!
//! A packet that one table drops is gone, whatever others say. Where a foreign chain drops what is forwarded by default,
//! as that of ufw and Docker does, or refuses by its last rule what none before it took, as firewalld's, it is led through a chain of ours beside it first, which accepts what comes from our
//! bridges and what goes to them; whether it may is decided in our own table. The chain and the one rule that leads there
//! bear our name, `iptables` shows them, and they go with our last network.

use crate::host::Host;
use crate::{Config, Inner};
use network::Family;
use nft::{Action, Edit, Match, Place, Rule, Seen};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use stdx::Result;
use stdx::fs::Durability;

/// Where Docker's users have rules of their own for what is forwarded.
const USERS: &str = "DOCKER-USER";
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`: tables of one family alone.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

impl Inner {
    /// Makes foreign forward chains let the bridges' packets through; without a network: takes that back.
    pub(crate) fn pass_foreign(&self, host: &mut Host) -> Result<()> {
        let mut bridges = self.bridges();
        let policy = self.config.policy;
        if bridges.is_empty() || !policy.any_rules() {
            return remove(&self.config, host);
        }
        let chains = host.firewall.chains()?;
        if policy.ask_host {
            let [out, _] = self.config.door_links();
            bridges.push(out);
        } else {
            self.remove_asking(host, &chains)?;
        }
        let mut closed = BTreeSet::new();
        for base in chains.iter().filter(|chain| self.is_foreign(chain)) {
            let users = Place { chain: USERS.into(), ..base.place.clone() };
            let users = base.forward && chains.iter().any(|chain| chain.place == users);
            if !self.pass(host, base, users, &bridges)? {
                closed.insert(base.place.table.clone());
            }
        }
        let news = self.state().closed != closed;
        if news && !closed.is_empty() {
            let warning = owned(&closed);
            tracing::warn!("{warning}");
        }
        self.state().closed = closed;
        Ok(())
    }

    /// Tables of a time when the host's rules were asked.
    fn remove_asking(&self, host: &mut Host, chains: &[Seen]) -> Result<()> {
        for family in [nft::Family::Ip, nft::Family::Ip6] {
            let ours = |chain: &Seen| {
                let place = &chain.place;
                place.family == family.number() && place.table == self.config.table()
            };
            if chains.iter().any(ours) {
                host.firewall.delete(family, &self.config.table())?;
            }
        }
        Ok(())
    }

    /// The links of all networks.
    pub(crate) fn bridges(&self) -> Vec<String> {
        let mut bridges: Vec<String> =
            self.state().networks.values().map(|net| net.bridge.clone()).collect();
        bridges.sort();
        bridges
    }

    /// A chain of somebody else's that may drop what is ours to pass: what is forwarded and, where the host's rules are
    /// asked, copies that go out to come in again.
    fn is_foreign(&self, chain: &Seen) -> bool {
        let policy = self.config.policy;
        let concerned = match chain.place.family {
            IPV4 => policy.ipv4,
            IPV6 => policy.ipv6,
            _ => true,
        };
        let blocking = chain.forward || (chain.output && policy.ask_host);
        concerned && blocking && chain.place.table != self.config.table()
    }

    /// Writes what is missing in one foreign table. `false`: it refuses what is ours and is its owner's alone.
    fn pass(&self, host: &mut Host, base: &Seen, users: bool, bridges: &[String]) -> Result<bool> {
        let tag = self.config.table();
        let rules = host.firewall.rules(base.place.family, &base.place.table)?;
        // By its policy, or as firewalld's by its last rule.
        let last = rules.iter().rfind(|rule| rule.chain == base.place.chain);
        let refuses = base.drops || last.is_some_and(|rule| rule.refuses);
        let leads = |to: &str| rules.iter().any(|rule| rule.target.as_deref() == Some(to));
        let jump = |to: &str| {
            let rule = Rule::new([], Action::Jump(to.to_owned())).comment(tag.clone());
            Edit::Insert(base.place.clone(), rule)
        };
        let mut edits = Vec::new();
        if refuses {
            let own = Place { chain: chain_name(&self.config), ..base.place.clone() };
            let mixed = !matches!(base.place.family, IPV4 | IPV6);
            let silent = self.config.policy.silent();
            let only = silent.first().filter(|_| mixed).map(|silent| match silent {
                Family::V4 => Match::Ipv6,
                Family::V6 => Match::Ipv4,
            });
            let passing = pass_rules(bridges, &tag, only.as_ref());
            let there: Vec<_> = rules
                .iter()
                .filter(|rule| rule.chain == own.chain)
                .filter_map(|rule| rule.comment.clone())
                .collect();
            let wanted: Vec<_> = passing.iter().filter_map(|rule| rule.comment.clone()).collect();
            if there != wanted {
                edits.extend([Edit::Chain(own.clone()), Edit::Flush(own.clone())]);
                edits.extend(passing.into_iter().map(|rule| Edit::Append(own.clone(), rule)));
            }
            if !leads(&own.chain) {
                edits.push(jump(&own.chain));
            }
        }
        // Last, and so before the other: what users drop stays dropped.
        if users && !leads(USERS) {
            edits.push(jump(USERS));
        }
        if edits.is_empty() {
            return Ok(true);
        }
        note(&self.config.state, &base.place)?;
        stdx::fail_point!("bridge.foreign.before-edit");
        host.firewall.edit(&edits)
    }
}

/// What our chain in a foreign table says, of one family `only` if so. The comments tell which link each is about.
fn pass_rules(bridges: &[String], tag: &str, only: Option<&Match>) -> Vec<Rule> {
    let rule = |question, way: &str, bridge: &str| {
        let questions: Vec<Match> = only.cloned().into_iter().chain([question]).collect();
        Rule::new(questions, Action::Accept).comment(format!("{tag} {way} {bridge}"))
    };
    bridges
        .iter()
        .flat_map(|bridge| {
            let (into, out) = (Match::Out(bridge.clone()), Match::In(bridge.clone()));
            [rule(into, "to", bridge), rule(out, "from", bridge)]
        })
        .collect()
}

/// As iptables' chains are written.
fn chain_name(config: &Config) -> String {
    config.table().to_uppercase()
}

/// Writes down whose chain is about to get a rule.
fn note(state: &Path, place: &Place) -> Result<()> {
    let path = record(state);
    let line = format!("{} {} {}\n", place.family, place.table, place.chain);
    let mut text = std::fs::read_to_string(&path).unwrap_or_default();
    if text.contains(&line) {
        return Ok(());
    }
    text.push_str(&line);
    stdx::fs::replace(&path, text.as_bytes(), 0o600, Durability::Process)
}

fn record(state: &Path) -> PathBuf {
    state.join("foreign")
}

/// Takes back what was put into foreign tables.
pub(crate) fn remove(config: &Config, host: &mut Host) -> Result<()> {
    // Nothing was ever put anywhere: nobody else's tables are even looked at.
    if !record(&config.state).exists() {
        return Ok(());
    }
    let (tag, own) = (config.table(), chain_name(config));
    let chains = host.firewall.chains()?;
    let theirs = |chain: &&Seen| (chain.forward || chain.output) && chain.place.table != tag;
    for base in chains.iter().filter(theirs) {
        let rules = host.firewall.rules(base.place.family, &base.place.table)?;
        let ours = |rule: &&nft::SeenRule| {
            rule.chain == base.place.chain && rule.comment.as_deref() == Some(tag.as_str())
        };
        let edits: Vec<Edit> = rules
            .iter()
            .filter(ours)
            .map(|rule| Edit::Delete(base.place.clone(), rule.handle))
            .collect();
        host.firewall.edit(&edits)?;
    }
    // Nothing leads there any more.
    for chain in chains.iter().filter(|chain| chain.place.chain == own && chain.place.table != tag)
    {
        host.firewall
            .edit(&[Edit::Flush(chain.place.clone()), Edit::Remove(chain.place.clone())])?;
    }
    stdx::fs::remove_file(&record(&config.state))
}

/// What other programs' tables have of ours, for a person.
pub(crate) fn changes(config: &Config) -> Vec<String> {
    let noted = std::fs::read_to_string(record(&config.state)).unwrap_or_default();
    let change = |line: &str| {
        let [family, table, chain] = *line.split(' ').collect::<Vec<_>>() else { return None };
        // `NFPROTO_*`, as `nft` names them.
        let family = match family {
            "1" => "inet",
            "2" => "ip",
            "10" => "ip6",
            other => other,
        };
        Some(format!(
            "chain {chain} of table {family} {table}: a jump to chain {} there or to {USERS} (comment \"{}\")",
            chain_name(config),
            config.table()
        ))
    };
    noted.lines().filter_map(change).collect()
}

/// A warning of tables that refuse what is ours and let nobody else change them.
pub(crate) fn owned(tables: &BTreeSet<String>) -> String {
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    format!(
        "WARNING: firewall tables that only their owner may change refuse forwarded packets ({}): published ports and containers' way \
         out do not work. To let them through, with firewalld: firewall-cmd --permanent --zone=trusted \
         --add-interface=BRIDGE; firewall-cmd --reload",
        names.join(", ")
    )
}

/// Warnings where rules of iptables-legacy may drop our packets: they are not to be reached over netlink.
/// `bridges`: those whose packets are to be let through.
pub(crate) fn legacy(bridges: &[String]) -> Vec<String> {
    let tables = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let filter = |path: &str| tables(path).lines().any(|table| table == "filter");
    let commands = [
        ("iptables-legacy", filter("/proc/net/ip_tables_names")),
        ("ip6tables-legacy", filter("/proc/net/ip6_tables_names")),
    ];
    let insert = |command: &str, bridge: &str| {
        ["-i", "-o"].map(|way| format!("{command} -I FORWARD {way} {bridge} -j ACCEPT")).join("; ")
    };
    let warning = |command: &str| {
        let inserts: Vec<String> = bridges.iter().map(|bridge| insert(command, bridge)).collect();
        format!(
            "WARNING: rules of {command} are loaded; if they drop forwarded packets, published ports and containers' way \
             out do not work. To let them through: {}",
            inserts.join("; ")
        )
    };
    commands.iter().filter(|(_, loaded)| *loaded).map(|(command, _)| warning(command)).collect()
}
