//! `commit`: an image of what a container has written.
//!
//! ```text
//!   container's directory ─▶ jailed thread packs ─▶ pieces ─▶ jailed thread unpacks ─▶ snapshot of the new layer
//!                                                       └───▶ sha256 = diff id ─▶ configuration ─▶ record, name
//! ```

use super::changes::{is_engines, upper_of};
use super::{instructions, stream};
use crate::Engine;
use crate::containers::create::merge_image;
use crate::metrics::Action;
use image::Commit;
use layer::Pack;
use oci::image::{Empty, History, RunConfig};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use stdx::fs::{Durability, replace};
use stdx::time::Timestamp;
use stdx::{Error, Result, fail_point};
use store::records::container::{Config, ContainerRecord};
use sys::jail::{self, Access};
use types::ImageRef;

/// What to commit, and as what.
#[derive(Debug, Clone, Default)]
pub struct CommitContainer {
    /// The container, by name or id.
    pub container: String,
    /// The new image's repository; empty: it gets no name.
    pub repository: String,
    /// The tag; empty: `latest`.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Freeze the container meanwhile if it runs.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// Instead of the container's own configuration.
    pub config: Option<Config>,
}

/// Says that a container is frozen for a commit, so that a daemon that was killed meanwhile thaws it.
const MARK: &str = "commit";

impl Engine {
    /// Makes an image of a container; its id.
    pub async fn commit_container(&self, commit: CommitContainer) -> Result<String> {
        let began = Instant::now();
        let container = self.inner.containers.find(&commit.container)?;
        container.recovered().await;
        let name = name_of(&commit.repository, &commit.tag)?;
        let freezes = commit.pause && matches!(container.now().phase, container::Phase::Running(_));
        if freezes {
            self.mark(&container.now().record.id, true)?;
            fail_point!("container.commit.before-pause");
            if let Err(error) = container.pause().await {
                self.mark(&container.now().record.id, false)?;
                return Err(error);
            }
            fail_point!("container.commit.paused");
        }
        let record = container.now().record;
        let engine = self.clone();
        let (committing, name_given) = (Arc::clone(&record), name.clone());
        let committing = tokio::task::spawn_blocking(move || {
            engine.commit_blocking(&committing, &commit, name_given)
        });
        let result = match committing.await {
            Ok(done) => done,
            Err(e) => Err(Error::internal(e.to_string())),
        };
        if freezes {
            // It may have ended, or have been thawed by its user.
            let _thawed = container.unpause().await;
            self.mark(&record.id, false)?;
        }
        let (id, comment) = result?;
        let reference = name.map(|name| name.familiar()).unwrap_or_default();
        if !reference.is_empty() {
            self.image_event("tag", &id, &reference);
        }
        let attributes = [("comment", comment), ("imageID", id.clone()), ("imageRef", reference)];
        crate::world::tell(&self.inner.events, &container, "commit", &attributes);
        self.inner.metrics.done(Action::Commit, began);
        Ok(id)
    }

    /// Thaws what an earlier daemon froze for a commit that it did not live to end.
    pub(crate) async fn thaw_after_commit(&self) {
        for container in self.inner.containers.all() {
            let id = container.now().record.id.clone();
            if !self.mark_of(&id).exists() {
                continue;
            }
            container.recovered().await;
            if let Err(error) = container.unpause().await {
                tracing::debug!(container = %id, %error, "nothing to thaw after a commit");
            }
            if let Err(error) = self.mark(&id, false) {
                tracing::warn!(container = %id, %error, "the mark of a commit stays");
            }
        }
    }

    fn mark_of(&self, id: &str) -> PathBuf {
        self.inner.services.paths.exec_of(id).join(MARK)
    }

    fn mark(&self, id: &str, is_frozen: bool) -> Result<()> {
        match is_frozen {
            true => replace(&self.mark_of(id), b"", 0o600, Durability::Process),
            false => stdx::fs::remove_file(&self.mark_of(id)),
        }
    }

    fn commit_blocking(
        &self,
        record: &ContainerRecord,
        commit: &CommitContainer,
        name: Option<ImageRef>,
    ) -> Result<(String, String)> {
        let mut config = commit.config.clone().unwrap_or_else(|| record.config.clone());
        instructions::apply(&mut config, &commit.changes)?;
        merge_image(&mut config, &record.config);
        let base = self.inner.images.resolve(&record.image_id)?;
        let upper = upper_of(self, &record.id)?;
        let (mut pieces, difference) = stream::channel();
        let packing = std::thread::Builder::new().name("commit".to_owned()).spawn(move || {
            let skip = |path: &[u8], stat: &rustix::fs::Stat| is_engines_own(path, stat);
            let how = Pack { difference: true, skip: Some(&skip), ..Pack::default() };
            let packed = jail::run("files", &[(&upper, Access::Read)], |_walls| {
                layer::pack(&upper, &mut pieces, &how)
            });
            pieces.end(packed.unwrap_or_else(|e| Err(Error::io("jail the packing thread", e))));
        });
        packing.map_err(|e| Error::io("start a thread for packing", e))?;
        let now = Timestamp::now().to_string();
        let mut image = base.config.clone();
        image.config = run_config(&config);
        image.created = Some(now.clone());
        image.author.clone_from(&commit.author);
        image.comment.clone_from(&commit.comment);
        image.docker_version = String::new();
        let step = History {
            created: Some(now),
            created_by: record.config.cmd.clone().unwrap_or_default().join(" "),
            author: commit.author.clone(),
            comment: commit.comment.clone(),
            empty_layer: false,
        };
        let mut archive = Archive { pieces: difference, piece: Vec::new(), at: 0 };
        let made = self.inner.images.commit(Commit {
            base: &base,
            config: image,
            step,
            archive: &mut archive,
            name,
        });
        self.inner.janitor.wake();
        Ok((made?.id.to_string(), commit.comment.clone()))
    }
}

/// A place for a mount of the engine's; directories of the image in which such places were made are left in, which
/// changes nothing.
fn is_engines_own(path: &[u8], stat: &rustix::fs::Stat) -> bool {
    let is_dir =
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
    !is_dir && is_engines(path, stat)
}

/// The name, if there is to be one.
fn name_of(repository: &str, tag: &str) -> Result<Option<ImageRef>> {
    if repository.is_empty() {
        return match tag {
            "" => Ok(None),
            _ => Err(Error::invalid("invalid reference format")),
        };
    }
    let text = if tag.is_empty() { repository.to_owned() } else { format!("{repository}:{tag}") };
    let name: ImageRef = text.parse()?;
    if name.digest().is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    Ok(Some(name.with_default_tag()))
}

fn run_config(config: &Config) -> RunConfig {
    let set = |list: &[String]| -> BTreeMap<String, Empty> {
        list.iter().map(|item| (item.clone(), Empty)).collect()
    };
    RunConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        healthcheck: config.healthcheck.as_ref().map(|check| oci::image::Healthcheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        args_escaped: config.args_escaped,
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        on_build: config.on_build.clone().unwrap_or_default(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone(),
    }
}

/// The pieces of the difference as a reader, on a thread that may block.
struct Archive {
    pieces: stream::ArchiveStream,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Archive {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.blocking_next() {
                None => return Ok(0),
                Some(piece) => {
                    self.piece = piece.map_err(|e| io::Error::other(e.to_string()))?;
                    self.at = 0;
                }
            }
        }
        let n = out.len().min(self.piece.len() - self.at);
        out[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
