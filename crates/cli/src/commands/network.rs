//! `network inspect`, `rm`, `prune`; the others have files of their own.

use super::events::filters;
use super::prune::{agrees, confirm};
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT, Flag, Kind, Matches};
use crate::output;

pub(super) const INSPECT: Command = Command {
    group: "network",
    name: "inspect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[
        FORMAT.short('f'),
        Flag::switch("verbose", "Verbose output for diagnostics").short('v'),
    ]],
    run: |app, matches| Box::pin(super::inspect::networks(app, matches)),
};

pub(super) const REMOVE: Command = Command {
    group: "network",
    name: "rm",
    aliases: &["remove"],
    top: "",
    arguments: "NETWORK [NETWORK...]",
    about: "Remove one or more networks",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[Flag::switch("force", "Do not error if the network does not exist").short('f')]],
    run: |app, matches| Box::pin(remove(app, matches)),
};

const INGRESS: &str = "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the \
                       same docker engine version. Otherwise, removal may not be effective and functionality of newly \
                       create ingress networks will be impaired.\nAre you sure you want to continue?";

/// One after the other, since each may ask a question.
async fn remove(app: &App, matches: &Matches) -> Result<u8> {
    let client = app.client()?;
    let mut failed = false;
    for name in &matches.arguments {
        if name.trim().is_empty() {
            output::complain(NO_NAME);
            failed = true;
            continue;
        }
        let is_ingress = client.inspect_network_raw(name, false).await.is_ok_and(|raw| {
            api::json::from_slice::<api::Network>(&raw).is_ok_and(|network| network.ingress)
        });
        if is_ingress && !agrees(INGRESS)? {
            continue;
        }
        match client.remove_network(name).await {
            Ok(()) => output::print(&format!("{name}\n"))?,
            Err(e) if e.is_not_found() && matches.is("force") => {}
            Err(e) => {
                output::complain(&e.to_string());
                failed = true;
            }
        }
    }
    // The line that Docker's client ends with when everything else has been said.
    if failed { Err(Failure::new("exit status 1")) } else { Ok(0) }
}

/// Of an empty name, which would be the list of networks to the daemon.
pub(super) const NO_NAME: &str = "invalid network name or ID: value is empty";

pub(super) const PRUNE: Command = Command {
    group: "network",
    name: "prune",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Remove all unused networks",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        Flag::switch("force", "Do not prompt for confirmation").short('f'),
    ]],
    run: |app, matches| Box::pin(prune(app, matches)),
};

async fn prune(app: &App, matches: &Matches) -> Result<u8> {
    confirm(matches, "This will remove all custom networks not used by at least one container.")?;
    let report = app.client()?.prune_networks(&filters(matches)).await?;
    let deleted = report.networks_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        output::print(&format!("Deleted Networks:\n{}\n\n", deleted.join("\n")))?;
    }
    Ok(0)
}
