//! `network create`

use super::volume::pairs;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches, check};
use crate::output;
use api::{ConfigFrom, Ipam, IpamConfig, NetworkCreateBody};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) const COMMAND: Command = Command {
    group: "network",
    name: "create",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] NETWORK",
    about: "Create a network",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("attachable", "Enable manual container attachment"),
        Flag::new(
            "aux-address",
            Kind::MAP,
            "Auxiliary IPv4 or IPv6 addresses used by Network driver",
        )
        .default("map[]"),
        Flag::text("config-from", "The network from which to copy the configuration"),
        Flag::switch("config-only", "Create a configuration only network"),
        Flag::text("driver", "Driver to manage the Network").short('d').default("\"bridge\""),
        // Ours alone: an option for other clients.
        Flag::new("egress", Kind::LIST, "Where the network's containers may go beyond it: \"none\" or \"allow:…\", as with \"run --egress\"").hidden(),
        Flag::new("gateway", Kind::STRINGS, "IPv4 or IPv6 Gateway for the master subnet"),
        Flag::switch("ingress", "Create swarm routing-mesh network"),
        Flag::switch("internal", "Restrict external access to the network"),
        Flag::new("ip-range", Kind::STRINGS, "Allocate container ip from a sub-range"),
        Flag::text("ipam-driver", "IP Address Management Driver").default("\"default\""),
        Flag::new("ipam-opt", Kind::MAP, "Set IPAM driver specific options").default("map[]"),
        Flag::switch("ipv4", "Enable or disable IPv4 address assignment").default("true"),
        Flag::switch("ipv6", "Enable or disable IPv6 address assignment"),
        Flag::new("label", Kind::list(check::label), "Set metadata on a network"),
        Flag::new("opt", Kind::MAP, "Set driver specific options").short('o').default("map[]"),
        Flag::text("scope", "Control the network's scope"),
        Flag::new(
            "subnet",
            Kind::STRINGS,
            "Subnet in CIDR format that represents a network segment",
        ),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let body = body(matches).map_err(Failure::new)?;
    let created = app.client()?.create_network(&body).await?;
    if !created.warning.is_empty() {
        output::complain(&format!("WARNING: {}", created.warning));
    }
    output::print(&format!("{}\n", created.id))?;
    Ok(0)
}

fn body(matches: &Matches) -> Result<NetworkCreateBody, String> {
    let config_from = matches.text("config-from");
    let subnets = matches.strings("subnet");
    let pools = pools(
        &subnets,
        &matches.strings("ip-range"),
        &matches.strings("gateway"),
        &pairs(&matches.list("aux-address")),
    )?;
    Ok(NetworkCreateBody {
        check_duplicate: false,
        driver: matches.get("driver").unwrap_or("bridge").to_owned(),
        scope: matches.text("scope"),
        // What is not said is left to the daemon, whose `default-network-opts` may say it.
        enable_ipv4: matches.has("ipv4").then(|| matches.is("ipv4")),
        enable_ipv6: matches.has("ipv6").then(|| matches.is("ipv6")),
        ipam: Some(Ipam {
            driver: matches.get("ipam-driver").unwrap_or("default").to_owned(),
            options: Some(pairs(&matches.list("ipam-opt"))),
            config: Some(pools),
        }),
        internal: matches.is("internal"),
        attachable: matches.is("attachable"),
        ingress: matches.is("ingress"),
        config_only: matches.is("config-only"),
        config_from: Some(ConfigFrom { network: config_from })
            .filter(|from| !from.network.is_empty()),
        options: Some(options(matches)),
        labels: Some(pairs(&matches.list("label"))),
        name: matches.arguments.first().cloned().unwrap_or_default(),
    })
}

/// The driver's options, and what is one to the daemon because Docker's API has no field for it.
fn options(matches: &Matches) -> BTreeMap<String, String> {
    let mut all = pairs(&matches.list("opt"));
    let egress = matches.list("egress");
    if !egress.is_empty() {
        all.insert("gantry.egress".to_owned(), egress.join(","));
    }
    all
}

/// Sorts ranges, gateways and auxiliary addresses to the subnets that they lie in.
fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    auxiliary: &BTreeMap<String, String>,
) -> Result<Vec<IpamConfig>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut pools: Vec<IpamConfig> = Vec::new();
    for subnet in subnets {
        for other in &pools {
            if lies_in(subnet, &other.subnet)? || lies_in(&other.subnet, subnet)? {
                return Err("multiple overlapping subnet configuration is not supported".into());
            }
        }
        pools.push(IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() });
    }
    for range in ranges {
        cidr(range)?;
        let taken = |pool: &IpamConfig| {
            format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                pool.ip_range, pool.subnet
            )
        };
        place(&mut pools, "range", range, |pool| &mut pool.ip_range, taken)?;
    }
    for gateway in gateways {
        let taken = |pool: &IpamConfig| {
            format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                pool.gateway, pool.subnet
            )
        };
        place(&mut pools, "gateway", gateway, |pool| &mut pool.gateway, taken)?;
    }
    for (name, address) in auxiliary {
        let mut placed = false;
        for pool in &mut pools {
            if lies_in(&pool.subnet, address)? {
                let addresses = pool.auxiliary_addresses.get_or_insert_default();
                addresses.insert(name.clone(), address.clone());
                placed = true;
            }
        }
        if !placed {
            return Err(format!("no matching subnet for aux-address {address}"));
        }
    }
    Ok(pools)
}

