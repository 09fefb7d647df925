//! The protocols' questions and answers, as they are spelled.

use base64::Engine as _;
use network::ipam::subnets::Subnet;
use network::{Endpoint, EndpointId, Family, Mac, NetworkConfig, NetworkId, PortRequest, Protocol};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// `NetworkDriver.GetCapabilities`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct NetworkCapabilities {
    pub(crate) scope: String,
}

/// `IpamDriver.GetCapabilities`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IpamCapabilities {
    #[serde(rename = "RequiresMACAddress")]
    pub(crate) needs_mac: bool,
    #[serde(rename = "RequiresRequestReplay")]
    pub(crate) replay: bool,
}

/// `IpamDriver.GetDefaultAddressSpaces`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Spaces {
    pub(crate) local_default_address_space: String,
    pub(crate) global_default_address_space: String,
}

/// Nothing but that it was done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Done {}

/// `IpamDriver.RequestPool`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PoolAnswer {
    #[serde(rename = "PoolID")]
    pub(crate) id: String,
    #[serde(rename = "Pool")]
    pub(crate) pool: String,
    #[serde(rename = "Data")]
    pub(crate) data: Option<BTreeMap<String, String>>,
}

/// `IpamDriver.RequestAddress`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct AddressAnswer {
    pub(crate) address: String,
}

/// `NetworkDriver.CreateEndpoint`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct EndpointAnswer {
    pub(crate) interface: Option<Interface>,
}

/// What an endpoint has, where the plugin decides.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Interface {
    pub(crate) address: String,
    #[serde(rename = "AddressIPv6")]
    pub(crate) address_ipv6: String,
    pub(crate) mac_address: String,
}

/// `NetworkDriver.Join`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct JoinAnswer {
    pub(crate) interface_name: Option<InterfaceName>,
    pub(crate) gateway: String,
    #[serde(rename = "GatewayIPv6")]
    pub(crate) gateway_ipv6: String,
    pub(crate) static_routes: Option<Vec<StaticRoute>>,
}

/// The link that a plugin made.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct InterfaceName {
    pub(crate) src_name: String,
    pub(crate) dst_prefix: String,
}

/// A route that a container is to have.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct StaticRoute {
    pub(crate) destination: String,
    /// 0: to the next hop; 1: straight out.
    pub(crate) route_type: i64,
    pub(crate) next_hop: String,
}

/// `NetworkDriver.EndpointOperInfo`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct InfoAnswer {
    pub(crate) value: Option<Map<String, Value>>,
}

/// A published port as a plugin tells of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PortAnswer {
    #[serde(rename = "Proto")]
    pub(crate) protocol: u8,
    #[serde(rename = "Port")]
    pub(crate) port: u16,
    #[serde(rename = "HostIP")]
    pub(crate) host_ip: String,
    #[serde(rename = "HostPort")]
    pub(crate) host_port: u16,
}

/// The key of published ports.
pub(crate) const PORT_MAP: &str = "com.docker.network.portmap";
const EXPOSED: &str = "com.docker.network.endpoint.exposedports";
/// The key of an Ethernet address.
pub(crate) const MAC: &str = "com.docker.network.endpoint.macaddress";
/// What a gateway's address is for, and the key of one that comes with a pool.
pub(crate) const GATEWAY: &str = "com.docker.network.gateway";
const OPTIONS: &str = "com.docker.network.generic";

/// Which network.
pub(crate) fn network(id: &NetworkId) -> Value {
    json!({"NetworkID": id.to_string()})
}

/// Which endpoint.
pub(crate) fn endpoint(network: &NetworkId, endpoint: &EndpointId) -> Value {
    json!({"NetworkID": network.to_string(), "EndpointID": endpoint.to_string()})
}

/// `NetworkDriver.CreateNetwork`; `space` is what the address management calls its place.
pub(crate) fn create_network(config: &NetworkConfig, pools: &[Subnet], space: &str) -> Value {
    let mut options = Map::new();
    if config.internal {
        options.insert("com.docker.network.internal".into(), true.into());
    }
    options.insert("com.docker.network.enable_ipv6".into(), config.ipv6.is_some().into());
    if config.ipv4.is_none() {
        options.insert("com.docker.network.enable_ipv4".into(), false.into());
    }
    options.insert(OPTIONS.into(), json!(config.options));
    let data = |family: Family| -> Vec<Value> {
        if config.ipam.is_null() && family == Family::V4 {
            return vec![json!({"AddressSpace": "null", "Pool": "0.0.0.0/0"})];
        }
        let asked = if family == Family::V4 { &config.ipv4 } else { &config.ipv6 };
        pools
            .iter()
            .filter(|pool| Family::of(&pool.subnet) == family)
            .map(|pool| {
                let mut data = json!({
                    "AddressSpace": space,
                    "Pool": pool.subnet.to_string(),
                    "Gateway": pool.gateway_net().to_string(),
                });
                let auxiliary: Map<String, Value> = asked
                    .iter()
                    .flat_map(|asked| &asked.auxiliary)
                    .map(|(name, a)| (name.clone(), format!("{a}/{}", pool.subnet.prefix_len())))
                    .map(|(name, text)| (name, text.into()))
                    .collect();
                if !auxiliary.is_empty() {
                    data["AuxAddresses"] = auxiliary.into();
                }
                data
            })
            .collect()
    };
    json!({
        "NetworkID": config.id.to_string(),
        "Options": options,
        "IPv4Data": data(Family::V4),
        "IPv6Data": data(Family::V6),
    })
}

