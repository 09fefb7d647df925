//! `container prune`, `image prune`, `system prune`

use super::events::filters;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches};
use crate::output;
use client::{Client, Filters};
use std::io::BufRead as _;
use types::ByteSize;

pub(super) const CONTAINERS: Command = Command {
    group: "container",
    name: "prune",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Remove all stopped containers",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        FORCE,
    ]],
    run: |app, matches| Box::pin(containers(app, matches)),
};

pub(super) const IMAGES: Command = Command {
    group: "image",
    name: "prune",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Remove unused images",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::switch("all", "Remove all unused images, not just dangling ones").short('a'),
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"until=<timestamp>\")"),
        FORCE,
    ]],
    run: |app, matches| Box::pin(images(app, matches)),
};

pub(super) const SYSTEM: Command = Command {
    group: "system",
    name: "prune",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Remove unused data",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::switch("all", "Remove all unused images not just dangling ones").short('a'),
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"label=<key>=<value>\")"),
        FORCE,
        Flag::switch("volumes", "Prune anonymous volumes"),
    ]],
    run: |app, matches| Box::pin(system(app, matches)),
};

const FORCE: Flag = Flag::switch("force", "Do not prompt for confirmation").short('f');

/// What a prune says, and how much it freed.
type Pruned = (String, u64);

async fn containers(app: &App, matches: &Matches) -> Result<u8> {
    confirm(matches, "This will remove all stopped containers.")?;
    say(prune_containers(&app.client()?, &filters(matches)).await?)
}

async fn images(app: &App, matches: &Matches) -> Result<u8> {
    let all = matches.is("all");
    let what = if all {
        "This will remove all images without at least one container associated to them."
    } else {
        "This will remove all dangling images."
    };
    confirm(matches, what)?;
    say(prune_images(&app.client()?, all, filters(matches)).await?)
}

async fn system(app: &App, matches: &Matches) -> Result<u8> {
    let (all, volumes) = (matches.is("all"), matches.is("volumes"));
    let filters = filters(matches);
    if volumes && filters.get("until").is_some() {
        return Err(Failure::new(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    confirm(matches, &warning(all, volumes, &matches.list("filter")))?;
    let client = app.client()?;
    let mut text = String::new();
    let mut bytes = 0;
    let mut add = |(more, freed): Pruned| {
        text.push_str(&more);
        bytes += freed;
    };
    add(prune_containers(&client, &filters).await?);
    add(prune_others(&client, "networks", "Networks", &filters).await?);
    if volumes {
        add(prune_others(&client, "volumes", "Volumes", &filters).await?);
    }
    add(prune_images(&client, all, filters.clone()).await?);
    add(prune_others(&client, "build", "build cache objects", &filters).await?);
    say((text, bytes))
}

fn warning(all: bool, volumes: bool, conditions: &[String]) -> String {
    let mut text = String::from(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
    );
    if volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(if all {
        "  - all images without at least one container associated to them\n  - all build cache\n"
    } else {
        "  - all dangling images\n  - unused build cache\n"
    });
    if !conditions.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        conditions.iter().for_each(|c| text.push_str(&format!("  - {c}\n")));
    }
    text
}

async fn prune_containers(client: &Client, filters: &Filters) -> Result<Pruned> {
    let report = client.prune_containers(filters).await?;
    let deleted = report.containers_deleted.unwrap_or_default();
    Ok((listed("Containers", &deleted), report.space_reclaimed))
}

async fn prune_images(client: &Client, all: bool, mut filters: Filters) -> Result<Pruned> {
    filters.add("dangling", if all { "false" } else { "true" });
    let report = client.prune_images(&filters).await?;
    let line = |item: api::ImageDelete| match (item.deleted.as_str(), item.untagged.as_str()) {
        ("", untagged) => format!("untagged: {untagged}"),
        (deleted, _) => format!("deleted: {deleted}"),
    };
    let lines: Vec<String> =
        report.images_deleted.unwrap_or_default().into_iter().map(line).collect();
    Ok((listed("Images", &lines), report.space_reclaimed))
}

/// Networks, volumes or what builds left; a daemon that cannot prune them has none that nobody uses.
async fn prune_others(
    client: &Client,
    kind: &str,
    title: &str,
    filters: &Filters,
) -> Result<Pruned> {
    match client.prune_named(kind, filters).await {
        Ok((names, bytes)) => Ok((listed(title, &names), bytes)),
        Err(e) if e.status() == Some(501) => Ok((String::new(), 0)),
        Err(e) => Err(e.into()),
    }
}

fn listed(title: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("Deleted {title}:\n{}\n\n", names.join("\n"))
}

fn say((text, bytes): Pruned) -> Result<u8> {
    output::print(&format!("{text}Total reclaimed space: {}\n", ByteSize(bytes).decimal(4)))?;
    Ok(0)
}

/// Asks, unless `--force` answers.
pub(super) fn confirm(matches: &Matches, warning: &str) -> Result<()> {
    if matches.is("force") {
        return Ok(());
    }
    // Whoever says no has not failed.
    let question = format!("WARNING! {warning}\nAre you sure you want to continue?");
    if agrees(&question)? { Ok(()) } else { Err(Failure::silent(0)) }
}

/// Asks a question that only `y` answers with yes.
pub(super) fn agrees(question: &str) -> Result<bool> {
    output::print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_be_removed_is_said_as_docker_says_it() {
        assert_eq!(
            warning(true, true, &["label=x".to_owned()]),
            "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  - all images without at least one container \
             associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=x\n"
        );
    }
}
