//! A client at a container's streams.

use crate::Engine;
use container::Phase;
use stdx::{Error, Result};
use task::protocol::Attachment;
use tokio::net::UnixStream;

/// What a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// What has been logged, first.
    pub logs: bool,
    /// What comes.
    pub stream: bool,
    /// To send input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// A client at a container's streams.
#[derive(Debug)]
pub struct Attached {
    /// The daemon's end of a socket to the shim. What comes out is for the client as it is: raw from a terminal,
    /// `stdcopy` frames otherwise. What goes in is input; shutting it down for writing ends the input; dropping it
    /// detaches. `None`: only the log was asked for.
    pub stream: Option<UnixStream>,
    /// What has been logged, in the same form, to be sent first.
    pub history: Vec<u8>,
    /// The container has a terminal.
    pub tty: bool,
}

impl Engine {
    /// Attaches to a container: at once when it runs, otherwise when it is started.
    pub async fn attach_container(&self, name: &str, request: AttachRequest) -> Result<Attached> {
        let container = self.inner.containers.find(name)?;
        let now = container.now();
        if let Phase::Paused(_) = now.phase {
            return Err(Error::conflict(format!(
                "container {} is paused, unpause the container before attach",
                now.record.id
            )));
        }
        if let Phase::Restarting = now.phase {
            return Err(Error::conflict(format!(
                "container {} is restarting, wait until the container is running",
                now.record.id
            )));
        }
        let tty = now.record.config.tty;
        let history = if request.logs {
            super::logs::all_logged(self, &now.record, request.stdout, request.stderr).await?
        } else {
            Vec::new()
        };
        let stream = if request.stream {
            let streams = Attachment {
                stdin: request.stdin && now.record.config.open_stdin,
                stdout: request.stdout,
                stderr: request.stderr,
            };
            Some(container.attach(streams).await?)
        } else {
            None
        };
        crate::world::tell(&self.inner.events, &container, "attach", &[]);
        Ok(Attached { stream, history, tty })
    }

    /// A client left a container by its detach keys.
    pub fn detached(&self, name: &str) {
        if let Ok(container) = self.inner.containers.find(name) {
            crate::world::tell(&self.inner.events, &container, "detach", &[]);
        }
    }
}
