//! `rmi`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches};
use crate::output;

pub(super) const COMMAND: Command = Command {
    group: "image",
    name: "rm",
    aliases: &["remove"],
    top: "rmi",
    arguments: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("force", "Force removal of the image").short('f'),
        Flag::switch("no-prune", "Do not delete untagged parents"),
        Flag::new(
            "platform",
            Kind { name: "strings", check: crate::flags::check::anything },
            "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ).hidden(),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if matches.has("platform") {
        return Err(Failure::new("rmi --platform is not there yet (see docs/compat.tsv)"));
    }
    let client = app.client()?;
    let (force, prune) = (matches.is("force"), !matches.is("no-prune"));
    let mut failures = Vec::new();
    let mut fatal = false;
    for name in &matches.arguments {
        match client.remove_image(name, force, prune).await {
            Ok(removed) => {
                let line =
                    |item: &api::ImageDelete| match (item.deleted.as_str(), item.untagged.as_str())
                    {
                        ("", untagged) => format!("Untagged: {untagged}\n"),
                        (deleted, _) => format!("Deleted: {deleted}\n"),
                    };
                output::print(&removed.iter().map(line).collect::<String>())?;
            }
            Err(e) => {
                fatal |= !e.is_not_found();
                failures.push(e.to_string());
            }
        }
    }
    if failures.is_empty() {
        return Ok(0);
    }
    let message = failures.join("\n");
    // With --force, an image that is not there is as good as removed.
    if force && !fatal {
        output::complain(&message);
        return Ok(0);
    }
    Err(Failure::new(message))
}