/// What plugins are told of an endpoint's ports, with the endpoint's own options.
pub(crate) fn options(
    exposed: &[(Protocol, u16)],
    ports: &[PortRequest],
    own: &BTreeMap<String, String>,
    mac: Option<Mac>,
) -> Value {
    let mut options: Map<String, Value> =
        own.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let exposed: Vec<Value> = exposed
        .iter()
        .map(|(protocol, port)| json!({"Proto": number(*protocol), "Port": port}))
        .collect();
    let map: Vec<Value> = ports
        .iter()
        .map(|port| {
            let (first, last) = port.ports.unwrap_or_default();
            json!({
                "Proto": number(port.protocol),
                "IP": "",
                "Port": port.container,
                "HostIP": port.address.map(|a| a.to_string()).unwrap_or_default(),
                "HostPort": first,
                "HostPortEnd": last,
            })
        })
        .collect();
    options.insert(EXPOSED.into(), exposed.into());
    options.insert(PORT_MAP.into(), map.into());
    if let Some(mac) = mac {
        // Go's encoding of bytes.
        let text = base64::engine::general_purpose::STANDARD.encode(mac.bytes());
        options.insert(MAC.into(), text.into());
    }
    options.into()
}

/// `NetworkDriver.CreateEndpoint`
pub(crate) fn create_endpoint(
    endpoint: &Endpoint,
    addresses: [&str; 2],
    mac: Option<Mac>,
    options: Value,
) -> Value {
    json!({
        "NetworkID": endpoint.network.to_string(),
        "EndpointID": endpoint.id.to_string(),
        "Interface": {
            "Address": addresses[0],
            "AddressIPv6": addresses[1],
            "MacAddress": mac.map(|mac| mac.to_string()).unwrap_or_default(),
        },
        "Options": options,
    })
}

/// The protocol's number (IANA).
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The protocol of that number.
pub(crate) fn protocol(number: u8) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        132 => Some(Protocol::Sctp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dockerd 26.1 sent to a plugin of ours, with these very options.
    #[test]
    fn questions_are_dockers() {
        let id = NetworkId::from_bytes([0xab; 32]);
        let mut config = NetworkConfig::bridge(id, None);
        config.options = [("a".to_owned(), "b".to_owned())].into();
        if let Some(ipv4) = &mut config.ipv4 {
            ipv4.auxiliary = [("h".to_owned(), "10.78.0.20".parse().unwrap())].into();
        }
        let pool = Subnet {
            subnet: "10.78.0.0/24".parse().unwrap(),
            range: None,
            gateway: "10.78.0.9".parse().unwrap(),
            gateway_prefix: 24,
        };
        assert_eq!(
            create_network(&config, &[pool], "ls"),
            json!({
                "NetworkID": id.to_string(),
                "Options": {
                    "com.docker.network.enable_ipv6": false,
                    "com.docker.network.generic": {"a": "b"},
                },
                "IPv4Data": [{
                    "AddressSpace": "ls",
                    "AuxAddresses": {"h": "10.78.0.20/24"},
                    "Gateway": "10.78.0.9/24",
                    "Pool": "10.78.0.0/24",
                }],
                "IPv6Data": [],
            })
        );
        config.ipam.driver = "null".into();
        let null = create_network(&config, &[], "");
        assert_eq!(null["IPv4Data"], json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]));
        let port = PortRequest {
            protocol: Protocol::Tcp,
            container: 80,
            address: None,
            ports: Some((8080, 8080)),
        };
        assert_eq!(
            options(
                &[(Protocol::Tcp, 80)],
                &[port],
                &BTreeMap::new(),
                "02:aa:bb:cc:dd:ee".parse().ok()
            ),
            json!({
                "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
                "com.docker.network.endpoint.macaddress": "Aqq7zN3u",
                "com.docker.network.portmap": [
                    {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
                ],
            })
        );
    }
}
