//! Legacy links: a container on the default network knows another one there by a further name, in its hosts file and in
//! its environment. Which one is meant is settled when it is created; where that one is, at every start.

use crate::join::Peer;
use crate::services::World;
use crate::spec;
use std::collections::HashSet;
use std::sync::Arc;
use stdx::{Error, Kind, Result};
use store::records::container::{ContainerRecord, LinkRecord};

/// The network that links are about.
const DEFAULT: &str = "bridge";

/// Another container, running, as one that is linked to it sees it.
#[derive(Debug, Clone)]
pub struct Linked {
    /// `/web/db`.
    name: String,
    /// `db`.
    alias: String,
    /// The other container.
    record: Arc<ContainerRecord>,
    /// Its address on the default network; empty: it has none.
    ipv4: String,
    /// The same of IPv6.
    ipv6: String,
}

/// A line of a hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The address.
    pub address: String,
    /// The names, of which the first is the link's alias.
    pub names: String,
}

/// Whom a container is linked to. Texts are Docker's.
///
/// # Errors
/// When one of them does not run or is not on the default network.
pub fn of(world: &dyn World, record: &ContainerRecord) -> Result<Vec<Linked>> {
    if record.links.is_empty() || !record.networks_at_start().contains_key(DEFAULT) {
        return Ok(Vec::new());
    }
    let fail = |text: String| Err(Error::internal(text));
    let mut peers = Vec::new();
    for link in &record.links {
        match world.peer(&link.container) {
            Ok(peer) if !peer.record.networks().contains_key(DEFAULT) => {
                return fail(format!(
                    "Cannot link to /{}, as it does not belong to the default network",
                    peer.record.name
                ));
            }
            Ok(peer) => peers.push((link, Some(peer))),
            Err(e) if e.kind() == Kind::NotFound => peers.push((link, None)),
            Err(e) => return Err(e),
        }
    }
    let mut linked = Vec::new();
    for (link, peer) in peers {
        let name = full_name(record, link);
        match peer {
            Some(peer) if peer.pid.is_some() => linked.push(one(name, peer)),
            peer => {
                let other = peer.map_or_else(|| link.name.clone(), |p| p.record.name.clone());
                return fail(format!("Cannot link to a non running container: /{other} AS {name}"));
            }
        }
    }
    Ok(linked)
}

/// Those of them that run and are on the default network: who has been started stays so, whatever became of the others.
pub(crate) fn reachable(world: &dyn World, record: &ContainerRecord) -> Vec<Linked> {
    let link = |link: &LinkRecord| {
        let peer = world.peer(&link.container).ok()?;
        Some(one(full_name(record, link), peer)).filter(|linked| !linked.ipv4.is_empty())
    };
    record.links.iter().filter_map(link).collect()
}

/// `/web/db`: the name by which the other container is known to the API as well.
pub fn full_name(record: &ContainerRecord, link: &LinkRecord) -> String {
    format!("/{}/{}", record.name, link.alias)
}

fn one(name: String, peer: Peer) -> Linked {
    let endpoint = peer.endpoints.get(DEFAULT);
    let text = |address: Option<(&str, u8)>| address.map(|(a, _)| a.to_owned()).unwrap_or_default();
    Linked {
        alias: name.rsplit('/').next().unwrap_or_default().to_owned(),
        ipv4: text(endpoint.and_then(|e| e.ipv4())),
        ipv6: text(endpoint.and_then(|e| e.ipv6())),
        record: peer.record,
        name,
    }
}

/// The lines for a hosts file.
pub fn lines(links: &[Linked]) -> Vec<Line> {
    let mut lines = Vec::new();
    for link in links {
        let mut names = format!("{} {}", link.alias, spec::hostname(&link.record));
        if link.alias != link.record.name {
            names = format!("{names} {}", link.record.name);
        }
        for address in [&link.ipv4, &link.ipv6].into_iter().filter(|a| !a.is_empty()) {
            lines.push(Line { address: address.clone(), names: names.clone() });
        }
    }
    lines
}

