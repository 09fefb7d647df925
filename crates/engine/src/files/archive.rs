//! `HEAD`, `GET` and `PUT` of `/containers/{id}/archive`, and `/export`.

use super::owner;
use super::pace::at_a_clients_pace;
use super::path::{Named, PathStat, describe, look, resolve};
use super::root::{Root, Want};
use super::stream::{self, ArchiveStream};
use crate::Engine;
use layer::{Extract, Limits, Pack};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fstat};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use stdx::{Context as _, Error, Kind, Result};
use sys::jail::{self, Access};

/// How to unpack into a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions {
    /// Refuse to put a directory where something else is, and something else where a directory is.
    pub keep_kinds: bool,
    /// Everything shall belong to the container's user.
    pub to_user: bool,
}

impl Engine {
    /// What is at a path of a container; a link is answered itself, with where it leads.
    pub async fn stat_in_container(&self, name: &str, path: &str) -> Result<PathStat> {
        let container = self.inner.containers.find(name)?;
        let named = Named::new(path)?;
        let root = self.root_of(&container, Want::Read).await?;
        let name = name.to_owned();
        blocking(move || {
            jailed(&root, Access::Read, || {
                describe(&root.dir, &named).map_err(|e| named.explain(e, &name))
            })
        })
        .await
    }

    /// What is at a path of a container, and all of it as an archive.
    pub async fn archive_of_container(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathStat, ArchiveStream)> {
        let container = self.inner.containers.find(name)?;
        let named = Named::new(path)?;
        let root = Arc::new(self.root_of(&container, Want::Read).await?);
        let (looked, shown, asked) = (Arc::clone(&root), named.clone(), name.to_owned());
        let stat = blocking(move || {
            jailed(&looked, Access::Read, || {
                describe(&looked.dir, &shown).map_err(|e| shown.explain(e, &asked))
            })
        })
        .await?;
        crate::world::tell(&self.inner.events, &container, "archive-path", &[]);
        let name = name.to_owned();
        let archive = sending(root, move |root, out| pack_path(root, &named, &name, out));
        Ok((stat, archive))
    }

    /// Unpacks an archive into a directory of a container.
    pub async fn extract_to_container(
        &self,
        name: &str,
        path: &str,
        options: ExtractOptions,
        archive: Box<dyn Read + Send>,
    ) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        let named = Named::new(path)?;
        let root = self.root_of(&container, Want::Write).await?;
        let record = container.now().record;
        let (name, user) = (name.to_owned(), record.config.user.clone());
        at_a_clients_pace(move || {
            let mut archive = archive;
            jailed(&root, Access::Write, || {
                let user = options.to_user.then_some(user.as_str());
                extract(&root, &named, &name, user, options.keep_kinds, archive.as_mut())
            })
        })
        .await?;
        crate::world::tell(&self.inner.events, &container, "extract-to-dir", &[]);
        Ok(())
    }

    /// The root file system of a container, without what is mounted on it.
    pub async fn export_container(&self, name: &str) -> Result<ArchiveStream> {
        let container = self.inner.containers.find(name)?;
        let root = Arc::new(self.root_of(&container, Want::Bare).await?);
        crate::world::tell(&self.inner.events, &container, "export", &[]);
        Ok(sending(root, |root, out| {
            layer::pack(&root.dir, out, &Pack { ids: root.ids.as_ref(), ..Pack::default() })
        }))
    }
}

/// Runs what blocks on a thread where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
}

/// Runs what touches a container's files on a thread that can reach nothing else.
pub(super) fn jailed<T: Send>(
    root: &Root,
    access: Access,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    // New files belong to whoever makes them, and a mapped mount knows nobody but the container's users.
    let who = root.ids.as_ref().and_then(|ids| ids.outside(0, 0));
    jail::run_as("files", &[(&root.dir, access)], who, |_walls| work())
        .context(|| "jail the thread for a container's files")?
}

/// Packs on a jailed thread of its own, which ends when nobody takes the pieces any more.
fn sending(
    root: Arc<Root>,
    pack: impl FnOnce(&Root, &mut dyn std::io::Write) -> Result<()> + Send + 'static,
) -> ArchiveStream {
    let (mut pieces, archive) = stream::channel();
    let teller = pieces.teller();
    tokio::spawn(async move {
        let packing = at_a_clients_pace(move || {
            let done = jailed(&root, Access::Read, || pack(&root, &mut pieces));
            pieces.end(done);
            Ok(())
        });
        if let Err(error) = packing.await {
            // Half an archive must not look like one.
            let _gone = teller.send(Err(error)).await;
        }
    });
    archive
}

fn pack_path(
    root: &Root,
    named: &Named,
    container: &str,
    out: &mut dyn std::io::Write,
) -> Result<()> {
    let explain = |e| named.explain(e, container);
    let how = Pack { prefix: named.base.as_bytes(), ids: root.ids.as_ref(), ..Pack::default() };
    let stat = look(&root.dir, named).map_err(explain)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let dir = root.dir.dir_in_root(&named.whole).map_err(explain)?;
        // A file system of the kernel's own is an empty directory, as where nothing is mounted.
        let nothing = |_: &[u8], _: &rustix::fs::Stat| true;
        let skip: Option<layer::Skip<'_>> =
            if layer::is_kernels(&dir).map_err(explain)? { Some(&nothing) } else { None };
        return layer::pack(&dir, out, &Pack { top: true, skip, ..how });
    }
    let (dir, name) = root.dir.parent_in_root(&named.whole).map_err(explain)?;
    layer::pack_one(&dir, &name, out, &how)
}

fn extract(
    root: &Root,
    named: &Named,
    container: &str,
    user: Option<&str>,
    keep_kinds: bool,
    archive: &mut (dyn Read + Send),
) -> Result<()> {
    let explain = |e| named.explain(e, container);
    let into = resolve(&root.dir, &named.whole, false).map_err(explain)?;
    let target = root.dir.open_in_root(&into, OFlags::PATH, Mode::empty()).map_err(explain)?;
    let stat = fstat(&target).map_err(|e| explain(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::invalid("extraction point is not a directory"));
    }
    check_writable(root, &into, &target)?;
    let owner = user.map(|user| owner::of(&root.dir, user)).transpose()?;
    let limits = Limits { entries: u64::from(u32::MAX), ..Limits::default() };
    layer::extract(
        &root.dir,
        archive,
        &Extract { into: &into, keep_kinds, owner, ids: root.ids.as_ref(), limits },
    )
}

fn check_writable(root: &Root, into: &Path, target: &std::os::fd::OwnedFd) -> Result<()> {
    let look = || -> std::io::Result<(bool, bool, bool)> {
        let on_root = mount_of(&root.dir)? == mount_of(target)?;
        Ok((on_root, sys::mount::is_read_only(target)?, layer::is_kernels(target)?))
    };
    let (on_root, is_read_only, is_kernels) = look().context(|| "look at the target directory")?;
    let denied = |text: &str| Err(Error::new(Kind::Forbidden, text));
    if is_kernels {
        return Err(Error::invalid(format!("{} is a file system of the kernel", into.display())));
    }
    match on_root {
        true if is_read_only || root.is_read_only => denied("container rootfs is marked read-only"),
        false if is_read_only => denied("mounted volume is marked read-only"),
        _ => Ok(()),
    }
}

/// The number of the mount that something is on.
fn mount_of(fd: impl std::os::fd::AsFd) -> std::io::Result<u64> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}
