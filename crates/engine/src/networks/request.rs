//! What a user asks of a network, checked as Docker checks it. Pure.

use super::is_predefined;
use ipnet::IpNet;
use network::{IpamConfig, NetworkConfig, NetworkId, PoolConfig};
use std::collections::BTreeMap;
use std::net::IpAddr;
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result};
use store::records::network::{IpamRecord, NetworkRecord, PoolRecord};

/// The name of the auxiliary address that is containers' way out, as Docker has it.
pub(crate) const WAY_OUT: &str = "DefaultGatewayIPv4";
/// The same for IPv6.
pub(crate) const WAY_OUT_V6: &str = "DefaultGatewayIPv6";

/// What a user asks for.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// Its driver; empty: `bridge`.
    pub driver: String,
    /// `local`, or empty.
    pub scope: String,
    /// Nothing leaves it, nothing enters.
    pub internal: bool,
    /// Containers may be attached by hand (a Swarm notion; kept for inspect).
    pub attachable: bool,
    /// It is Swarm's ingress network.
    pub ingress: bool,
    /// It has no IPv4 addresses.
    pub no_ipv4: bool,
    /// It has IPv6 addresses.
    pub ipv6: bool,
    /// It is only what others take their configuration from.
    pub config_only: bool,
    /// The network to take its configuration from; empty: none.
    pub config_from: String,
    /// Its addresses.
    pub ipam: IpamRecord,
    /// Options for the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl CreateNetwork {
    /// The network's record; `configuration` is the network named by `config_from`.
    pub(super) fn record(self, configuration: Option<&NetworkRecord>) -> Result<NetworkRecord> {
        let forbidden = |text: String| Err(Error::new(Kind::Forbidden, text));
        if self.name.trim().is_empty() {
            return Err(Error::invalid(format!("invalid name: {}", self.name)));
        }
        if is_predefined(&self.name) {
            return forbidden(format!(
                "operation is not permitted on predefined {} network",
                self.name
            ));
        }
        match self.scope.as_str() {
            "" | "local" => {}
            "swarm" => {
                return forbidden(
                    "cannot create a swarm scoped network when swarm is not active".to_owned(),
                );
            }
            other => return Err(Error::invalid(format!("invalid network scope: {other}"))),
        }
        if self.ingress {
            return forbidden("Ingress network can only be global scope network".to_owned());
        }
        check_ipam(&self.ipam.pools)?;
        let mut record = NetworkRecord {
            id: NetworkId::random()?.to_string(),
            driver: if self.driver.is_empty() { "bridge".to_owned() } else { self.driver },
            created: Timestamp::now().to_string(),
            name: self.name,
            ipam: self.ipam,
            options: self.options,
            labels: self.labels,
            internal: self.internal,
            attachable: self.attachable,
            ipv6: self.ipv6,
            no_ipv4: self.no_ipv4,
            config_only: self.config_only,
            config_from: self.config_from,
            global: false,
        };
        if record.ipam.driver.is_empty() {
            record.ipam.driver = "default".to_owned();
        }
        if record.config_only {
            if !record.config_from.is_empty() {
                return forbidden(
                    "a configuration network cannot depend on another configuration network"
                        .to_owned(),
                );
            }
            // As inspect shows it: nothing is made for it.
            record.driver = "null".to_owned();
        }
        if !record.config_from.is_empty() {
            let Some(from) = configuration.filter(|from| from.config_only) else {
                return Err(Error::not_found(format!(
                    "configuration network {:?} does not exist",
                    record.config_from
                )));
            };
            if !record.ipam.pools.is_empty() || !record.options.is_empty() || record.ipv6 {
                return forbidden(
                    "user specified configurations are not supported if the network depends on a configuration network"
                        .to_owned(),
                );
            }
            record.config_from.clone_from(&from.name);
            record.ipam.clone_from(&from.ipam);
            record.options.clone_from(&from.options);
            record.ipv6 = from.ipv6;
            record.no_ipv4 = from.no_ipv4;
            for (name, value) in &from.labels {
                record.labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        for pool in &mut record.ipam.pools {
            pool.chosen = true;
        }
        Ok(record)
    }
}

/// What the driver is to make for a record.
pub(super) fn config(record: &NetworkRecord) -> Result<NetworkConfig> {
    let default = record.name == super::BRIDGE;
    let mut config = NetworkConfig {
        id: id_of(record)?,
        name: record.name.clone(),
        default: is_predefined(&record.name),
        ipv4: (!record.no_ipv4).then(PoolConfig::default),
        ipv6: record.ipv6.then(PoolConfig::default),
        internal: record.internal,
        ipam: IpamConfig {
            driver: record.ipam.driver.clone(),
            options: record.ipam.options.clone(),
            global: record.global,
        },
        options: record.options.clone(),
    };
    if default {
        // What the driver told us of the default bridge is no wish.
        config.options.remove("com.docker.network.bridge.name");
    }
    for pool in &record.ipam.pools {
        let parsed = read_pool(pool)?;
        let family = match parsed.subnet {
            Some(IpNet::V6(_)) => &mut config.ipv6,
            _ => &mut config.ipv4,
        };
        match family {
            Some(PoolConfig { subnet: Some(_), .. }) => {
                return Err(Error::new(
                    Kind::Forbidden,
                    format!("{} driver doesn't support multiple subnets", record.driver),
                ));
            }
            Some(family) => *family = parsed,
            // Docker takes the pools of a family that is not switched on, and does not use them.
            None => {}
        }
    }
    Ok(config)
}

/// A record's id.
pub(super) fn id_of(record: &NetworkRecord) -> Result<NetworkId> {
    record.id.parse().map_err(|e: network::InvalidId| Error::internal(e.to_string()))
}

fn read_pool(pool: &PoolRecord) -> Result<PoolConfig> {
    fn parse<T: std::str::FromStr>(text: &str) -> Result<Option<T>> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid address {text}")))
    }
    let (mut way_out, mut auxiliary) = (None, BTreeMap::new());
    for (name, address) in &pool.auxiliary {
        let Some(address) = parse::<IpAddr>(address)? else { continue };
        let key = if address.is_ipv4() { WAY_OUT } else { WAY_OUT_V6 };
        if name == key {
            way_out = Some(address);
        } else {
            auxiliary.insert(name.clone(), address);
        }
    }
    Ok(PoolConfig {
        subnet: parse(&pool.subnet)?,
        range: parse(&pool.range)?,
        gateway: parse(&pool.gateway)?,
        auxiliary,
        way_out,
    })
}

