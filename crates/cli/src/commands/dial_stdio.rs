//! `system dial-stdio`: our standard streams become a connection to the daemon. It is what a client on another host
//! runs through `ssh`.

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command};
use client::Transport;
use std::io::{self, Read, Write};
use std::net::Shutdown;

pub(super) const COMMAND: Command = Command {
    group: "system",
    name: "dial-stdio",
    aliases: &[],
    top: "",
    arguments: "",
    about: "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
    arity: Arity::None,
    interspersed: true,
    flags: &[],
    run: |app, _| Box::pin(run(app)),
};

async fn run(app: &App) -> Result<u8> {
    match app.client()?.dial().await? {
        Transport::Unix(stream) | Transport::Encrypted(stream, _) => {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            let (read, end) = (stream.try_clone()?, stream.try_clone()?);
            carry(read, stream, move || end.shutdown(Shutdown::Write)).await
        }
        Transport::Tcp(stream) => {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            let (read, end) = (stream.try_clone()?, stream.try_clone()?);
            carry(read, stream, move || end.shutdown(Shutdown::Write)).await
        }
    }
}

/// Carries both ways until the daemon has said everything. Its end of input is told when ours ends.
async fn carry(
    mut read: impl Read + Send + 'static,
    mut write: impl Write + Send + 'static,
    end: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<u8> {
    tokio::task::spawn_blocking(move || {
        let _gone = io::copy(&mut io::stdin().lock(), &mut write);
        let _gone = end();
    });
    let said = tokio::task::spawn_blocking(move || pour(&mut read)).await;
    said.map_err(|e| Failure::new(e.to_string()))??;
    Ok(0)
}

/// Writes what comes, at once.
fn pour(read: &mut impl Read) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match read.read(&mut buffer)? {
            0 => return Ok(()),
            n => {
                stdout.write_all(&buffer[..n])?;
                stdout.flush()?;
            }
        }
    }
}
