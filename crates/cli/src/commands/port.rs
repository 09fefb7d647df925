//! `port`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches};
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
    let mut lines = Vec::new();
    match matches.arguments.get(1) {
        Some(asked) => {
            let key = if asked.contains('/') { asked.clone() } else { format!("{asked}/tcp") };
            let Some(Some(bindings)) = ports.get(&key).filter(|b| b.is_some()) else {
                return Err(Failure::new(format!(
                    "Error: No public port '{asked}' published for {name}"
                )));
            };
            lines.extend(bindings.iter().map(address));
        }
        None => {
            for (port, bindings) in ports {
                lines
                    .extend(bindings.iter().flatten().map(|b| format!("{port} -> {}", address(b))));
            }
        }
    }
    lines.sort();
    output::print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    Ok(0)
}

fn address(binding: &PortBinding) -> String {
    if binding.host_ip.contains(':') {
        format!("[{}]:{}", binding.host_ip, binding.host_port)
    } else {
        format!("{}:{}", binding.host_ip, binding.host_port)
    }
}
