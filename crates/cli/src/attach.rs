//! Between the user's streams and a container's: [`pump`] carries bytes, [`accompany`] signals and sizes.

use crate::exit::{Failure, Result};
use crate::keys::{self, Watcher};
use crate::output;
use crate::signals::{Signals, window_changes};
use crate::stdio::{Input, Output};
use crate::terminal;
use client::stdcopy::{Demux, Stream};
use client::{Client, Hijacked, ReadHalf, WriteHalf};

/// Which streams are carried.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The container has a terminal: output is not framed, keys may detach.
    pub tty: bool,
    /// From the user.
    pub stdin: Option<Input>,
    /// To the user.
    pub stdout: Option<Output>,
    /// To the user; with a terminal everything is stdout.
    pub stderr: Option<Output>,
    /// The keys that detach, as the user wrote them; empty for the default.
    pub detach_keys: String,
}

/// How carrying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The container has no more output.
    Output,
    /// The user typed the keys that detach.
    Detached,
}

/// Whose terminal it is that changes its size.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A container.
    Container(&'a str),
    /// A further process.
    Exec(&'a str),
}

impl Streams {
    /// The user's streams as far as they are wanted.
    pub(crate) fn open(
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        detach_keys: &str,
    ) -> Result<Self> {
        Ok(Self {
            tty,
            stdin: stdin.then(Input::stdin).transpose()?,
            stdout: stdout.then(Output::stdout).transpose()?,
            stderr: if stderr && !tty { Some(Output::stderr()?) } else { None },
            detach_keys: detach_keys.to_owned(),
        })
    }
}

/// Carries bytes until the container's output ends or the user detaches.
pub(crate) async fn pump(connection: Hijacked, streams: Streams) -> Result<Ended> {
    let Streams { tty, stdin, stdout, stderr, detach_keys } = streams;
    let has_output = stdout.is_some() || stderr.is_some();
    let (mut reader, mut writer) = connection.split();
    let watcher = tty.then(|| Watcher::new(sequence(&detach_keys)));
    let input = async {
        let Some(stdin) = stdin else {
            // The daemon learns at once that nothing will come; that it has gone shows when reading.
            let _gone = writer.close().await;
            if has_output {
                std::future::pending::<()>().await;
            }
            return Ok(Sent::All);
        };
        send(&stdin, &mut writer, watcher).await
    };
    let output = async {
        if tty {
            copy_raw(&mut reader, stdout.as_ref()).await
        } else {
            copy_framed(&mut reader, stdout.as_ref(), stderr.as_ref()).await
        }
    };
    tokio::pin!(input, output);
    tokio::select! {
        done = &mut output => done?,
        sent = &mut input => match sent? {
            Sent::Detached => return Ok(Ended::Detached),
            // With nothing to show there is nothing to wait for.
            Sent::All if !has_output => {}
            Sent::All => output.await?,
        }
    }
    Ok(Ended::Output)
}

fn sequence(text: &str) -> Vec<u8> {
    if text.is_empty() {
        return keys::DEFAULT.to_vec();
    }
    keys::parse(text).unwrap_or_else(|e| {
        output::complain(&format!("invalid detach escape keys, using default: {e}"));
        keys::DEFAULT.to_vec()
    })
}

enum Sent {
    All,
    Detached,
}

/// Input until its end, which the container is told.
async fn send(stdin: &Input, writer: &mut WriteHalf, mut watcher: Option<Watcher>) -> Result<Sent> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let count = stdin.read(&mut buffer).await?;
        if count == 0 {
            // The container may be gone already, which its output tells.
            let _gone = writer.close().await;
            return Ok(Sent::All);
        }
        let (bytes, detached) = match &mut watcher {
            Some(watcher) => watcher.feed(&buffer[..count]),
            None => (Vec::new(), false),
        };
        let bytes = if watcher.is_some() { bytes.as_slice() } else { &buffer[..count] };
        if writer.write_all(bytes).await.is_err() {
            return Ok(Sent::All);
        }
        if detached {
            return Ok(Sent::Detached);
        }
    }
}

async fn copy_raw(reader: &mut ReadHalf, stdout: Option<&Output>) -> Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(()),
            count => write(stdout, &buffer[..count]).await?,
        }
    }
}

async fn copy_framed(
    reader: &mut ReadHalf,
    stdout: Option<&Output>,
    stderr: Option<&Output>,
) -> Result<()> {
    let mut buffer = vec![0; 32 << 10];
    let mut demux = Demux::default();
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        write_frames(&mut demux, &buffer[..count], stdout, stderr).await?;
    }
}

/// Takes `bytes` apart and writes each piece where it belongs.
pub(crate) async fn write_frames(
    demux: &mut Demux,
    mut bytes: &[u8],
    stdout: Option<&Output>,
    stderr: Option<&Output>,
) -> Result<()> {
    while let Some((stream, piece)) =
        demux.next(&mut bytes).map_err(|e| Failure::new(e.to_string()))?
    {
        match stream {
            Stream::Stdin | Stream::Stdout => write(stdout, piece).await?,
            Stream::Stderr => write(stderr, piece).await?,
            Stream::System => {
                let text = String::from_utf8_lossy(piece);
                return Err(Failure::new(format!("error from daemon in stream: {text}")));
            }
        }
    }
    Ok(())
}

async fn write(to: Option<&Output>, bytes: &[u8]) -> Result<()> {
    match to {
        Some(output) => Ok(output.write_all(bytes).await?),
        None => Ok(()),
    }
}

/// What signals do to us while we are attached.
#[derive(Debug)]
pub(crate) enum OnSignal {
    /// They are passed on to the container.
    PassOn(Signals),
    /// They end us, after the terminal has been put right.
    End(Signals),
    /// What they always do.
    Nothing,
}

/// Acts on signals and keeps the size of the container's terminal, which was `told` before. Ends only when a signal ends us: with the exit code.
pub(crate) async fn accompany(
    client: &Client,
    target: Target<'_>,
    on_signal: OnSignal,
    tty: bool,
    told: Option<(u16, u16)>,
) -> u8 {
    let signals = async {
        match on_signal {
            OnSignal::Nothing => std::future::pending().await,
            OnSignal::End(mut signals) => 128 + signals.next().await.1,
            OnSignal::PassOn(mut signals) => loop {
                let (name, _) = signals.next().await;
                if let Target::Container(id) = target {
                    // The container may have ended in this very moment.
                    let _ended = client.kill_container(id, name).await;
                }
            },
        }
    };
    let sizes = async {
        if tty && let Ok(mut changes) = window_changes() {
            // Changed after it was told and before anybody watched.
            if told.is_some_and(|told| told != terminal::size()) {
                resize(client, target).await;
            }
            while changes.recv().await.is_some() {
                resize(client, target).await;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        code = signals => code,
        () = sizes => 0,
    }
}

/// Tells the daemon the size of the user's terminal. Whatever it answers: the size is not worth an error.
pub(crate) async fn resize(client: &Client, target: Target<'_>) -> (u16, u16) {
    let (rows, columns) = terminal::size();
    if rows == 0 && columns == 0 {
        return (rows, columns);
    }
    let _size_only = match target {
        Target::Container(id) => client.resize_container(id, rows, columns).await,
        Target::Exec(id) => client.resize_exec(id, rows, columns).await,
    };
    (rows, columns)
}
