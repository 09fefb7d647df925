//! `kill`

use super::each::each;
use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, Flag, Matches};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "kill",
    aliases: &[],
    top: "kill",
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FLAGS],
    run: |app, matches| Box::pin(run(app, matches)),
};

const FLAGS: &[Flag] = &[Flag::text("signal", "Signal to send to the container").short('s')];

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let signal = matches.text("signal");
    each(&app.client()?, &matches.arguments, async |client, name| {
        client.kill_container(name, &signal).await
    })
    .await
}
