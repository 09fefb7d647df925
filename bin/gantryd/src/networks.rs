//! The daemon's network options: from what was given to `engine::NetworkDefaults`, with dockerd's refusals.
//!
//! dockerd finds most of these mistakes only when it starts; here `--validate` finds them too.

use crate::given::{Given, Value, kind_of};
use engine::{BridgeDefaults, Mark, NetworkDefaults, PublishPolicy, Rules, Subnet};
use ipnet::IpNet;
use network::pools::Pool;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stdx::{Error, Result};

/// Reads the options.
pub(crate) fn networks(given: &Given) -> Result<NetworkDefaults> {
    let rules = rules(given)?;
    Ok(NetworkDefaults {
        bridge: bridge(given, rules)?,
        pools: pools(given.get("default-address-pools"))?,
        options: options(given.get("default-network-opts"))?,
        dns: addresses(given, "dns")?,
        dns_options: given.list("dns-opts"),
        dns_search: given.list("dns-search"),
        host_gateways: host_gateways(given)?,
        rules,
    })
}

fn rules(given: &Given) -> Result<Rules> {
    let switch = |id: &str, default: bool| given.switch(id).unwrap_or(default);
    let publish = match given.text("publish-policy").as_deref() {
        None | Some("open") => PublishPolicy::Open,
        Some("host") => PublishPolicy::Host,
        Some(other) => {
            return Err(Error::invalid(format!(
                "invalid publish-policy \"{other}\": use \"open\" or \"host\""
            )));
        }
    };
    match given.text("firewall-backend").as_deref() {
        None | Some("nftables" | "iptables") => {}
        Some(other) => {
            return Err(Error::invalid(format!("invalid firewall-backend \"{other}\"")));
        }
    }
    Ok(Rules {
        forward: switch("ip-forward", true),
        guard: !switch("ip-forward-no-drop", false),
        ipv4: switch("iptables", true),
        ipv6: switch("ip6tables", true),
        direct_routing: switch("allow-direct-routing", false),
        accept_mark: given.text("bridge-accept-fwmark").map(|text| mark(&text)).transpose()?,
        publish,
    })
}

/// `1`, `0x1` or `1/0xff`.
fn mark(text: &str) -> Result<Mark> {
    let wrong = || Error::invalid(format!("invalid firewall mark/mask {text:?}"));
    let number = |text: &str| {
        cli::flags::check::uint(text).map_err(|_| wrong())?;
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| wrong())
    };
    let (value, mask) = text.split_once('/').map_or((text, None), |(v, m)| (v, Some(m)));
    Ok(Mark { value: number(value)?, mask: mask.map_or(Ok(u32::MAX), number)? })
}

fn bridge(given: &Given, rules: Rules) -> Result<Option<BridgeDefaults>> {
    let link = given.text("bridge");
    for option in ["bip", "bip6"] {
        if link.is_some() && given.text(option).is_some() {
            return Err(Error::invalid(format!(
                "You specified -b & --{option}, mutually exclusive options. Please specify only one"
            )));
        }
    }
    let icc = given.switch("icc").unwrap_or(true);
    if !icc && !rules.ipv4 {
        return Err(Error::invalid(
            "You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or \
             --iptables to true",
        ));
    }
    let found = BridgeDefaults {
        icc,
        // Nobody masquerades without rules.
        masquerade: given.switch("ip-masq").unwrap_or(true) && rules.ipv4,
        mtu: mtu(given)?,
        publish_address: address(given, "ip")?.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        ..subnets(given)?
    };
    match link.as_deref() {
        Some("none") => Ok(None),
        _ => Ok(Some(BridgeDefaults { link, ..found })),
    }
}

fn mtu(given: &Given) -> Result<Option<u32>> {
    /// What every IPv4 host must take whole, and the most that a length of 16 bits can say.
    const POSSIBLE: std::ops::RangeInclusive<i64> = 68..=65535;
    match given.int("mtu") {
        None | Some(0) => Ok(None),
        Some(bytes) if POSSIBLE.contains(&bytes) => Ok(u32::try_from(bytes).ok()),
        Some(bytes) => Err(Error::invalid(format!("invalid default MTU: {bytes}"))),
    }
}

