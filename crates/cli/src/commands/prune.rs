//! `container prune`

use super::events::filters;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches};
use crate::output;
use std::io::BufRead as _;
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "prune",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Remove all stopped containers",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        Flag::switch("force", "Do not prompt for confirmation").short('f'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if !matches.is("force") && !confirmed("WARNING! This will remove all stopped containers.")? {
        return Err(Failure::new("container prune has been cancelled"));
    }
    let report = app.client()?.prune_containers(&filters(matches)).await?;
    let deleted = report.containers_deleted.unwrap_or_default();
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str(&format!("Deleted Containers:\n{}\n\n", deleted.join("\n")));
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        ByteSize(report.space_reclaimed).decimal(4)
    ));
    output::print(&text)?;
    Ok(0)
}

/// Asks whether to go on.
pub(super) fn confirmed(warning: &str) -> Result<bool> {
    output::print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}
