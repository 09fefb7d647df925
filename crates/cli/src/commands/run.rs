//! `run`: create → (no such image? pull, create) → attach and wait side by side → start → carry bytes → exit code.

use super::create;
use crate::app::App;
use crate::attach::{self, Ended, OnSignal, Streams, Target};
use crate::exit::{self, FAILED, Failure, Result};
use crate::flags::{Arity, Command, Matches};
use crate::output;
use crate::run::flags::{COMMON, RUN_ONLY};
use crate::run::refuse_windows;
use crate::signals::Signals;
use crate::terminal;
use api::{ContainerCreateBody, WaitResponse};
use client::{AttachOptions, Client, WaitCondition};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "run",
    aliases: &[],
    top: "run",
    arguments: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &[COMMON, RUN_ONLY],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let advise =
        |failure: Failure| failure.with_code(FAILED).with_help(&app.program, &matches.path);
    refuse_windows(matches)?;
    let (args, body) = create::read(app, matches).map_err(advise)?;
    if args.detach && matches.has("attach") {
        return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
    }
    if !args.detach {
        terminal::check(body.config.attach_stdin, body.config.tty)?;
    }
    let client = app.client()?;
    let id = create::create(app, &client, &args, &body).await.map_err(advise)?;
    if !args.detach {
        return attached(app, &client, &id, matches, &body).await;
    }
    // The id is told even of a container that does not start: it is there, and somebody has to remove it.
    let started = start(app, &client, &id, matches).await;
    output::print(&format!("{id}\n"))?;
    started.map(|()| 0)
}

async fn start(app: &App, client: &Client, id: &str, matches: &Matches) -> Result<()> {
    client.start_container(id, "").await.map_err(|e| {
        let message = e.to_string();
        let code = exit::start_code(&message);
        Failure::new(message).with_code(code).with_help(&app.program, &matches.path)
    })
}

/// Attached to at least one stream, or to none (`-a` of nothing) and only waiting.
async fn attached(
    app: &App,
    client: &Client,
    id: &str,
    matches: &Matches,
    body: &ContainerCreateBody,
) -> Result<u8> {
    let config = &body.config;
    let detach_keys = app.detach_keys(matches);
    let options = AttachOptions {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        logs: false,
        detach_keys: detach_keys.clone(),
    };
    let condition = if matches.is("rm") { WaitCondition::Removed } else { WaitCondition::NextExit };
    let advise = |e: client::Error| {
        Failure::from(e).with_code(FAILED).with_help(&app.program, &matches.path)
    };
    // Both must stand before the start, or the first output or the exit of a quick container would be missed.
    let (connection, waiting) =
        tokio::join!(client.attach_container(id, &options), client.begin_wait(id, condition));
    let (connection, waiting) = (connection.map_err(advise)?, waiting.map_err(advise)?);
    let streams =
        Streams::open(config.tty, options.stdin, options.stdout, options.stderr, &detach_keys)?;
    let raw = if config.tty && config.attach_stdin { terminal::raw() } else { None };
    let on_signal = match (matches.is_or("sig-proxy", true), raw.is_some()) {
        (true, _) => OnSignal::PassOn(Signals::passed_on()?),
        (false, true) => OnSignal::End(Signals::ending()?),
        (false, false) => OnSignal::Nothing,
    };
    start(app, client, id, matches).await?;
    let target = Target::Container(id);
    let told = if config.tty { Some(attach::resize(client, target).await) } else { None };
    let story = async {
        if attach::pump(connection, streams).await? == Ended::Detached {
            return Ok(None);
        }
        Ok::<_, Failure>(Some(waiting.finish().await.map_err(advise)?))
    };
    let outcome = tokio::select! {
        outcome = story => outcome,
        code = attach::accompany(client, target, on_signal, config.tty, told) => return Ok(code),
    };
    // The terminal first: what is printed now is for a cooked one.
    drop(raw);
    match outcome? {
        None => Ok(0),
        Some(answer) => exit_code(&answer),
    }
}

/// The container's exit code as ours.
pub(super) fn exit_code(answer: &WaitResponse) -> Result<u8> {
    match &answer.error {
        Some(error) if !error.message.is_empty() => {
            output::complain(&format!("Error waiting for container: {}", error.message));
            Ok(FAILED)
        }
        _ => Ok(exit::of_container(answer.status_code)),
    }
}