/// The addresses of the default bridge.
fn subnets(given: &Given) -> Result<BridgeDefaults> {
    let ipv4 = own_address(given, "bip", "IPv4", |net| matches!(net, IpNet::V4(_)))?;
    let ipv6 = own_address(given, "bip6", "IPv6", |net| matches!(net, IpNet::V6(_)))?;
    let range_ipv4 = range(given, "fixed-cidr", "IPv4", |net| matches!(net, IpNet::V4(_)))?;
    let range_ipv6 = range(given, "fixed-cidr-v6", "IPv6", |net| matches!(net, IpNet::V6(_)))?;
    // A range alone is the subnet.
    let subnet = |own: Option<IpNet>, range: Option<IpNet>| own.map(|n| n.trunc()).or(range);
    let (net4, net6) = (subnet(ipv4, range_ipv4), subnet(ipv6, range_ipv6));
    for (option, range, net) in
        [("fixed-cidr", range_ipv4, net4), ("fixed-cidr-v6", range_ipv6, net6)]
    {
        if let (Some(range), Some(net)) = (range, net)
            && !net.contains(&range)
        {
            return Err(Error::invalid(format!(
                "invalid {option}: {range} is no part of the bridge's subnet {net}"
            )));
        }
    }
    let gateway_ipv4 = gateway(given, "default-gateway", net4, "IPv4")?;
    let gateway_ipv6 = gateway(given, "default-gateway-v6", net6, "IPv6")?;
    Ok(BridgeDefaults {
        ipv4: net4.map(|net| Subnet { net, address: ipv4.and_then(|own| four(own.addr())) }),
        ipv6: net6.map(|net| Subnet { net, address: ipv6.and_then(|own| six(own.addr())) }),
        enable_ipv6: given.switch("ipv6").unwrap_or(false),
        range_ipv4,
        range_ipv6,
        gateway_ipv4: gateway_ipv4.and_then(four),
        gateway_ipv6: gateway_ipv6.and_then(six),
        ..BridgeDefaults::default()
    })
}

fn four(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(four) => Some(four),
        IpAddr::V6(_) => None,
    }
}

fn six(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(six) => Some(six),
        IpAddr::V4(_) => None,
    }
}

/// `--bip`, `--bip6`: an address with the length of its subnet.
fn own_address(
    given: &Given,
    id: &str,
    family: &str,
    fits: fn(&IpNet) -> bool,
) -> Result<Option<IpNet>> {
    let Some(text) = given.text(id) else { return Ok(None) };
    let own = cidr(&text).map_err(|e| Error::invalid(format!("invalid {id}: {e}")))?;
    if !fits(&own) {
        return Err(Error::invalid(format!("invalid {id}: {text} is not an {family} address")));
    }
    let hosts = own.max_prefix_len() - own.prefix_len();
    if hosts > 1
        && (own.addr() == own.network() || own.addr() == own.broadcast() && family == "IPv4")
    {
        return Err(Error::invalid(format!(
            "invalid {id}: {} cannot be the bridge's address in {}",
            own.addr(),
            own.trunc()
        )));
    }
    Ok(Some(own))
}

/// `--fixed-cidr`, `--fixed-cidr-v6`
fn range(given: &Given, id: &str, family: &str, fits: fn(&IpNet) -> bool) -> Result<Option<IpNet>> {
    let Some(text) = given.text(id) else { return Ok(None) };
    let net = cidr(&text).map_err(|e| Error::invalid(format!("invalid {id}: {e}")))?;
    if !fits(&net) {
        return Err(Error::invalid(format!("invalid {id}: {id} is not an {family} subnet")));
    }
    Ok(Some(net.trunc()))
}

/// `--default-gateway`, `--default-gateway-v6`
fn gateway(given: &Given, id: &str, net: Option<IpNet>, family: &str) -> Result<Option<IpAddr>> {
    let Some(gateway) = address(given, id)? else { return Ok(None) };
    if gateway.is_ipv4() != (family == "IPv4") {
        return Err(Error::invalid(format!("invalid {id}: {gateway} is not an {family} address")));
    }
    match net {
        Some(net) if !net.contains(&gateway) => Err(Error::invalid(format!(
            "auxiliary address: (DefaultGateway{family}:{gateway}) must belong to the master pool: {net}"
        ))),
        _ => Ok(Some(gateway)),
    }
}

fn cidr(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("invalid CIDR address: {text}"))
}

fn address(given: &Given, id: &str) -> Result<Option<IpAddr>> {
    let wrong = |text: &str| Error::invalid(format!("invalid IP address: {text}"));
    given.text(id).map(|text| text.trim().parse().map_err(|_| wrong(&text))).transpose()
}

fn addresses(given: &Given, id: &str) -> Result<Vec<IpAddr>> {
    let wrong = |text: &str| Error::invalid(format!("invalid IP address: {text}"));
    given.list(id).iter().map(|text| text.trim().parse().map_err(|_| wrong(text))).collect()
}

fn host_gateways(given: &Given) -> Result<Vec<IpAddr>> {
    let found = addresses(given, "host-gateway-ips")?;
    for (family, count) in [
        ("IPv4", found.iter().filter(|a| a.is_ipv4()).count()),
        ("IPv6", found.iter().filter(|a| a.is_ipv6()).count()),
    ] {
        if count > 1 {
            return Err(Error::invalid(format!(
                "only one {family} host gateway IP address can be specified"
            )));
        }
    }
    Ok(found)
}

