//! `diff`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches};
use crate::output;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "diff",
    aliases: &[],
    top: "diff",
    arguments: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::new("Container name cannot be empty"));
    }
    let mut text = String::new();
    for change in app.client()?.container_changes(name).await? {
        let kind = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        text.push_str(&format!("{kind} {}\n", change.path));
    }
    output::print(&text)?;
    Ok(0)
}
