//! `tag`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Matches};
use types::ImageRef;

pub(super) const COMMAND: Command = Command {
    group: "image",
    name: "tag",
    aliases: &[],
    top: "tag",
    arguments: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let [source, target] = matches.arguments.as_slice() else {
        return Err(Failure::new("tag takes two names"));
    };
    let wrong = |e: types::InvalidReference| {
        Failure::new(format!(
            "Error parsing reference: {target:?} is not a valid repository/tag: {e}"
        ))
    };
    let target: ImageRef = target.parse().map_err(wrong)?;
    if target.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let target = target.with_default_tag();
    let tag = target.tag().unwrap_or_default();
    app.client()?.tag_image(source, &target.name(), tag).await?;
    Ok(0)
}
