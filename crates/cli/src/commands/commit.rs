//! `commit`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches};
use crate::output;
use client::CommitOptions;
use types::ImageRef;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "commit",
    aliases: &[],
    top: "commit",
    arguments: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    arity: Arity::Between(1, 2),
    interspersed: true,
    flags: &[&[
        Flag::text("author", "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")")
            .short('a'),
        Flag::new("change", Kind::LIST, "Apply Dockerfile instruction to the created image")
            .short('c'),
        Flag::text("message", "Commit message").short('m'),
        Flag::switch("pause", "Pause container during commit").short('p').default("true"),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let container = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let mut options = CommitOptions {
        author: matches.text("author"),
        comment: matches.text("message"),
        pause: matches.is_or("pause", true),
        changes: matches.list("change"),
        ..CommitOptions::default()
    };
    if let Some(text) = matches.arguments.get(1).filter(|text| !text.is_empty()) {
        let name: ImageRef =
            text.parse().map_err(|e: types::InvalidReference| Failure::new(e.to_string()))?;
        if name.digest().is_some() {
            return Err(Failure::new("refusing to create a tag with a digest reference"));
        }
        options.repository = name.familiar_name();
        options.tag = name.with_default_tag().tag().unwrap_or_default().to_owned();
    }
    let id = app.client()?.commit_container(container, &options).await?;
    output::print(&format!("{id}\n"))?;
    Ok(0)
}
