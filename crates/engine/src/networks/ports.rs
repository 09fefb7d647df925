//! Which ports of a container are published, and where. Pure.

use network::{PortRequest, Protocol, PublishedPort};
use std::collections::BTreeMap;
use stdx::{Error, Result};
use store::records::container::{ContainerRecord, PortBinding};
use store::records::network::PortRecord;

/// What the container's user wants published: `-p`, and with `-P` every exposed port that is not named there.
pub(crate) fn requests(record: &ContainerRecord) -> Result<Vec<PortRequest>> {
    let mut requests = Vec::new();
    for (port, bindings) in &record.host.port_bindings {
        let (container, protocol) = container_port(port)?;
        let any = [PortBinding::default()];
        let bindings = if bindings.is_empty() { &any[..] } else { bindings };
        for binding in bindings {
            requests.push(PortRequest {
                protocol,
                container,
                address: address(&binding.address)?,
                ports: host_ports(&binding.port)?,
            });
        }
    }
    if record.host.publish_all_ports {
        let named = &record.host.port_bindings;
        for port in record.config.exposed_ports.iter().filter(|port| !named.contains_key(*port)) {
            let (container, protocol) = container_port(port)?;
            requests.push(PortRequest { protocol, container, address: None, ports: None });
        }
    }
    Ok(requests)
}

/// Refuses bindings that cannot be read, before the container is created.
pub(crate) fn check(bindings: &BTreeMap<String, Vec<PortBinding>>) -> Result<()> {
    for (port, bindings) in bindings {
        container_port(port)?;
        for binding in bindings {
            address(&binding.address)?;
            host_ports(&binding.port)?;
        }
    }
    Ok(())
}

/// `80/tcp`, `80`.
pub(crate) fn container_port(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| invalid(port))?;
    let protocol =
        protocol.parse().map_err(|e: network::InvalidProtocol| Error::invalid(e.to_string()))?;
    Ok((port, protocol))
}

/// `8080`, `8000-8010`; nothing and 0 are any.
fn host_ports(text: &str) -> Result<Option<(u16, u16)>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |part: &str| part.parse::<u16>().map_err(|_| invalid(text));
    if text.is_empty() {
        return Ok(None);
    }
    match (port(first)?, port(last)?) {
        (0, 0) => Ok(None),
        (first, last) if first <= last => Ok(Some((first, last))),
        _ => Err(invalid(text)),
    }
}

fn address(text: &str) -> Result<Option<std::net::IpAddr>> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("invalid IP address: {text}"))),
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("invalid port specification: {text:?}"))
}

/// Whether clients may come that the kernel cannot translate: over TCP, to an IPv6 address of the host.
pub(super) fn may_need_relay(request: &PortRequest) -> bool {
    request.protocol == Protocol::Tcp && request.address.is_none_or(|address| address.is_ipv6())
}

/// A published port for the record of the run.
pub(crate) fn write_down(port: &PublishedPort) -> PortRecord {
    PortRecord {
        protocol: port.protocol.to_string(),
        container: port.container,
        address: port.address.to_string(),
        port: port.port,
    }
}

/// The same, read again.
pub(crate) fn of_record(record: &PortRecord) -> Option<PublishedPort> {
    Some(PublishedPort {
        protocol: record.protocol.parse().ok()?,
        container: record.container,
        address: record.address.parse().ok()?,
        port: record.port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_read_as_docker_reads_them() {
        assert_eq!(container_port("80/udp").unwrap(), (80, Protocol::Udp));
        assert_eq!(container_port("80").unwrap(), (80, Protocol::Tcp));
        assert_eq!(host_ports("").unwrap(), None);
        assert_eq!(host_ports("0").unwrap(), None);
        assert_eq!(host_ports("80").unwrap(), Some((80, 80)));
        assert_eq!(host_ports("8000-8010").unwrap(), Some((8000, 8010)));
        for bad in ["x", "70000", "9-8", "1-2-3", "-1"] {
            let text = host_ports(bad).unwrap_err().to_string();
            assert_eq!(text, format!("invalid port specification: \"{bad}\""));
        }
        assert_eq!(address("[::1]").unwrap(), Some("::1".parse().unwrap()));
        assert_eq!(address("").unwrap(), None);
        assert!(address("host").is_err());
        assert!(container_port("80/icmp").is_err());
    }
}
