//! Other programs' firewalls that would drop what ours lets through.
//!
//! A packet that one table drops is gone, whatever others say. Where a foreign chain drops what is forwarded by default,
//! as that of ufw and Docker does, it is led through a chain of ours beside it first, which accepts what comes from our
//! bridges and what goes to them; whether it may is decided in our own table. The chain and the one rule that leads there
//! bear our name, `iptables` shows them, and they go with our last network.

use crate::host::Host;
use crate::{Config, Inner};
use nft::{Action, Edit, Match, Place, Rule, Seen};
use std::path::{Path, PathBuf};
use stdx::Result;
use stdx::fs::Durability;

/// Where Docker's users have rules of their own for what is forwarded.
const USERS: &str = "DOCKER-USER";

impl Inner {
    /// Makes foreign forward chains let the bridges' packets through; without a network: takes that back.
    pub(crate) fn pass_foreign(&self, host: &mut Host) -> Result<()> {
        let bridges = self.bridges();
        if bridges.is_empty() {
            return remove(&self.config, host);
        }
        let chains = host.firewall.chains()?;
        for base in chains.iter().filter(|chain| self.is_foreign(chain)) {
            let users = Place { chain: USERS.into(), ..base.place.clone() };
            let users = chains.iter().any(|chain| chain.place == users);
            if base.drops || users {
                self.pass(host, base, users, &bridges)?;
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

    fn is_foreign(&self, chain: &Seen) -> bool {
        chain.forward && chain.place.table != self.config.table()
    }

    /// Writes what is missing in one foreign table.
    fn pass(&self, host: &mut Host, base: &Seen, users: bool, bridges: &[String]) -> Result<()> {
        let tag = self.config.table();
        let rules = host.firewall.rules(base.place.family, &base.place.table)?;
        let leads = |to: &str| rules.iter().any(|rule| rule.target.as_deref() == Some(to));
        let jump = |to: &str| {
            let rule = Rule::new([], Action::Jump(to.to_owned())).comment(tag.clone());
            Edit::Insert(base.place.clone(), rule)
        };
        let mut edits = Vec::new();
        if base.drops {
            let own = Place { chain: chain_name(&self.config), ..base.place.clone() };
            let passing = pass_rules(bridges, &tag);
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
            return Ok(());
        }
        note(&self.config.state, &base.place)?;
        stdx::fail_point!("bridge.foreign.before-edit");
        host.firewall.edit(&edits)
    }
}

/// What our chain in a foreign table says. The comments tell which link each is about.
fn pass_rules(bridges: &[String], tag: &str) -> Vec<Rule> {
    let rule = |question, way: &str, bridge: &str| {
        Rule::new([question], Action::Accept).comment(format!("{tag} {way} {bridge}"))
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
    for base in chains.iter().filter(|chain| chain.forward && chain.place.table != tag) {
        let rules = host.firewall.rules(base.place.family, &base.place.table)?;
        let ours = |rule: &&nft::SeenRule| {
            rule.chain == base.place.chain && rule.comment.as_deref() == Some(tag.as_str())
        };
        let mut edits: Vec<Edit> = rules
            .iter()
            .filter(ours)
            .map(|rule| Edit::Delete(base.place.clone(), rule.handle))
            .collect();
        let own = Place { chain: own.clone(), ..base.place.clone() };
        if chains.iter().any(|chain| chain.place == own) {
            edits.extend([Edit::Flush(own.clone()), Edit::Remove(own)]);
        }
        host.firewall.edit(&edits)?;
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
