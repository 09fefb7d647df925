//! `exec`

use crate::app::App;
use crate::attach::{self, Ended, OnSignal, Streams, Target};
use crate::exit::{self, Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches, check};
use crate::run::environment;
use crate::signals::Signals;
use crate::terminal;
use api::host::ConsoleSize;
use api::{ExecCreateBody, ExecStartBody};
use std::path::Path;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "exec",
    aliases: &[],
    top: "exec",
    arguments: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    arity: Arity::AtLeast(2),
    interspersed: false,
    flags: &[&[
        Flag::switch("detach", "Detached mode: run command in the background").short('d'),
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::new("env", Kind::list(check::env), "Set environment variables").short('e'),
        Flag::new("env-file", Kind::LIST, "Read in a file of environment variables"),
        Flag::switch("interactive", "Keep STDIN open even if not attached").short('i'),
        Flag::switch("privileged", "Give extended privileges to the command"),
        Flag::switch("tty", "Allocate a pseudo-TTY").short('t'),
        Flag::text("user", "Username or UID (format: \"<name|uid>[:<group|gid>]\")").short('u'),
        Flag::text("workdir", "Working directory inside the container").short('w'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let Some((container, command)) = matches.arguments.split_first() else {
        return Err(Failure::new("a container is required"));
    };
    let (tty, detach) = (matches.is("tty"), matches.is("detach"));
    let attach_stdin = matches.is("interactive") && !detach;
    if !detach {
        terminal::check(attach_stdin, tty)?;
    }
    let (rows, columns) = terminal::size();
    let console_size = (tty && rows > 0).then_some(ConsoleSize([rows.into(), columns.into()]));
    let detach_keys = app.detach_keys(matches);
    let body = ExecCreateBody {
        user: matches.text("user"),
        privileged: matches.is("privileged"),
        tty,
        console_size,
        attach_stdin,
        attach_stderr: !detach,
        attach_stdout: !detach,
        detach_keys: detach_keys.clone(),
        env: Some(environment(matches, &app.env, Path::new("."))?).filter(|env| !env.is_empty()),
        working_dir: matches.text("workdir"),
        cmd: Some(command.to_vec()),
    };
    let client = app.client()?;
    let id = client.create_exec(container, &body).await?.id;
    if id.is_empty() {
        return Err(Failure::new("exec ID empty"));
    }
    let start = ExecStartBody { detach, tty, console_size: console_size.filter(|_| !detach) };
    if detach {
        client.start_exec(&id, &start).await?;
        return Ok(0);
    }
    let connection = client.attach_exec(&id, &start).await.map_err(|e| {
        let message = e.to_string();
        let code = exit::start_code(&message);
        Failure::new(message).with_code(code)
    })?;
    let streams = Streams::open(tty, attach_stdin, true, true, &detach_keys)?;
    let raw = if tty && attach_stdin { terminal::raw() } else { None };
    let on_signal =
        if raw.is_some() { OnSignal::End(Signals::ending()?) } else { OnSignal::Nothing };
    let target = Target::Exec(&id);
    if tty {
        attach::resize(&client, target).await;
    }
    let ended = tokio::select! {
        ended = attach::pump(connection, streams) => ended,
        code = attach::accompany(&client, target, on_signal, tty, None) => return Ok(code),
    };
    drop(raw);
    if ended? == Ended::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    let answer = client.inspect_exec(&id).await?;
    Ok(exit::of_container(answer.exit_code.unwrap_or(0)))
}
