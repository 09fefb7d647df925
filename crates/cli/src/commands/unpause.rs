//! `unpause`

use super::each::each;
use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, Flag, Matches};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "unpause",
    aliases: &[],
    top: "unpause",
    arguments: "CONTAINER [CONTAINER...]",
    about: "Unpause all processes within one or more containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FLAGS],
    run: |app, matches| Box::pin(run(app, matches)),
};

const FLAGS: &[Flag] = &[];

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    each(&app.client()?, &matches.arguments, async |client, name| {
        client.unpause_container(name).await
    })
    .await
}
