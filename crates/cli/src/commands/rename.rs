//! `rename`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "rename",
    aliases: &[],
    top: "rename",
    arguments: "CONTAINER NEW_NAME",
    about: "Rename a container",
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let [old, new] = matches.arguments.as_slice() else {
        return Err(Failure::new("rename takes two names"));
    };
    let (old, new) = (old.trim(), new.trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    app.client()?.rename_container(old, new).await.map_err(|e| match e {
        e if e.is_connect() => e.into(),
        e => Failure::new(format!("{e}\nError: failed to rename container named {old}")),
    })?;
    Ok(0)
}
