//! The options of a network (`docker network create -o`) and of an endpoint (`driver-opt=`) as this driver knows them.

mod endpoint;

pub use endpoint::{EndpointOptions, IFNAME, SYSCTLS};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stdx::{Error, Result};

/// `com.docker.network.bridge.name`
pub const NAME: &str = "com.docker.network.bridge.name";
/// `com.docker.network.bridge.enable_icc`
pub const ICC: &str = "com.docker.network.bridge.enable_icc";
/// `com.docker.network.bridge.enable_ip_masquerade`
pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// `com.docker.network.driver.mtu`
pub const MTU: &str = "com.docker.network.driver.mtu";
/// `com.docker.network.bridge.host_binding_ipv4`
pub const HOST_BINDING_V4: &str = "com.docker.network.bridge.host_binding_ipv4";
/// `com.docker.network.bridge.host_binding_ipv6`: ours; Docker has only the other.
pub const HOST_BINDING_V6: &str = "com.docker.network.bridge.host_binding_ipv6";
/// `com.docker.network.bridge.inhibit_ipv4`
pub const INHIBIT_V4: &str = "com.docker.network.bridge.inhibit_ipv4";
/// `com.docker.network.bridge.gateway_mode_ipv4`
pub const MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
/// `com.docker.network.bridge.gateway_mode_ipv6`
pub const MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
/// `com.docker.network.bridge.trusted_host_interfaces`
pub const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
/// `com.docker.network.container_iface_prefix`
pub const PREFIX: &str = "com.docker.network.container_iface_prefix";
/// `com.docker.network.host_ipv4`
pub const HOST_V4: &str = "com.docker.network.host_ipv4";
/// `com.docker.network.host_ipv6`
pub const HOST_V6: &str = "com.docker.network.host_ipv6";
/// `gantry.egress`: ours; where the network's containers may go ([`types::egress`]).
pub const EGRESS: &str = "gantry.egress";

/// How the world outside reaches the containers of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GatewayMode {
    /// By published ports; what leaves gets the host's address.
    #[default]
    Nat,
    /// As `Nat`, and every port directly by whoever has a route.
    NatUnprotected,
    /// No translation: published ports directly by whoever has a route.
    Routed,
    /// Not at all, and the host has no address on the bridge: internal networks only.
    Isolated,
}

/// What a network of this driver is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The bridge's name; `None`: made of the network's id.
    pub name: Option<String>,
    /// Containers on the network may talk to each other.
    pub icc: bool,
    /// What leaves the host gets the host's address.
    pub masquerade: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// The host's IPv4 address of ports that are published without one.
    pub host_binding_v4: Option<Ipv4Addr>,
    /// The host's IPv6 address of ports that are published without one.
    pub host_binding_v6: Option<Ipv6Addr>,
    /// The bridge gets no IPv4 address: somebody else has the gateway's.
    pub inhibit_v4: bool,
    /// Reaching containers by IPv4.
    pub mode_v4: GatewayMode,
    /// Reaching containers by IPv6.
    pub mode_v6: GatewayMode,
    /// Links of the host from which every port of a container may be reached directly.
    pub trusted: Vec<String>,
    /// What names of links in containers begin with.
    pub prefix: String,
    /// What leaves gets this IPv4 address instead of the outgoing link's.
    pub host_v4: Option<Ipv4Addr>,
    /// What leaves gets this IPv6 address instead of the outgoing link's.
    pub host_v6: Option<Ipv6Addr>,
    /// Where its containers may go beyond it; `None`: everywhere.
    pub egress: Option<types::Egress>,
}

impl Options {
    /// Reads them; what this driver does not know is left to others, as Docker leaves it.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that cannot be read.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let all = Values(options);
        Ok(Self {
            name: all.get(NAME).map(|name| link_name(NAME, name)).transpose()?,
            icc: all.flag(ICC, true)?,
            masquerade: all.flag(MASQUERADE, true)?,
            mtu: all.mtu()?,
            host_binding_v4: all.v4(HOST_BINDING_V4)?,
            host_binding_v6: all.v6(HOST_BINDING_V6)?,
            inhibit_v4: all.flag(INHIBIT_V4, false)?,
            mode_v4: all.mode(MODE_V4)?,
            mode_v6: all.mode(MODE_V6)?,
            trusted: all
                .get(TRUSTED)
                .map(|links| links.split(':').map(|link| link_name(TRUSTED, link)).collect())
                .transpose()?
                .unwrap_or_default(),
            prefix: match all.get(PREFIX) {
                // Two digits must still fit.
                Some(prefix) if prefix.len() > 13 => {
                    return Err(unreadable(PREFIX, prefix, "at most 13 bytes"));
                }
                Some(prefix) => link_name(PREFIX, prefix)?,
                None => "eth".into(),
            },
            host_v4: all.v4(HOST_V4)?,
            host_v6: all.v6(HOST_V6)?,
            egress: all.get(EGRESS).map(str::parse).transpose()?,
        })
    }
}