/// A hosts file in which the lines of aliases have the addresses of now. Whatever else is in it stays as it is.
pub(crate) fn put_right(text: &str, lines: &[Line]) -> String {
    let mut right = String::with_capacity(text.len());
    for old in text.split_inclusive('\n') {
        let new = old.split_once('\t').and_then(|(address, names)| {
            let alias = names.split_whitespace().next()?;
            let is_its = |line: &&Line| {
                line.names.split(' ').next() == Some(alias)
                    && line.address.contains(':') == address.contains(':')
            };
            Some((&lines.iter().find(is_its)?.address, names))
        });
        match new {
            Some((address, names)) => {
                right.push_str(address);
                right.push('\t');
                right.push_str(names);
            }
            None => right.push_str(old),
        }
    }
    right
}

/// What a container is told of those that it is linked to.
pub fn environment(links: &[Linked]) -> Vec<String> {
    links.iter().flat_map(variables).collect()
}

fn variables(link: &Linked) -> Vec<String> {
    let prefix = link.alias.to_uppercase().replace('-', "_");
    let ports = ports(&link.record.config.exposed_ports);
    let address = &link.ipv4;
    let url = |(number, protocol): &(u16, &str)| format!("{protocol}://{address}:{number}");
    let of_port = |(number, protocol): &(u16, &str)| {
        format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase())
    };
    let mut all = Vec::new();
    if let Some(first) = ports.first() {
        all.push(format!("{prefix}_PORT={}", url(first)));
    }
    let ranges = ranges(&ports);
    for (first, last) in &ranges {
        let (name, end) = (of_port(&ports[*first]), &ports[*last]);
        // The end's own protocol is in its names: a range is of numbers.
        let of_end = format!("{prefix}_PORT_{}_{}", ports[*first].0, end.1.to_uppercase());
        all.extend([
            format!("{name}_START={}", url(&ports[*first])),
            format!("{name}_ADDR={address}"),
            format!("{name}_PROTO={}", ports[*first].1),
            format!("{name}_PORT_START={}", ports[*first].0),
            format!("{of_end}_END={}", url(end)),
            format!("{of_end}_PORT_END={}", end.0),
        ]);
    }
    let begins: HashSet<usize> = ranges.iter().map(|(first, _)| *first).collect();
    for (place, port) in ports.iter().enumerate() {
        let name = of_port(port);
        all.push(format!("{name}={}", url(port)));
        if !begins.contains(&place) {
            all.push(format!("{name}_ADDR={address}"));
        }
        all.push(format!("{name}_PORT={}", port.0));
        if !begins.contains(&place) {
            all.push(format!("{name}_PROTO={}", port.1));
        }
    }
    all.push(format!("{prefix}_NAME={}", link.name));
    let own = link.record.config.env.iter().filter_map(|entry| entry.split_once('='));
    let told = own.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
    all.extend(told.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
    all
}

/// Exposed ports by number, of one number TCP first.
fn ports(exposed: &[String]) -> Vec<(u16, &str)> {
    let mut ports: Vec<_> = exposed.iter().filter_map(|text| port(text)).collect();
    ports.sort_by_key(|(number, protocol)| (*number, *protocol != "tcp", *protocol));
    ports
}

fn port(text: &str) -> Option<(u16, &str)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((number.parse().ok()?, protocol))
}

