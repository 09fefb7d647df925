//! `--network` and the flags about addresses on it.

use super::csv;
use crate::flags::Matches;
use api::network::EndpointIpam;
use api::{EndpointSettings, NetworkingConfig};
use std::collections::BTreeMap;

/// One `--network`.
#[derive(Debug, Clone, Default)]
struct Attachment {
    target: String,
    aliases: Vec<String>,
    driver_opts: BTreeMap<String, String>,
    ipv4: String,
    ipv6: String,
    mac: String,
    link_local: Vec<String>,
    links: Vec<String>,
    gw_priority: Option<i64>,
}

/// Says what is wrong with a `--network`.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// The mode, and the endpoints that are wanted.
pub(super) fn networks(matches: &Matches) -> Result<(String, NetworkingConfig), String> {
    let mut attachments = Vec::new();
    for flag in matches.list("network") {
        attachments.push(parse(&flag)?);
    }
    // The default network always has an endpoint; one that was typed only when there is something to say about it, as
    // daemons before 1.44 took but one.
    let is_default = attachments.is_empty();
    if is_default {
        attachments.push(Attachment { target: "default".into(), ..Attachment::default() });
    }
    apply_flags(&mut attachments[0], matches)?;
    let keeps_empty = is_default || attachments.len() > 1;
    let mut endpoints = BTreeMap::new();
    for attachment in &attachments {
        let user_defined = is_user_defined(&attachment.target);
        if attachment.target.trim().is_empty() {
            return Err("no name set for network".into());
        }
        if !user_defined && !attachment.aliases.is_empty() {
            return Err(
                "network-scoped aliases are only supported for user-defined networks".into()
            );
        }
        if !attachment.mac.is_empty() && !is_mac(&attachment.mac) {
            return Err(format!("{} is not a valid mac address", attachment.mac));
        }
        if endpoints.contains_key(&attachment.target) {
            return Err(format!("network {:?} is specified multiple times", attachment.target));
        }
        endpoints.insert(attachment.target.clone(), Some(endpoint(attachment, user_defined)));
    }
    let user_defined = attachments.iter().filter(|a| is_user_defined(&a.target)).count();
    if user_defined > 0 && user_defined < attachments.len() {
        return Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".into());
    }
    if !keeps_empty {
        endpoints.retain(|_, endpoint| *endpoint != Some(EndpointSettings::default()));
    }
    let mode = attachments.swap_remove(0).target;
    Ok((mode, NetworkingConfig { endpoints_config: Some(endpoints) }))
}

fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// The flags beside `--network` are about the first network.
fn apply_flags(first: &mut Attachment, matches: &Matches) -> Result<(), String> {
    let conflict = |flag: &str, option: &str| {
        Err(format!("conflicting options: cannot specify both --{flag} and per-network {option}"))
    };
    let aliases = matches.list("network-alias");
    if !aliases.is_empty() && !first.aliases.is_empty() {
        return conflict("network-alias", "alias");
    }
    if matches.has("ip") && !first.ipv4.is_empty() {
        return conflict("ip", "IPv4 address");
    }
    if matches.has("ip6") && !first.ipv6.is_empty() {
        return conflict("ip6", "IPv6 address");
    }
    if matches.has("mac-address") && !first.mac.is_empty() {
        return conflict("mac-address", "MAC address");
    }
    let link_local = matches.list("link-local-ip");
    if !link_local.is_empty() && !first.link_local.is_empty() {
        return conflict("link-local-ip", "link-local IP addresses");
    }
    first.aliases.extend(aliases);
    first.link_local.extend(link_local);
    first.links = matches.list("link");
    for (flag, field) in
        [("ip", &mut first.ipv4), ("ip6", &mut first.ipv6), ("mac-address", &mut first.mac)]
    {
        if let Some(value) = matches.get(flag) {
            value.clone_into(field);
        }
    }
    Ok(())
}

/// What Go's `ParseMAC` takes: 6, 8 or 20 bytes with colons or dashes between them, or in pairs with dots.
fn is_mac(text: &str) -> bool {
    let is = |separator: char, digits: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    is(':', 2, [6, 8, 20]) || is('-', 2, [6, 8, 20]) || is('.', 4, [3, 4, 10])
}

fn endpoint(attachment: &Attachment, user_defined: bool) -> EndpointSettings {
    let list = |values: &[String]| Some(values.to_vec()).filter(|v| !v.is_empty());
    let ipam = EndpointIpam {
        ipv4_address: attachment.ipv4.clone(),
        ipv6_address: attachment.ipv6.clone(),
        link_local_ips: list(&attachment.link_local),
    };
    EndpointSettings {
        ipam_config: Some(ipam).filter(|ipam| *ipam != EndpointIpam::default()),
        links: if user_defined { list(&attachment.links) } else { None },
        aliases: list(&attachment.aliases),
        mac_address: attachment.mac.clone(),
        driver_opts: Some(attachment.driver_opts.clone()).filter(|o| !o.is_empty()),
        gw_priority: attachment.gw_priority,
        ..EndpointSettings::default()
    }
}

fn parse(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !is_long(text) {
        text.clone_into(&mut attachment.target);
        return Ok(attachment);
    }
    for field in csv(text)? {
        let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        let value = value.trim();
        match key.trim().to_lowercase().as_str() {
            "name" => value.clone_into(&mut attachment.target),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => value.clone_into(&mut attachment.ipv4),
            "ip6" => value.clone_into(&mut attachment.ipv6),
            "mac-address" => value.clone_into(&mut attachment.mac),
            "link-local-ip" => attachment.link_local.push(value.to_owned()),
            "driver-opt" => {
                // Docker's client makes values small as well, which names of interfaces do not survive.
                let (name, value) = value
                    .split_once('=')
                    .filter(|(name, _)| !name.is_empty())
                    .ok_or("invalid key value pair format in driver options")?;
                attachment.driver_opts.insert(name.trim().to_lowercase(), value.trim().to_owned());
            }
            "gw-priority" => attachment.gw_priority = Some(priority(value)?),
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if attachment.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(attachment)
}

/// Docker takes for the long form whatever has a word on either side of some `=`.
fn is_long(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices('=').any(|(at, _)| {
        text[..at].chars().next_back().is_some_and(is_word)
            && text[at + 1..].chars().next().is_some_and(is_word)
    })
}

fn priority(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    text.parse().map_err(|_| {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        format!("invalid gw-priority ({text}): {why}")
    })
}