/// Options by their names; an empty value is none.
struct Values<'a>(&'a BTreeMap<String, String>);

impl Values<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => {
                let why = format!("strconv.ParseBool: parsing {other:?}: invalid syntax");
                Err(unreadable(key, other, &why))
            }
        }
    }

    fn mtu(&self) -> Result<u32> {
        let Some(text) = self.get(MTU) else { return Ok(1500) };
        let number: i64 = text.parse().map_err(|_| {
            unreadable(MTU, text, &format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
        })?;
        match u32::try_from(number) {
            Ok(0) => Ok(1500),
            Ok(mtu) if mtu <= 65535 => Ok(mtu),
            _ => Err(Error::invalid(format!("invalid MTU number: {number}"))),
        }
    }

    fn address(&self, key: &str) -> Result<Option<IpAddr>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| unreadable(key, text, "nil ip"))
    }

    fn v4(&self, key: &str) -> Result<Option<Ipv4Addr>> {
        match self.address(key)? {
            None => Ok(None),
            Some(IpAddr::V4(address)) => Ok(Some(address)),
            Some(other) => Err(unreadable(key, &other.to_string(), "it is no IPv4 address")),
        }
    }

    fn v6(&self, key: &str) -> Result<Option<Ipv6Addr>> {
        match self.address(key)? {
            None => Ok(None),
            Some(IpAddr::V6(address)) => Ok(Some(address)),
            Some(other) => Err(unreadable(key, &other.to_string(), "it is no IPv6 address")),
        }
    }

    fn mode(&self, key: &str) -> Result<GatewayMode> {
        match self.get(key) {
            None | Some("nat") => Ok(GatewayMode::Nat),
            Some("nat-unprotected") => Ok(GatewayMode::NatUnprotected),
            Some("routed") => Ok(GatewayMode::Routed),
            Some("isolated") => Ok(GatewayMode::Isolated),
            Some(other) => Err(unreadable(key, other, &format!("unknown gateway mode {other}"))),
        }
    }
}

/// A name that the kernel takes for a link and that stays one folder of `/proc/sys`.
fn link_name(key: &str, name: &str) -> Result<String> {
    let odd = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name == "." || name == ".." || name.contains(odd) {
        return Err(unreadable(key, name, "it is no name of a link"));
    }
    if name.len() > 15 {
        return Err(unreadable(key, name, "names of links have at most 15 bytes"));
    }
    Ok(name.to_owned())
}

fn unreadable(key: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("failed to parse {key} value: {value} ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options> {
        Options::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn options() {
        let default = read(&[("other", "x"), (MTU, "0")]).unwrap();
        assert_eq!((default.name, default.mtu), (None, 1500));
        assert!(default.icc && default.masquerade && !default.inhibit_v4);
        assert_eq!((default.mode_v4, default.prefix.as_str()), (GatewayMode::Nat, "eth"));
        let set = read(&[
            (NAME, "br0"),
            (ICC, "false"),
            (MASQUERADE, "0"),
            (MTU, "9000"),
            (HOST_BINDING_V4, "127.0.0.1"),
            (MODE_V6, "routed"),
            (TRUSTED, "wg0:tun1"),
            (PREFIX, "net"),
            (HOST_V6, "fd00::9"),
        ])
        .unwrap();
        assert_eq!((set.name.as_deref(), set.icc, set.masquerade), (Some("br0"), false, false));
        assert_eq!((set.mtu, set.mode_v6), (9000, GatewayMode::Routed));
        assert_eq!(set.host_binding_v4, Some(Ipv4Addr::LOCALHOST));
        assert_eq!((set.trusted.join(" "), set.prefix), ("wg0 tun1".into(), "net".into()));
        assert_eq!(set.host_v6, Some("fd00::9".parse().unwrap()));
    }

    #[test]
    fn unreadable_values_are_named_as_docker_names_them() {
        for (key, value, text) in [
            (
                ICC,
                "maybe",
                "failed to parse com.docker.network.bridge.enable_icc value: maybe \
                 (strconv.ParseBool: parsing \"maybe\": invalid syntax)",
            ),
            (
                MTU,
                "abc",
                "failed to parse com.docker.network.driver.mtu value: abc \
                 (strconv.Atoi: parsing \"abc\": invalid syntax)",
            ),
            (MTU, "-5", "invalid MTU number: -5"),
            (
                HOST_BINDING_V4,
                "zzz",
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: zzz (nil ip)",
            ),
            (
                MODE_V4,
                "foo",
                "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: foo \
                 (unknown gateway mode foo)",
            ),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err().to_string(), text);
        }
        for bad in [
            (NAME, "abcdefghijklmnop"),
            (NAME, "../x"),
            (NAME, ".."),
            (HOST_V4, "fd00::1"),
            (HOST_V6, "10.0.0.1"),
            (TRUSTED, "a::b"),
            (PREFIX, "abcdefghijklmn"),
            (MTU, "65536"),
        ] {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
    }
}
