//! What can go wrong between a command and the daemon.

use crate::host::Host;
use std::io;

/// The result of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. The texts are what the user reads, Docker's where Docker has them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the address.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect {
        /// Where it was tried.
        host: Host,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket is there and may not be used.
    #[error(
        "permission denied while trying to connect to the Docker daemon socket at {host}: {source}"
    )]
    Denied {
        /// Where it was tried.
        host: Host,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon answered with an error.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// The HTTP status, 400 or above.
        status: u16,
        /// The daemon's text.
        message: String,
    },
    /// A progress stream ended with an error; its text is the daemon's.
    #[error("{0}")]
    Stream(String),
    /// TLS failed: certificates that cannot be read, a daemon that nobody vouches for.
    #[error("error during connect: tls: {0}")]
    Tls(String),
    /// `ssh` could not be started.
    #[error("error during connect: {0}")]
    Ssh(String),
    /// The connection broke or what came over it is no HTTP.
    #[error("error during connect: {0}")]
    Http(#[from] hyper::Error),
    /// The connection broke under a stream.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The answer is not what the API promises.
    #[error("{what}: {message}")]
    Answer {
        /// Which answer.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// The HTTP status of an answer from the daemon.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon said 404.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the daemon could not be reached at all.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Denied { .. })
    }
}
