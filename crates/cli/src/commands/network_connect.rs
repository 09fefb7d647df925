//! `network connect` and `disconnect`

use super::network::NO_NAME;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches, check};
use api::{EndpointIpam, EndpointSettings, NetworkConnectBody, NetworkDisconnectBody};
use std::collections::BTreeMap;

pub(super) const CONNECT: Command = Command {
    group: "network",
    name: "connect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[&[
        Flag::new("alias", Kind::STRINGS, "Add network-scoped alias for the container"),
        Flag::new("driver-opt", Kind::STRINGS, "driver options for the network"),
        Flag::new(
            "gw-priority",
            Kind::INT,
            "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
        ),
        Flag::text("ip", "IPv4 address (e.g., \"172.30.100.104\")"),
        Flag::text("ip6", "IPv6 address (e.g., \"2001:db8::33\")"),
        Flag::new("link", Kind::list(check::link), "Add link to another container"),
        Flag::new("link-local-ip", Kind::STRINGS, "Add a link-local address for the container"),
    ]],
    run: |app, matches| Box::pin(connect(app, matches)),
};

async fn connect(app: &App, matches: &Matches) -> Result<u8> {
    let (network, container) = names(matches)?;
    let endpoint = endpoint(matches).map_err(Failure::new)?;
    if network.trim().is_empty() {
        return Err(Failure::new(NO_NAME));
    }
    if container.trim().is_empty() {
        return Err(Failure::new("invalid container name or ID: value is empty"));
    }
    let body =
        NetworkConnectBody { container: container.to_owned(), endpoint_config: Some(endpoint) };
    app.client()?.connect_network(network, &body).await?;
    Ok(0)
}

fn names(matches: &Matches) -> Result<(&str, &str)> {
    match matches.arguments.as_slice() {
        [network, container] => Ok((network, container)),
        _ => Err(Failure::new("a network and a container are wanted")),
    }
}

fn endpoint(matches: &Matches) -> Result<EndpointSettings, String> {
    let ipam = EndpointIpam {
        ipv4_address: matches.text("ip"),
        ipv6_address: matches.text("ip6"),
        link_local_ips: Some(matches.strings("link-local-ip")),
    };
    Ok(EndpointSettings {
        ipam_config: Some(ipam),
        links: Some(matches.list("link")).filter(|links| !links.is_empty()),
        aliases: Some(matches.strings("alias")),
        driver_opts: Some(driver_options(&matches.strings("driver-opt"))?),
        gw_priority: matches.int("gw-priority"),
        ..EndpointSettings::default()
    })
}

fn driver_options(given: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut options = BTreeMap::new();
    for option in given {
        let (name, value) = option
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty())
            .ok_or("invalid key/value pair format in driver options")?;
        options.insert(name.to_owned(), value.to_owned());
    }
    Ok(options)
}

pub(super) const DISCONNECT: Command = Command {
    group: "network",
    name: "disconnect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[&[
        Flag::switch("force", "Force the container to disconnect from a network").short('f')
    ]],
    run: |app, matches| Box::pin(disconnect(app, matches)),
};

async fn disconnect(app: &App, matches: &Matches) -> Result<u8> {
    let (network, container) = names(matches)?;
    if network.trim().is_empty() {
        return Err(Failure::new(NO_NAME));
    }
    if container.trim().is_empty() {
        return Err(Failure::new("invalid container name or ID: value is empty"));
    }
    let body =
        NetworkDisconnectBody { container: container.to_owned(), force: matches.is("force") };
    app.client()?.disconnect_network(network, &body).await?;
    Ok(0)
}