/// Docker's checks of what a user wants as addresses, all of them in one answer.
fn check_ipam(pools: &[PoolRecord]) -> Result<()> {
    let mut wrong = Vec::new();
    for pool in pools {
        let subnet = match cidr("subnet", &pool.subnet) {
            Ok(subnet) => subnet,
            Err(text) => {
                wrong.push(text);
                continue;
            }
        };
        let inside = |what: &str, text: &str, contained: bool, same_family: bool| {
            let family = if matches!(subnet, IpNet::V4(_)) { "IPv4" } else { "IPv6" };
            if !same_family {
                Some(format!("invalid {what} {text}: parent subnet is an {family} block"))
            } else if !contained {
                let noun = if what == "ip-range" { "ip-range" } else { "this address" };
                Some(format!(
                    "invalid {what} {text}: parent subnet {subnet} doesn't contain {noun}"
                ))
            } else {
                None
            }
        };
        if !pool.range.is_empty() {
            match cidr("ip-range", &pool.range) {
                Ok(range) => wrong.extend(inside(
                    "ip-range",
                    &pool.range,
                    subnet.contains(&range),
                    range.addr().is_ipv4() == subnet.addr().is_ipv4(),
                )),
                Err(text) => wrong.push(text),
            }
        }
        let addresses = Some(("gateway", &pool.gateway))
            .into_iter()
            .chain(pool.auxiliary.values().map(|address| ("auxiliary address", address)));
        for (what, text) in addresses.filter(|(_, text)| !text.is_empty()) {
            match text.parse::<IpAddr>() {
                Ok(address) => wrong.extend(inside(
                    what,
                    text,
                    subnet.contains(&address),
                    address.is_ipv4() == subnet.addr().is_ipv4(),
                )),
                Err(_) => wrong.push(format!("invalid {what} {text}: invalid address")),
            }
        }
    }
    match joined(&wrong) {
        None => Ok(()),
        Some(text) => Err(Error::invalid(format!("invalid network config:\n{text}"))),
    }
}

