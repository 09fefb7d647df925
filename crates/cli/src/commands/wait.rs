//! `wait`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches};
use crate::output;
use client::WaitCondition;
use futures_util::future::join_all;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "wait",
    aliases: &[],
    top: "wait",
    arguments: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let client = app.client()?;
    // All waits begin at once, so that a container removed while another is waited for is not missed.
    let waits = join_all(
        matches.arguments.iter().map(|n| client.wait_container(n, WaitCondition::NotRunning)),
    )
    .await;
    let mut failures = Vec::new();
    for outcome in waits {
        match outcome {
            Ok(answer) => match answer.error {
                Some(error) => failures.push(error.message),
                None => output::print(&format!("{}\n", answer.status_code))?,
            },
            Err(e) => failures.push(e.to_string()),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}
