//! `attach`

use super::run::exit_code;
use crate::app::App;
use crate::attach::{self, Ended, OnSignal, Streams, Target};
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::signals::Signals;
use crate::terminal;
use client::{AttachOptions, WaitCondition};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "attach",
    aliases: &[],
    top: "attach",
    arguments: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::switch("no-stdin", "Do not attach STDIN"),
        Flag::switch("sig-proxy", "Proxy all received signals to the process").default("true"),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let client = app.client()?;
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let container = client.inspect_container(name).await?;
    let state = &container.state;
    let refusal = match () {
        () if !state.running => Some("You cannot attach to a stopped container, start it first"),
        () if state.paused => Some("You cannot attach to a paused container, unpause it first"),
        () if state.restarting => {
            Some("You cannot attach to a restarting container, wait until it is running")
        }
        () => None,
    };
    if let Some(refusal) = refusal {
        return Err(Failure::new(refusal));
    }
    let config = &container.config;
    let wants_stdin = !matches.is("no-stdin") && config.open_stdin;
    terminal::check(wants_stdin, config.tty)?;
    let detach_keys = app.detach_keys(matches);
    let options = AttachOptions {
        stdin: wants_stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: detach_keys.clone(),
    };
    let id = container.id.as_str();
    let (connection, waiting) = tokio::join!(
        client.attach_container(id, &options),
        client.begin_wait(id, WaitCondition::NotRunning)
    );
    let (connection, waiting) = (connection?, waiting?);
    let streams = Streams::open(config.tty, wants_stdin, true, true, &detach_keys)?;
    let raw = if config.tty && wants_stdin { terminal::raw() } else { None };
    let on_signal = match (matches.is_or("sig-proxy", true) && !config.tty, raw.is_some()) {
        (true, _) => OnSignal::PassOn(Signals::passed_on()?),
        (false, true) => OnSignal::End(Signals::ending()?),
        (false, false) => OnSignal::Nothing,
    };
    let target = Target::Container(id);
    if config.tty {
        // A program draws itself anew when its terminal changes, so it is made to change even if it would not.
        let (rows, columns) = terminal::size();
        let _size_only =
            client.resize_container(id, rows.saturating_add(1), columns.saturating_add(1)).await;
        attach::resize(&client, target).await;
    }
    let story = async {
        if attach::pump(connection, streams).await? == Ended::Detached {
            return Err(Failure::new("read escape sequence"));
        }
        Ok::<_, Failure>(waiting.finish().await?)
    };
    let outcome = tokio::select! {
        outcome = story => outcome,
        code = attach::accompany(&client, target, on_signal, config.tty, None) => return Ok(code),
    };
    drop(raw);
    exit_code(&outcome?)
}
