//! `rmi`: names first, then the image, then layers that nothing needs.
//!
//! The rules and texts are Docker's: a name can always go while others remain; the last one takes the image with it; what
//! containers use is protected, softly when they are stopped (`-f` overrides) and hard when they run.

use crate::Images;
use crate::index::{self, Index};
use crate::model::Image;
use std::collections::HashSet;
use stdx::{Error, Result};
use store::records::image::{ImageRecord, NameRecord};
use types::{ContainerId, Digest, ImageRef};

/// That a container was made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The container.
    pub container: ContainerId,
    /// Its image's id.
    pub image: Digest,
    /// Whether it runs (or is paused, or is restarting).
    pub running: bool,
}

/// What `rmi` did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name, in its familiar form, and the image that had it.
    Untagged {
        /// The name.
        reference: String,
        /// The image.
        image: Digest,
    },
    /// An image.
    Image(Digest),
    /// A layer, by chain id.
    Layer(Digest),
}

/// What a removal comes to.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Names that go.
    untag: Vec<ImageRef>,
    /// Whether the image goes too.
    delete: bool,
}

/// What keeps an image from being deleted.
struct Conflict {
    why: String,
    /// `-f` does not help.
    hard: bool,
}

impl Images {
    /// Removes what `text` means: a name, or an image with all its names.
    ///
    /// `uses` are all containers. With `force`, stopped containers and several names are no obstacle.
    pub fn remove(&self, text: &str, force: bool, uses: &[Usage]) -> Result<Vec<Removed>> {
        let _changing = self.change();
        let image = self.resolve(text)?;
        let names = self.read_index(|index| index.names_of(&image.id));
        let plan = plan(text, &image, &names, force, uses)?;
        let keys: Vec<String> = plan.untag.iter().map(index::key).collect();
        stdx::fail_point!("image.remove.before-record");
        self.store.write_freeing(|batch| {
            keys.iter().try_for_each(|key| batch.remove::<NameRecord>(key))?;
            if plan.delete { batch.remove::<ImageRecord>(image.id.as_str()) } else { Ok(()) }
        })?;
        stdx::fail_point!("image.remove.after-record");
        self.write_index(|index| {
            keys.iter().for_each(|key| index.remove_name(key));
            if plan.delete {
                index.remove(&image.id);
            }
        });
        let untagged = |name: &ImageRef| Removed::Untagged {
            reference: name.familiar(),
            image: image.id.clone(),
        };
        let mut removed: Vec<Removed> = plan.untag.iter().map(untagged).collect();
        if plan.delete {
            removed.push(Removed::Image(image.id.clone()));
            removed.extend(self.remove_unneeded(&image).into_iter().map(Removed::Layer));
        }
        Ok(removed)
    }

    /// The image is gone: removes its documents and layers as far as nothing else needs them. What does not succeed is
    /// left for [`collect`](Self::collect).
    fn remove_unneeded(&self, image: &Image) -> Vec<Digest> {
        let (chains, blobs) = self.read_index(|index: &Index| (index.chains(), index.blobs()));
        let documents = [Some(&image.id), image.manifest.as_ref().map(|m| &m.digest)];
        for digest in documents.into_iter().flatten().filter(|d| !blobs.contains(*d)) {
            if let Err(error) = self.content.remove(digest) {
                tracing::warn!(%digest, %error, "blob stays until the next collection");
            }
        }
        let from_the_top = image.layers.iter().rev().map(|l| l.chain_id.clone());
        let unneeded: Vec<Digest> = from_the_top.filter(|c| !chains.contains(c)).collect();
        self.layers.remove(&unneeded)
    }
}

/// Decides, by Docker's rules, what the removal of `text` comes to. `names` are all names of the image.
fn plan(
    text: &str,
    image: &Image,
    names: &[ImageRef],
    force: bool,
    uses: &[Usage],
) -> Result<Plan> {
    let by_id = image.id.as_str().starts_with(text) || image.id.hex().starts_with(text);
    if by_id {
        let named = || {
            let why = "image is referenced in multiple repositories".to_owned();
            (!is_single(names)).then_some(Conflict { why, hard: false })
        };
        let soft = || if force { None } else { named().or_else(|| stopped(image, uses)) };
        if let Some(conflict) = running(image, uses).or_else(soft) {
            return Err(conflict.into_error(image));
        }
        return Ok(Plan { untag: names.to_vec(), delete: true });
    }
    if !force
        && is_single(names)
        && let Some(user) = uses.iter().find(|u| u.image == image.id)
    {
        return Err(Error::conflict(format!(
            "conflict: unable to remove repository reference {text:?} (must force) - container {} is using its referenced image {}",
            user.container.short(),
            image.id.short()
        )));
    }
    let asked: ImageRef = index::key(&text.parse()?).parse()?;
    let mut rest: Vec<ImageRef> = names.iter().filter(|n| **n != asked).cloned().collect();
    let same = |other: &ImageRef| other.name() == asked.name();
    let mut untag = vec![asked.clone()];
    if asked.digest().is_none() && !rest.iter().any(|r| same(r) && r.digest().is_none()) {
        // The digests that came with the last tag of a repository go with it.
        let (gone, kept) = rest.into_iter().partition::<Vec<_>, _>(same);
        untag.extend(gone);
        rest = kept;
    }
    // The name that was asked for can go also when a container needs the image; then that is all.
    let kept = !rest.is_empty()
        || running(image, uses).is_some()
        || (!force && stopped(image, uses).is_some());
    Ok(Plan { untag, delete: !kept })
}

impl Conflict {
    fn into_error(self, image: &Image) -> Error {
        let how = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::conflict(format!(
            "conflict: unable to delete {} ({how}) - {}",
            image.id.short(),
            self.why
        ))
    }
}

fn running(image: &Image, uses: &[Usage]) -> Option<Conflict> {
    let user = uses.iter().find(|u| u.running && u.image == image.id)?;
    let why = format!("image is being used by running container {}", user.container.short());
    Some(Conflict { why, hard: true })
}

fn stopped(image: &Image, uses: &[Usage]) -> Option<Conflict> {
    let user = uses.iter().find(|u| !u.running && u.image == image.id)?;
    let why = format!("image is being used by stopped container {}", user.container.short());
    Some(Conflict { why, hard: false })
}

/// Whether the names are one: at most one, or one tag and the digest that it was pulled by.
fn is_single(names: &[ImageRef]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let (digests, tags): (Vec<_>, Vec<_>) = names.iter().partition(|n| n.digest().is_some());
    if tags.len() > 1 {
        return false;
    }
    let repositories: HashSet<String> = digests.iter().map(|d| d.name()).collect();
    let name = tags.first().unwrap_or(&digests[0]).name();
    repositories.len() == 1 && repositories.contains(&name)
}