/// `--default-address-pool`: checks one, in dockerd's words.
pub(crate) fn check_pool(text: &str) -> Result<(), String> {
    pool_fields(text).map(|_| ())
}

/// `base=10.0.0.0/16,size=24`
fn pool_fields(text: &str) -> Result<(String, i64), String> {
    let (mut base, mut size) = (String::new(), 0);
    for field in cli::flags::check::csv(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_ascii_lowercase().as_str() {
            "base" => value.clone_into(&mut base),
            "size" => {
                size = value.parse().map_err(|_| {
                    format!(
                        "invalid size value: \"{text}\" (must be integer): strconv.Atoi: parsing {value:?}: invalid syntax"
                    )
                })?;
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    Ok((base, size))
}

fn pools(value: Option<&Value>) -> Result<Vec<Pool>> {
    let fields = match value {
        Some(Value::List(flags)) => flags
            .iter()
            .map(|flag| pool_fields(flag).map_err(Error::invalid))
            .collect::<Result<Vec<_>>>()?,
        Some(Value::Json(Json::Array(items))) => {
            items.iter().map(pool_object).collect::<Result<Vec<_>>>()?
        }
        Some(Value::Json(other)) if !other.is_null() => {
            return Err(type_error("default-address-pools", other, "[]*ipamutils.NetworkToSplit"));
        }
        _ => Vec::new(),
    };
    fields.into_iter().map(|(base, size)| pool(&base, size)).collect()
}

fn pool_object(item: &Json) -> Result<(String, i64)> {
    let Json::Object(object) = item else {
        return Err(type_error("default-address-pools", item, "ipamutils.NetworkToSplit"));
    };
    let (mut base, mut size) = (String::new(), 0);
    for (key, value) in object {
        match (key.to_ascii_lowercase().as_str(), value) {
            (_, Json::Null) => {}
            ("base", Json::String(text)) => text.clone_into(&mut base),
            ("base", other) => {
                return Err(type_error("default-address-pools.base", other, "string"));
            }
            ("size", Json::Number(number)) if number.is_i64() => {
                size = number.as_i64().unwrap_or_default();
            }
            ("size", other) => return Err(type_error("default-address-pools.size", other, "int")),
            // dockerd overlooks them, and so takes a pool of another size than the one that was meant.
            _ => {
                return Err(Error::invalid(format!(
                    "default-address-pools: unexpected key '{key}'"
                )));
            }
        }
    }
    Ok((base, size))
}

fn type_error(field: &str, json: &Json, wanted: &str) -> Error {
    Error::invalid(format!(
        "json: cannot unmarshal {} into Go struct field Config.{field} of type {wanted}",
        kind_of(json)
    ))
}

fn pool(base: &str, size: i64) -> Result<Pool> {
    let net = cidr(base).map_err(|e| Error::invalid(format!("invalid base pool {base:?}: {e}")))?;
    let sizes = i64::from(net.prefix_len())..=i64::from(net.max_prefix_len());
    match u8::try_from(size) {
        Ok(size) if size > 0 && sizes.contains(&i64::from(size)) => {
            Ok(Pool { base: net.trunc(), size })
        }
        _ => Err(Error::invalid(format!("invalid pools size: {size}"))),
    }
}

/// `--default-network-opt`: checks one, in dockerd's words.
pub(crate) fn check_option(text: &str) -> Result<(), String> {
    option_fields(text).map(|_| ())
}

/// `bridge=com.docker.network.driver.mtu=1400`
fn option_fields(text: &str) -> Result<(&str, &str, &str), String> {
    let wrong = || format!("invalid value {text:?} for map option, should be root-key=key=value");
    let (driver, rest) = text.split_once('=').filter(|(d, _)| !d.is_empty()).ok_or_else(wrong)?;
    let (name, value) = rest.split_once('=').ok_or_else(wrong)?;
    Ok((driver, name, value))
}

fn options(value: Option<&Value>) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut add = |driver: &str, name: &str, value: &str| {
        all.entry(driver.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    };
    const KEY: &str = "default-network-opts";
    match value {
        Some(Value::List(flags)) => {
            for flag in flags {
                let (driver, name, value) = option_fields(flag).map_err(Error::invalid)?;
                add(driver, name, value);
            }
        }
        Some(Value::Json(Json::Object(drivers))) => {
            for (driver, options) in drivers {
                let Json::Object(options) = options else {
                    return Err(type_error(KEY, options, "map[string]string"));
                };
                for (name, value) in options {
                    let Json::String(value) = value else {
                        return Err(type_error(KEY, value, "string"));
                    };
                    add(driver, name, value);
                }
            }
        }
        Some(Value::Json(other)) if !other.is_null() => {
            return Err(type_error(KEY, other, "map[string]map[string]string"));
        }
        _ => {}
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
