//! `pause`

use super::each::each;
use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, Flag, Matches};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "pause",
    aliases: &[],
    top: "pause",
    arguments: "CONTAINER [CONTAINER...]",
    about: "Pause all processes within one or more containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FLAGS],
    run: |app, matches| Box::pin(run(app, matches)),
};

const FLAGS: &[Flag] = &[];

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    each(&app.client()?, &matches.arguments, async |client, name| {
        client.pause_container(name).await
    })
    .await
}