/// Runs of at least three ports, by their first and last place. As Docker counts them: one more number is allowed for each
/// place gone on, so that a number of two protocols makes up for one that is missing later.
fn ranges(ports: &[(u16, &str)]) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut first = 0;
    while first < ports.len() {
        let mut last = first;
        while last + 1 < ports.len()
            && usize::from(ports[last + 1].0) <= usize::from(ports[first].0) + (last + 1 - first)
        {
            last += 1;
        }
        if last > first + 1 {
            ranges.push((first, last));
            first = last;
        }
        first += 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::records::container::{Config, HostConfig, LastRun};

    fn linked(env: &[&str], exposed: &[&str]) -> Linked {
        let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Linked {
            name: "/web/my-Db".into(),
            alias: "my-Db".into(),
            ipv4: "172.17.0.2".into(),
            ipv6: String::new(),
            record: Arc::new(ContainerRecord {
                id: "0123456789abcdef".repeat(4),
                name: "l1".into(),
                created: stdx::time::Timestamp::ZERO,
                image_id: String::new(),
                parent: None,
                config: Config {
                    env: list(env),
                    exposed_ports: list(exposed),
                    ..Config::default()
                },
                host: HostConfig::default(),
                mounts: Vec::new(),
                last: LastRun::default(),
                stopped_by_user: false,
                restart_count: 0,
                user_namespace: None,
                endpoints: None,
                links: Vec::new(),
            }),
        }
    }

    #[test]
    fn the_environment_is_what_docker_makes_of_it() {
        let ports = ["91/udp", "80/tcp", "90/tcp", "92/tcp", "91/tcp", "93/tcp", "95/tcp"];
        let all = environment(&[linked(&["SECRET=s", "HOME=/x", "PATH=/y", "A=b=c"], &ports)]);
        let url = |port: &str| format!("tcp://172.17.0.2:{port}");
        // As dockerd 26.1 told it.
        let beginning = [
            format!("MY_DB_PORT={}", url("80")),
            format!("MY_DB_PORT_90_TCP_START={}", url("90")),
            "MY_DB_PORT_90_TCP_ADDR=172.17.0.2".into(),
            "MY_DB_PORT_90_TCP_PROTO=tcp".into(),
            "MY_DB_PORT_90_TCP_PORT_START=90".into(),
            format!("MY_DB_PORT_90_TCP_END={}", url("95")),
            "MY_DB_PORT_90_TCP_PORT_END=95".into(),
            format!("MY_DB_PORT_80_TCP={}", url("80")),
            "MY_DB_PORT_80_TCP_ADDR=172.17.0.2".into(),
            "MY_DB_PORT_80_TCP_PORT=80".into(),
            "MY_DB_PORT_80_TCP_PROTO=tcp".into(),
            format!("MY_DB_PORT_90_TCP={}", url("90")),
            "MY_DB_PORT_90_TCP_PORT=90".into(),
            format!("MY_DB_PORT_91_TCP={}", url("91")),
        ];
        assert_eq!(all[..beginning.len()], beginning);
        let end = ["MY_DB_NAME=/web/my-Db", "MY_DB_ENV_SECRET=s", "MY_DB_ENV_A=b=c"];
        assert_eq!(all[all.len() - 3..], end);
        assert_eq!(all.len(), 36);
        assert_eq!(environment(&[linked(&[], &[])]), ["MY_DB_NAME=/web/my-Db"]);
    }

    #[test]
    fn two_neighbours_are_no_range() {
        let found = |numbers: &[u16]| {
            ranges(&numbers.iter().map(|number| (*number, "tcp")).collect::<Vec<_>>())
        };
        assert!(found(&[]).is_empty() && found(&[80, 81, 90]).is_empty());
        assert_eq!(found(&[1, 2, 3, 7, 65533, 65534, 65535]), [(0, 2), (4, 6)]);
    }

    #[test]
    fn hosts_files_keep_what_is_not_a_links() {
        let mut six = linked(&[], &[]);
        six.ipv6 = "fd00::9".into();
        let lines = lines(&[six]);
        assert_eq!(lines[0].names, "my-Db 0123456789ab l1");
        let before = "127.0.0.1\tlocalhost\n172.17.0.7\tmy-Db 0123456789ab l1\n# mine\n\
                      fd00::7\tmy-Db x\n172.17.0.7\tmy-Db2\n172.17.0.7 my-Db\n10.0.0.1\tend";
        let after = "127.0.0.1\tlocalhost\n172.17.0.2\tmy-Db 0123456789ab l1\n# mine\n\
                     fd00::9\tmy-Db x\n172.17.0.7\tmy-Db2\n172.17.0.7 my-Db\n10.0.0.1\tend";
        assert_eq!(put_right(before, &lines), after);
        assert_eq!(put_right(after, &lines), after);
    }
}
