//! `rm`

use super::each::each;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::output;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "rm",
    aliases: &["remove"],
    top: "rm",
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("force", "Force the removal of a running container (uses SIGKILL)").short('f'),
        Flag::switch("link", "Remove the specified link").short('l'),
        Flag::switch("volumes", "Remove anonymous volumes associated with the container")
            .short('v'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let (volumes, force, link) = (matches.is("volumes"), matches.is("force"), matches.is("link"));
    let names: Vec<String> =
        matches.arguments.iter().map(|n| n.trim_matches('/').to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(Failure::new("container name cannot be empty"));
    }
    if !force {
        let ask = async |client: &client::Client, name: &str| {
            client.remove_container(name, volumes, force, link).await
        };
        return each(&app.client()?, &names, ask).await;
    }
    // With --force, what is not there is as good as removed: said, but no failure.
    let client = app.client()?;
    let removals = names.iter().map(|name| client.remove_container(name, volumes, force, link));
    let mut failures = Vec::new();
    for (name, outcome) in names.iter().zip(futures_util::future::join_all(removals).await) {
        match outcome {
            Ok(()) => output::print(&format!("{name}\n"))?,
            Err(e) if e.is_not_found() => output::complain(&e.to_string()),
            Err(e) => failures.push(e.to_string()),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}
