//! `cp`

use crate::app::App;
use crate::cp::{self, Info, Side, pack, unpack};
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::terminal;
use bytes::Bytes;
use client::{Client, JsonLines};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "cp",
    aliases: &[],
    top: "cp",
    arguments: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t{path} [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files/folders between a container and the local filesystem",
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[&[
        Flag::switch("archive", "Archive mode (copy all uid/gid information)").short('a'),
        Flag::switch("follow-link", "Always follow symbol link in SRC_PATH").short('L'),
        Flag::switch(
            "quiet",
            "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
        )
        .short('q'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

/// How to copy.
#[derive(Debug, Clone, Copy)]
struct How {
    owners: bool,
    follow: bool,
    /// Say how much was copied.
    loud: bool,
}

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let [source, target] = &matches.arguments[..] else {
        return Err(Failure::new("two arguments are needed"));
    };
    if source.is_empty() {
        return Err(Failure::new("source can not be empty"));
    }
    if target.is_empty() {
        return Err(Failure::new("destination can not be empty"));
    }
    let loud = !matches.is("quiet") && sys::tty::is_terminal(io::stderr());
    let how = How { owners: matches.is("archive"), follow: matches.is("follow-link"), loud };
    match (Side::parse(source), Side::parse(target)) {
        (Side::Container { name, path }, Side::Local(target)) => {
            from_container(&app.client()?, &name, &path, &target, how).await?;
        }
        (Side::Local(source), Side::Container { name, path }) => {
            to_container(&app.client()?, &source, &name, &path, how).await?;
        }
        (Side::Container { .. }, Side::Container { .. }) => {
            return Err(Failure::new("copying between containers is not supported"));
        }
        (Side::Local(_), Side::Local(_)) => {
            return Err(Failure::new("must specify at least one container source"));
        }
    }
    Ok(0)
}

async fn from_container(
    client: &Client,
    name: &str,
    path: &str,
    target: &str,
    how: How,
) -> Result<()> {
    let to_stdout = target == "-";
    if !to_stdout {
        check_output(target)?;
    }
    let mut source = Info { path: path.to_owned(), exists: true, ..Info::default() };
    if how.follow
        && let Ok(stat) = client.stat_path(name, path).await
        && stat.is_link()
    {
        let (path, rebase) = cp::followed(path, &stat.link_target);
        source = Info { path, rebase, ..source };
    }
    let (stat, mut body) = client.read_archive(name, &source.path).await?;
    if to_stdout {
        return copy(&mut body, &mut io::stdout().lock()).await;
    }
    source.is_dir = stat.is_dir();
    // The name that the top of the archive has in it, and shall have.
    let rebase =
        (!source.rebase.is_empty()).then(|| (cp::split(&source.path).1, source.rebase.clone()));
    let whole = cp::absolute(target)?;
    let mut placed = cp::place(&source, &destination(&whole)?)?;
    if let Some((own, shown)) = rebase {
        let to = placed.rename.map_or(shown, |(_, new)| new);
        placed.rename = Some((own, to));
    }
    let (pieces, coming) = sync_channel::<Bytes>(4);
    let owners = how.owners;
    let unpacking = std::thread::Builder::new().name("unpack".to_owned()).spawn(move || {
        let mut archive = Pieces { coming, piece: Bytes::new() };
        let done = unpack::unpack(&mut archive, &placed, owners);
        // What follows the end of the archive is taken too, so that the daemon can end.
        let _rest = io::copy(&mut archive, &mut io::sink());
        done
    })?;
    let mut total = 0;
    while let Some(piece) = body.bytes().await? {
        total += piece.len() as u64;
        if pieces.send(piece).is_err() {
            break;
        }
    }
    drop(pieces);
    unpacking.join().map_err(|_| Failure::new("the unpacking thread panicked"))??;
    tell(how, total, &whole);
    Ok(())
}

async fn to_container(
    client: &Client,
    source: &str,
    name: &str,
    path: &str,
    how: How,
) -> Result<()> {
    let local =
        if source == "-" { None } else { Some(pack::source(&cp::absolute(source)?, how.follow)?) };
    let mut target = Info { path: path.to_owned(), ..Info::default() };
    let mut stat = client.stat_path(name, path).await;
    if let Ok(found) = &stat
        && found.is_link()
    {
        target.path.clone_from(&found.link_target);
        stat = client.stat_path(name, &target.path).await;
    }
    // That it is not there may be right: the copy makes it.
    if let Ok(found) = &stat {
        if found.is_device() {
            return Err(Failure::new(format!(
                "destination \"{name}:{path}\" must be a directory or a regular file: got a device"
            )));
        }
        (target.exists, target.is_dir) = (true, found.is_dir());
    }
    let (dir, archive, sent) = match local {
        None if !target.is_dir => {
            return Err(Failure::new(format!("destination \"{name}:{path}\" must be a directory")));
        }
        None => (target.path, super::load::pieces(io::stdin()), None),
        Some(source) => {
            let placed = cp::place(&source, &target)?;
            let (archive, sent) = pack::stream(&source, placed.rename)?;
            let dir = match placed.dir.trim_end_matches('/') {
                "" => "/",
                dir => dir,
            };
            (dir.to_owned(), archive, Some(sent))
        }
    };
    client.write_archive(name, &dir, how.owners, archive).await?;
    if let Some(sent) = sent {
        tell(how, sent.load(Ordering::Relaxed), &format!("{name}:{path}"));
    }
    Ok(())
}

/// The local side of a copy out; links to it are followed, and a missing target is fine when what is above is there.
fn destination(path: &str) -> Result<Info> {
    let mut path = path.to_owned();
    for _ in 0..10 {
        let bare = path.trim_end_matches("/.").trim_end_matches('/').to_owned();
        match std::fs::symlink_metadata(if bare.is_empty() { "/" } else { &bare }) {
            Ok(found) if found.is_symlink() => {
                let link = std::fs::read_link(&bare)?;
                let above = Path::new(&bare).parent().unwrap_or(Path::new("/"));
                path = cp::clean(&above.join(link).display().to_string());
            }
            Ok(found) => {
                let is_dir = found.is_dir();
                return Ok(Info { path, exists: true, is_dir, ..Info::default() });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Info { path, ..Info::default() });
            }
            Err(e) => return Err(e.into()),
        }
    }
    Err(Failure::new(format!("too many symlinks in {path}")))
}

/// Refuses a target that cannot be one before anything is asked of the daemon.
fn check_output(path: &str) -> Result<()> {
    let clean = cp::clean(path);
    let above = Path::new(&clean).parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(above) = above
        && !above.exists()
    {
        return Err(Failure::new(format!(
            "invalid output path: directory {above:?} does not exist"
        )));
    }
    if let Ok(found) = std::fs::metadata(&clean) {
        let kind = found.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(Failure::new(format!(
                "invalid output path: {clean:?} must be a directory or a regular file: got a device"
            )));
        }
    }
    Ok(())
}

/// Writes a body as it comes.
pub(super) async fn copy(body: &mut JsonLines, out: &mut dyn io::Write) -> Result<()> {
    while let Some(piece) = body.bytes().await? {
        out.write_all(&piece)?;
    }
    out.flush()?;
    Ok(())
}

fn tell(how: How, bytes: u64, target: &str) {
    if how.loud {
        let size = ByteSize(bytes).decimal(3);
        let _nobody_reads = writeln!(io::stderr(), "Successfully copied {size} to {target}");
    }
}

struct Pieces {
    coming: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.coming.recv() {
                Ok(piece) => self.piece = piece,
                Err(_) => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// Refuses to write an archive to a terminal.
pub(super) fn refuse_terminal() -> Result<()> {
    if terminal::stdout_is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    Ok(())
}
