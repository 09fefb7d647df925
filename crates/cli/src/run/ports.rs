//! `-p`, `--publish`, `--expose`.

use crate::flags::check;
use crate::run::csv;
use api::{Empty, PortBinding, PortMap};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Exposed ports as in the body's configuration.
pub(super) type Exposed = BTreeMap<String, Empty>;

/// What `--publish` and `--expose` mean.
pub(super) fn ports(publish: &[String], expose: &[String]) -> Result<(Exposed, PortMap), String> {
    let mut exposed = Exposed::new();
    let mut bindings = PortMap::new();
    for flag in publish {
        let standard = if flag.contains('=') { from_long(flag)? } else { flag.clone() };
        for (port, binding) in one(&standard)? {
            exposed.insert(port.clone(), Empty {});
            bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
    for flag in expose {
        if flag.contains(':') {
            return Err(format!("invalid port format for --expose: {flag}"));
        }
        let (ports, protocol) = split_protocol(flag);
        let (low, high) = range(ports)
            .map_err(|e| format!("invalid range format for --expose: {flag}, error: {e}"))?;
        for port in low..=high {
            exposed.insert(format!("{port}/{}", check_protocol(protocol)?), Empty {});
        }
    }
    Ok((exposed, bindings))
}

/// `target=80,published=8080,protocol=tcp` in the short form.
fn from_long(text: &str) -> Result<String, String> {
    let (mut target, mut published, mut protocol) =
        (String::new(), String::new(), "tcp".to_owned());
    for field in csv(text)? {
        let (key, value) =
            field.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                format!("invalid publish opts format (should be name=value but got '{field}')")
            })?;
        match key.to_lowercase().as_str() {
            "target" => value.clone_into(&mut target),
            "published" => value.clone_into(&mut published),
            "protocol" => value.clone_into(&mut protocol),
            "mode" if matches!(value, "ingress" | "host") => {}
            "mode" => return Err(format!("invalid publish mode: {value}")),
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// `[[ip:][host]:]container[/protocol]`, where ports may be ranges.
fn one(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (address, protocol) = split_protocol(text);
    let parts: Vec<&str> = address.split(':').collect();
    let (ip, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [ip @ .., host, container] => (ip.join(":"), *host, *container),
        [] => (String::new(), "", ""),
    };
    if ip.starts_with('[') && !ip.contains(']') {
        return Err(format!("invalid IP address {ip}: address {ip}:: missing ']' in address"));
    }
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(&ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (low, high) =
        range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        host => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if let Some((from, to)) = host_range
        && high - low != to - from
        && high != low
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    let protocol = check_protocol(protocol)?;
    let published = |offset: u16| match host_range {
        None => String::new(),
        // One port of the container gets any of the range.
        Some((from, to)) if low == high && from != to => format!("{from}-{to}"),
        Some((from, _)) => (from + offset).to_string(),
    };
    let binding = |port: u16| {
        let binding = PortBinding { host_ip: ip.to_owned(), host_port: published(port - low) };
        (format!("{port}/{protocol}"), binding)
    };
    Ok((low..=high).map(binding).collect())
}

fn split_protocol(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((port, protocol)) if !protocol.is_empty() => (port, protocol),
        Some((port, _)) => (port, "tcp"),
        None => (text, "tcp"),
    }
}

fn check_protocol(protocol: &str) -> Result<String, String> {
    let lower = protocol.to_lowercase();
    match lower.as_str() {
        "tcp" | "udp" | "sctp" => Ok(lower),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        check::decimal16(text)?;
        text.parse::<u16>().map_err(|e| e.to_string())
    };
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let Some((low, high)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok((port, port));
    };
    let (low, high) = (port(low)?, port(high)?);
    if high < low {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((low, high))
}
