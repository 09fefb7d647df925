//! `create`, and what `run` does up to the same point.

use super::pull;
use crate::app::App;
use crate::exit::{FAILED, Failure, Result};
use crate::flags::{Arity, Command, Matches};
use crate::output;
use crate::run::flags::COMMON;
use crate::run::{Pull, RunArgs, create_body, refuse_windows};
use crate::terminal;
use api::ContainerCreateBody;
use client::Client;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use types::{ImageRef, Platform};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "create",
    aliases: &[],
    top: "create",
    arguments: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &[COMMON],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let advise =
        |failure: Failure| failure.with_code(FAILED).with_help(&app.program, &matches.path);
    refuse_windows(matches)?;
    let (args, body) = read(app, matches).map_err(advise)?;
    let client = app.client()?;
    // What the daemon refuses is told as it is; only what was typed wrong comes with advice.
    let id = create(app, &client, &args, &body).await?;
    output::print(&format!("{id}\n"))?;
    Ok(0)
}

/// What was typed, and the body that it makes.
pub(super) fn read<'a>(
    app: &App,
    matches: &'a Matches,
) -> Result<(RunArgs<'a>, ContainerCreateBody)> {
    let mut args = RunArgs::read(matches, &app.env, Path::new("."))?;
    args.directory = std::env::current_dir()?;
    let (rows, columns) = terminal::size();
    args.console = [rows.into(), columns.into()];
    let platform = app.platform(matches);
    if !platform.is_empty()
        && let Err(e) = platform.parse::<Platform>()
    {
        return Err(Failure::new(format!("error parsing specified platform: {e}")));
    }
    app.config().add_proxies(&app.client()?.host().to_string(), &mut args.env);
    let body = create_body(&args).map_err(Failure::new)?;
    Ok((args, body))
}

/// Creates the container, pulling its image where that is wanted, and says its id.
pub(super) async fn create(
    app: &App,
    client: &Client,
    args: &RunArgs<'_>,
    body: &ContainerCreateBody,
) -> Result<String> {
    let image = reference(&args.image)?;
    let cidfile = CidFile::open(args.matches.get("cidfile"))?;
    let name = args.matches.text("name");
    let platform = app.platform(args.matches);
    if args.pull == Pull::Always
        && let Some(image) = &image
    {
        pull::quietly_or_not(app, client, image, &platform, args.matches.is("quiet")).await?;
    }
    let created = match client.create_container(&name, &platform, body).await {
        Err(e) if e.is_not_found() && args.pull == Pull::Missing && image.is_some() => {
            let image = image.expect("asked in the line above");
            if !args.matches.is("quiet") {
                output::complain(&format!("Unable to find image '{}' locally", image.familiar()));
            }
            pull::quietly_or_not(app, client, &image, &platform, args.matches.is("quiet")).await?;
            client.create_container(&name, &platform, body).await?
        }
        other => other?,
    };
    for warning in &created.warnings {
        output::complain(&format!("WARNING: {warning}"));
    }
    cidfile.write(&created.id)?;
    Ok(created.id)
}

/// The image's name with its tag; `None` for an image's id, which cannot be pulled.
fn reference(text: &str) -> Result<Option<ImageRef>> {
    match text.parse::<ImageRef>() {
        Ok(image) => Ok(Some(image.with_default_tag())),
        Err(types::InvalidReference::Identifier(_)) => Ok(None),
        Err(_) if text.starts_with("sha256:") => Ok(None),
        Err(e) => Err(Failure::new(e.to_string())),
    }
}

/// `--cidfile`: made before the container, so that two runs cannot share one; taken away again when nothing came of it.
#[derive(Debug)]
struct CidFile {
    path: Option<PathBuf>,
    written: bool,
}

impl CidFile {
    fn open(path: Option<&str>) -> Result<Self> {
        let Some(path) = path.filter(|p| !p.is_empty()) else {
            return Ok(Self { path: None, written: true });
        };
        match std::fs::File::create_new(path) {
            Ok(_) => Ok(Self { path: Some(path.into()), written: false }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))),
            Err(e) => Err(Failure::new(format!("failed to create the container ID file: {e}"))),
        }
    }

    fn write(mut self, id: &str) -> Result<()> {
        if let Some(path) = &self.path {
            let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
            file.write_all(id.as_bytes())?;
        }
        self.written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let (Some(path), false) = (&self.path, self.written) {
            // An empty file would keep the next run from starting; that it is gone already is fine.
            let _gone = std::fs::remove_file(path);
        }
    }
}
