//! `pull`, and the pull that `run` and `create` do.

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::output;
use crate::progress::{self, Screen};
use crate::terminal;
use client::{Client, PullOptions};
use types::ImageRef;

pub(super) const COMMAND: Command = Command {
    group: "image",
    name: "pull",
    aliases: &[],
    top: "pull",
    arguments: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("all-tags", "Download all tagged images in the repository").short('a'),
        Flag::switch("disable-content-trust", "Skip image verification").default("true"),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
        Flag::switch("quiet", "Suppress verbose output").short('q'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let typed = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let image: ImageRef =
        typed.parse().map_err(|e: types::InvalidReference| Failure::new(e.to_string()))?;
    if matches.is("all-tags") {
        if !image.is_name_only() {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        return Err(Failure::new("pull --all-tags is not there yet (see docs/compat.tsv)"));
    }
    let quiet = matches.is("quiet");
    if image.is_name_only() && !quiet {
        output::print("Using default tag: latest\n")?;
    }
    let image = image.with_default_tag();
    let platform = app.platform(matches);
    let client = app.client()?;
    let mut stream = client.pull_image(&options(app, &image, &platform)).await?;
    if quiet {
        progress::hide(&mut stream).await?;
    } else {
        let screen =
            Screen { terminal: terminal::stdout_is_terminal(), width: terminal::size().1.into() };
        progress::show(&mut stream, &mut std::io::stdout(), screen).await?;
    }
    output::print(&format!("{image}\n"))?;
    Ok(0)
}

/// Pulls with the progress on stderr, where it does not mix with a container's output.
pub(super) async fn quietly_or_not(
    app: &App,
    client: &Client,
    image: &ImageRef,
    platform: &str,
    quiet: bool,
) -> Result<()> {
    let mut stream = client.pull_image(&options(app, image, platform)).await?;
    if quiet {
        return progress::hide(&mut stream).await;
    }
    let size = sys::tty::size(std::io::stderr()).ok();
    let screen = Screen { terminal: size.is_some(), width: size.map_or(0, |s| s.columns.into()) };
    progress::show(&mut stream, &mut std::io::stderr(), screen).await
}

fn options(app: &App, image: &ImageRef, platform: &str) -> PullOptions {
    let registry = image.domain();
    let auth = crate::credentials::header(app.config(), registry);
    let tag = match image.digest() {
        Some(digest) => digest.to_string(),
        None => image.tag().unwrap_or_default().to_owned(),
    };
    PullOptions { name: image.name(), tag, platform: platform.to_owned(), auth }
}
