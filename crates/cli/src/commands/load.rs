//! `load`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Matches};
use crate::progress::{self, Screen};
use crate::terminal;
use bytes::Bytes;
use client::ByteStream;
use std::fs::File;
use std::io::Read;

pub(super) const COMMAND: Command = Command {
    group: "image",
    name: "load",
    aliases: &[],
    top: "load",
    arguments: "[OPTIONS]",
    about: "Load an image from a tar archive or STDIN",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::text("input", "Read from tar archive file, instead of STDIN").short('i'),
        Flag::text(
            "platform",
            "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ).hidden(),
        Flag::switch("quiet", "Suppress the load output").short('q'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if matches.has("platform") {
        return Err(Failure::new("load --platform is not there yet (see docs/compat.tsv)"));
    }
    let archive = match matches.get("input").filter(|path| !path.is_empty()) {
        Some(path) => {
            let opened = File::open(path);
            pieces(
                opened
                    .map_err(|_| Failure::new(format!("open {path}: no such file or directory")))?,
            )
        }
        None if terminal::stdin_is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        None => pieces(std::io::stdin()),
    };
    // Progress needs a cursor; without one the daemon is told to leave it out.
    let screen =
        Screen { terminal: terminal::stdout_is_terminal(), width: terminal::size().1.into() };
    let quiet = matches.is("quiet") || !screen.terminal;
    let mut stream = app.client()?.load_images(archive, quiet).await?;
    progress::show(&mut stream, &mut std::io::stdout(), screen).await?;
    Ok(0)
}

/// A file or pipe piece by piece. Reading blocks this thread, which has nothing else to do meanwhile.
pub(super) fn pieces(source: impl Read + Send + 'static) -> ByteStream {
    const PIECE: usize = 256 << 10;
    Box::pin(futures_util::stream::try_unfold(source, |mut source| async move {
        let mut buffer = vec![0; PIECE];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    buffer.truncate(count);
                    return Ok(Some((Bytes::from(buffer), source)));
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }))
}
