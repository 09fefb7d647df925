//! `port`

use super::volume_ls::natural;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches, check};
use crate::output;
use api::PortBinding;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "port",
    aliases: &[],
    top: "port",
    arguments: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    arity: Arity::Between(1, 2),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let container = app.client()?.inspect_container(name).await?;
    let ports = &container.network_settings.ports;
    let asked = matches.arguments.get(1).map(String::as_str).unwrap_or_default();
    let mut lines: Vec<String> = if asked.is_empty() {
        let bindings = ports.iter().flat_map(|(port, bindings)| {
            bindings.iter().flatten().map(move |binding| (port, binding))
        });
        bindings.map(|(port, binding)| format!("{port} -> {}", address(binding))).collect()
    } else {
        let key = port(asked)?;
        let bindings = ports.get(&key).and_then(Option::as_ref).filter(|b| !b.is_empty());
        let none = || Failure::new(format!("Error: No public port '{asked}' published for {name}"));
        bindings.ok_or_else(none)?.iter().map(address).collect()
    };
    lines.sort_by(|a, b| natural(a, b));
    output::print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    Ok(0)
}

/// `80` and `80/` are `80/tcp`.
fn port(asked: &str) -> Result<String> {
    let (port, protocol) = asked.split_once('/').unwrap_or((asked, ""));
    check::decimal16(port)
        .map_err(|why| Failure::new(format!("Error: invalid port ({port}): {why}")))?;
    Ok(format!("{port}/{}", if protocol.is_empty() { "tcp" } else { protocol }))
}

fn address(binding: &PortBinding) -> String {
    if binding.host_ip.contains(':') {
        format!("[{}]:{}", binding.host_ip, binding.host_port)
    } else {
        format!("{}:{}", binding.host_ip, binding.host_port)
    }
}
