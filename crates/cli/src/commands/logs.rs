//! `logs`

use crate::app::App;
use crate::attach::write_frames;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::stdio::Output;
use client::LogsOptions;
use client::stdcopy::Demux;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "logs",
    aliases: &[],
    top: "logs",
    arguments: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("details", "Show extra details provided to logs"),
        Flag::switch("follow", "Follow log output").short('f'),
        Flag::text(
            "since",
            "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
        Flag::text("tail", "Number of lines to show from the end of the logs")
            .short('n')
            .default("\"all\""),
        Flag::switch("timestamps", "Show timestamps").short('t'),
        Flag::text(
            "until",
            "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let client = app.client()?;
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    // Whether the log is framed depends on the container's terminal, which the answer itself does not tell before 1.42.
    let container = client.inspect_container(name).await?;
    let options = LogsOptions {
        follow: matches.is("follow"),
        timestamps: matches.is("timestamps"),
        details: matches.is("details"),
        since: moment(matches, "since")?,
        until: moment(matches, "until")?,
        tail: matches.get("tail").unwrap_or("all").to_owned(),
    };
    let mut log = client.container_logs(&container.id, &options).await?;
    let (stdout, stderr) = (Output::stdout()?, Output::stderr()?);
    let mut demux = Demux::default();
    while let Some(bytes) = log.bytes().await? {
        if container.config.tty {
            stdout.write_all(&bytes).await?;
        } else {
            write_frames(&mut demux, &bytes, Some(&stdout), Some(&stderr)).await?;
        }
    }
    Ok(0)
}

fn moment(matches: &Matches, flag: &str) -> Result<String> {
    super::events::moment(matches.get(flag).unwrap_or_default())
        .map_err(|why| Failure::new(format!("invalid value for \"{flag}\": {why}")))
}
