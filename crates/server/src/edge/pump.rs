//! Carries bytes between an attached client and a container's shim.
//!
//! ```text
//!   client ──stdin──▶ detach keys? ──▶ shim      client's end of input: the shim's end of input, output goes on
//!   client ◀──────────output────────── shim      end of output: the client's connection is closed at once, or
//!                                                `docker run` would wait for its user's next key
//! ```
//!
//! A client that hangs up, unlike one that only has no more input, lets go of the container: the shim's stream is
//! dropped without an end of input.

use super::conn::Raw;
use super::detach::DetachKeys;
use super::socket::Socket;
use rustix::net::Shutdown;
use tokio::net::UnixStream;

/// Large enough that a container's bulk output costs few wake-ups.
const BUFFER: usize = 64 * 1024;

/// Why the bytes stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The container, or its output, ended.
    Output,
    /// The client typed the detach keys.
    Detached,
    /// The client is gone.
    Client,
}

/// What to carry.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Sent first.
    pub(crate) history: Vec<u8>,
    /// To the shim; `None`: there is only history.
    pub(crate) shim: Option<UnixStream>,
    /// Pass the client's input on. If not, it is read and dropped, so that its end is seen.
    pub(crate) stdin: bool,
    /// Look for these in the input.
    pub(crate) detach: Option<DetachKeys>,
}

/// Carries bytes until one side ends. The caller closes the connection then, and at once: see above.
pub(crate) async fn run(raw: Raw, streams: Streams) -> End {
    let Raw { socket, early } = raw;
    let Streams { history, shim, stdin, detach } = streams;
    if socket.write_all(&history).await.is_err() {
        return End::Client;
    }
    let Some(shim) = shim else { return End::Output };
    // Not split into halves: a dropped half would announce an end of input that the client never meant.
    let shim = Socket::Unix(shim);
    tokio::select! {
        // Output first: a container's last words count more than input that nobody reads any more.
        biased;
        end = output(&socket, &shim) => end,
        end = input(&socket, &early, &shim, stdin, detach) => end,
    }
}

async fn output(client: &Socket, shim: &Socket) -> End {
    let mut buffer = vec![0; BUFFER];
    loop {
        match shim.read(&mut buffer).await {
            // An error: the shim died, and what it wrote has been read.
            Ok(0) | Err(_) => return End::Output,
            Ok(n) => {
                if client.write_all(&buffer[..n]).await.is_err() {
                    return End::Client;
                }
            }
        }
    }
}

/// Ends only with a reason to stop everything; after the end of input it waits for the client to hang up.
async fn input(
    client: &Socket,
    early: &[u8],
    shim: &Socket,
    wanted: bool,
    mut detach: Option<DetachKeys>,
) -> End {
    let mut open = wanted;
    let mut checked = Vec::new();
    let mut buffer = vec![0; if wanted { BUFFER } else { 512 }];
    let mut early = Some(early).filter(|early| !early.is_empty());
    loop {
        let bytes = match early.take() {
            Some(early) => early,
            None => match client.read(&mut buffer).await {
                Ok(0) => break,
                Ok(n) => &buffer[..n],
                Err(_) => return End::Client,
            },
        };
        if !wanted {
            continue;
        }
        let (bytes, detached) = match &mut detach {
            Some(keys) => {
                checked.clear();
                let detached = keys.scan(bytes, &mut checked);
                (&checked[..], detached)
            }
            None => (bytes, false),
        };
        // A container that closed its input is no reason to stop; detach keys are still looked for.
        open = open && shim.write_all(bytes).await.is_ok();
        if detached {
            return End::Detached;
        }
    }
    if client.is_hung_up() {
        return End::Client;
    }
    if open {
        let rest = detach.map(|mut keys| keys.rest()).unwrap_or_default();
        let _closed = shim.write_all(&rest).await;
        shim.shutdown(Shutdown::Write);
    }
    client.hung_up().await;
    End::Client
}

#[cfg(test)]
mod tests;
