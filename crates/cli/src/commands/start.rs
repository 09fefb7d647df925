//! `start`

use super::run::exit_code;
use crate::app::App;
use crate::attach::{self, Ended, OnSignal, Streams, Target};
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::output;
use crate::signals::Signals;
use crate::terminal;
use client::{AttachOptions, Client, WaitCondition};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "start",
    aliases: &[],
    top: "start",
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("attach", "Attach STDOUT/STDERR and forward signals").short('a'),
        Flag::text("checkpoint", "Restore from this checkpoint").hidden(),
        Flag::text("checkpoint-dir", "Use a custom checkpoint storage directory").hidden(),
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::switch("interactive", "Attach container's STDIN").short('i'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if matches.has("checkpoint") || matches.has("checkpoint-dir") {
        return Err(Failure::new("--checkpoint is not there yet (see docs/compat.tsv)"));
    }
    let client = app.client()?;
    if matches.is("attach") || matches.is("interactive") {
        let [name] = matches.arguments.as_slice() else {
            return Err(Failure::new("you cannot start and attach multiple containers at once"));
        };
        return attached(app, &client, name, matches).await;
    }
    let mut failed = Vec::new();
    for name in &matches.arguments {
        match client.start_container(name, "").await {
            Ok(()) => output::print(&format!("{name}\n"))?,
            Err(e) => {
                output::complain(&e.to_string());
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(format!("Error: failed to start containers: {}", failed.join(", "))))
}

async fn attached(app: &App, client: &Client, name: &str, matches: &Matches) -> Result<u8> {
    let container = client.inspect_container(name).await?;
    let config = &container.config;
    let wants_stdin = matches.is("interactive") && config.open_stdin;
    let detach_keys = app.detach_keys(matches);
    let options = AttachOptions {
        stdin: wants_stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: detach_keys.clone(),
    };
    let id = container.id.as_str();
    let removes = container.host_config.auto_remove;
    let condition = if removes { WaitCondition::Removed } else { WaitCondition::NextExit };
    let (connection, waiting) =
        tokio::join!(client.attach_container(id, &options), client.begin_wait(id, condition));
    let (connection, waiting) = (connection?, waiting?);
    let streams = Streams::open(config.tty, options.stdin, true, true, &detach_keys)?;
    let raw = if config.tty && wants_stdin { terminal::raw() } else { None };
    let on_signal = match (config.tty, raw.is_some()) {
        (false, _) => OnSignal::PassOn(Signals::passed_on()?),
        (true, true) => OnSignal::End(Signals::ending()?),
        (true, false) => OnSignal::Nothing,
    };
    client.start_container(id, "").await?;
    let target = Target::Container(id);
    if config.tty {
        attach::resize(client, target).await;
    }
    let story = async {
        if attach::pump(connection, streams).await? == Ended::Detached {
            return Ok(None);
        }
        Ok::<_, Failure>(Some(waiting.finish().await?))
    };
    let outcome = tokio::select! {
        outcome = story => outcome,
        code = attach::accompany(client, target, on_signal, config.tty, None) => return Ok(code),
    };
    drop(raw);
    match outcome? {
        None => Ok(0),
        Some(answer) => exit_code(&answer),
    }
}