fn cidr(what: &str, text: &str) -> Result<IpNet, String> {
    let net: IpNet =
        text.parse().map_err(|_| format!("invalid {what} {text}: invalid CIDR block notation"))?;
    if net == net.trunc() {
        Ok(net)
    } else {
        Err(format!("invalid {what} {text}: it should be {}", net.trunc()))
    }
}

/// Several complaints as Docker joins them: one as it is, more as a list.
pub(super) fn joined(wrong: &[String]) -> Option<String> {
    match wrong {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.iter().map(|line| format!("* {line}")).collect::<Vec<_>>().join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, range: &str, gateway: &str) -> PoolRecord {
        PoolRecord {
            subnet: subnet.into(),
            range: range.into(),
            gateway: gateway.into(),
            auxiliary: BTreeMap::new(),
            chosen: false,
        }
    }

    fn asked(pools: &[PoolRecord]) -> CreateNetwork {
        let ipam = IpamRecord { pools: pools.to_vec(), ..IpamRecord::default() };
        CreateNetwork { name: "net".into(), ipam, ..CreateNetwork::default() }
    }

    #[test]
    fn addresses_are_checked_with_dockers_words() {
        for (pool, text) in [
            (pool("10.1.0.0", "", ""), "invalid subnet 10.1.0.0: invalid CIDR block notation"),
            (pool("10.1.2.3/16", "", ""), "invalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"),
            (
                pool("10.1.0.0/16", "10.2.0.0/24", ""),
                "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range",
            ),
            (
                pool("10.1.0.0/16", "", "10.2.0.1"),
                "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address",
            ),
            (
                pool("10.1.0.0/16", "", "fd00::1"),
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ),
            (pool("10.1.0.0/16", "", "x"), "invalid gateway x: invalid address"),
            (
                pool("10.1.0.0/16", "10.2.0.0/24", "x"),
                "* invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range\n* invalid gateway x: \
                 invalid address",
            ),
        ] {
            let error = asked(&[pool]).record(None).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert_eq!(error.to_string(), format!("invalid network config:\n{text}"));
        }
        let record = asked(&[pool("10.1.0.0/16", "10.1.8.0/24", "10.1.0.9")]).record(None).unwrap();
        let config = config(&record).unwrap();
        let ipv4 = config.ipv4.unwrap();
        assert_eq!(ipv4.range.unwrap().to_string(), "10.1.8.0/24");
        assert_eq!((config.ipv6, config.default, record.driver.as_str()), (None, false, "bridge"));
    }

    #[test]
    fn what_cannot_be() {
        let error = |change: &dyn Fn(&mut CreateNetwork)| {
            let mut asked = asked(&[]);
            change(&mut asked);
            asked.record(None).unwrap_err().to_string()
        };
        assert_eq!(
            error(&|a| a.name = "host".into()),
            "operation is not permitted on predefined host network"
        );
        assert_eq!(
            error(&|a| a.ingress = true),
            "Ingress network can only be global scope network"
        );
        assert_eq!(
            error(&|a| a.config_from = "x".into()),
            "configuration network \"x\" does not exist"
        );
        let twice = [pool("10.1.0.0/16", "", ""), pool("10.2.0.0/16", "", "")];
        let record = asked(&twice).record(None).unwrap();
        assert_eq!(
            config(&record).unwrap_err().to_string(),
            "bridge driver doesn't support multiple subnets"
        );
    }

    #[test]
    fn configuration_is_taken_over_and_not_mixed() {
        let template =
            CreateNetwork { config_only: true, ..asked(&[pool("10.70.0.0/24", "", "")]) };
        let template = template.record(None).unwrap();
        assert_eq!(template.driver, "null");
        let like = CreateNetwork { config_from: "net".into(), ..asked(&[]) };
        let made = like.clone().record(Some(&template)).unwrap();
        assert_eq!(made.ipam.pools[0].subnet, "10.70.0.0/24");
        let mixed =
            CreateNetwork { config_from: "net".into(), ..asked(&[pool("10.1.0.0/24", "", "")]) };
        assert!(mixed.record(Some(&template)).unwrap_err().to_string().contains("depends on"));
        assert!(like.record(Some(&made)).unwrap_err().to_string().ends_with("does not exist"));
    }
}
