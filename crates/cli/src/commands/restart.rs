//! `restart`

use super::each::each;
use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, Flag, Kind, Matches};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "restart",
    aliases: &[],
    top: "restart",
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FLAGS],
    run: |app, matches| Box::pin(run(app, matches)),
};

const FLAGS: &[Flag] = &[
    Flag::text("signal", "Signal to send to the container").short('s'),
    Flag::new("timeout", Kind::INT, "Seconds to wait before killing the container").short('t'),
    Flag::new("time", Kind::INT, "").alias_of("timeout").deprecated(),
];

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let (signal, timeout) = (matches.text("signal"), matches.int("timeout"));
    each(&app.client()?, &matches.arguments, async |client, name| {
        client.restart_container(name, &signal, timeout).await
    })
    .await
}
