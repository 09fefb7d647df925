//! `top`

use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, Matches};
use crate::output;
use crate::table;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "top",
    aliases: &[],
    top: "top",
    arguments: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &[],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    const COLUMN: usize = 20;
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let top =
        app.client()?.top_container(name, matches.arguments.get(1..).unwrap_or_default()).await?;
    let rows = std::iter::once(&top.titles).chain(&top.processes);
    let text: String = rows.map(|row| row.join("\t") + "\n").collect();
    output::print(&table::columns_at_least(&text, COLUMN, 1))?;
    Ok(0)
}