/// Puts `value` into that field of every pool whose subnet it lies in.
fn place(
    pools: &mut [IpamConfig],
    what: &str,
    value: &str,
    field: impl Fn(&mut IpamConfig) -> &mut String,
    taken: impl Fn(&IpamConfig) -> String,
) -> Result<(), String> {
    let mut placed = false;
    for pool in pools {
        if !lies_in(&pool.subnet, value)? {
            continue;
        }
        if !field(pool).is_empty() {
            return Err(taken(pool));
        }
        value.clone_into(field(pool));
        placed = true;
    }
    if placed { Ok(()) } else { Err(format!("no matching subnet for {what} {value}")) }
}

/// Whether an address, or the first of a network, lies in `subnet`; what is no address lies nowhere.
fn lies_in(subnet: &str, what: &str) -> Result<bool, String> {
    let (network, length) = cidr(subnet).map_err(|e| format!("invalid subnet: {e}"))?;
    let address = match what.contains('/') {
        true => Some(cidr(what)?.0),
        false => what.parse::<IpAddr>().ok(),
    };
    let bits = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
        IpAddr::V6(v6) => (u128::from(v6), false),
    };
    let Some(address) = address else { return Ok(false) };
    let ((network, four), (address, also_four)) = (bits(network), bits(address));
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    Ok(four == also_four && (network ^ address) & mask == 0)
}

/// `10.0.0.0/8`
fn cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("invalid CIDR address: {text}");
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = length.bytes().all(|b| b.is_ascii_digit());
    let length = length.parse().ok().filter(|n| digits && *n <= most).ok_or_else(wrong)?;
    Ok((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<NetworkCreateBody, String> {
        let args = shell_words::split(line).unwrap();
        body(&Matches::parse(&COMMAND, &args, "docker network create").unwrap())
    }

    #[test]
    fn addresses_are_sorted_to_their_subnets() {
        let body = parse(
            "n --subnet fd00::/64,10.0.0.0/8 --gateway 10.0.0.1 --ip-range 10.1.0.0/16 --gateway fd00::1 \
             --aux-address a=10.0.0.9 --aux-address b=fd00::9",
        )
        .unwrap();
        let pools = body.ipam.unwrap().config.unwrap();
        let auxiliary = |name: &str, address: &str| {
            Some(BTreeMap::from([(name.to_owned(), address.to_owned())]))
        };
        let want = [
            IpamConfig {
                subnet: "fd00::/64".into(),
                ip_range: String::new(),
                gateway: "fd00::1".into(),
                auxiliary_addresses: auxiliary("b", "fd00::9"),
            },
            IpamConfig {
                subnet: "10.0.0.0/8".into(),
                ip_range: "10.1.0.0/16".into(),
                gateway: "10.0.0.1".into(),
                auxiliary_addresses: auxiliary("a", "10.0.0.9"),
            },
        ];
        assert_eq!(pools, want);
    }

    #[test]
    fn whether_families_are_wanted_is_said_only_when_it_was_typed() {
        let check = |line: &str, four: Option<bool>, six: Option<bool>| {
            let body = parse(line).unwrap();
            assert_eq!((body.enable_ipv4, body.enable_ipv6), (four, six), "{line}");
        };
        check("n", None, None);
        check("n --ipv6", None, Some(true));
        check("n --ipv4=false --ipv6=true", Some(false), Some(true));
    }

    #[test]
    fn a_subnet_of_another_family_holds_nothing() {
        assert_eq!(lies_in("0.0.0.0/0", "::1"), Ok(false));
        assert_eq!(lies_in("0.0.0.0/0", "255.1.2.3"), Ok(true));
        assert_eq!(lies_in("::/0", "fd00::1"), Ok(true));
        assert_eq!(lies_in("10.0.0.5/8", "10.255.0.0/16"), Ok(true));
        assert_eq!(lies_in("10.0.0.0/8", "nonsense"), Ok(false));
        assert!(lies_in("10.0.0.0/33", "10.0.0.1").is_err());
        assert!(lies_in("10.0.0.0/+8", "10.0.0.1").is_err());
    }
}
