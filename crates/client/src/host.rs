//! Where the daemon listens: `-H`, `GANTRY_HOST`, `DOCKER_HOST`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix://PATH`
    Unix(PathBuf),
    /// `tcp://ADDRESS:PORT` with an optional path before every request's own.
    Tcp {
        /// Name or address and port, as they stand in the `Host` header.
        authority: String,
        /// Without a slash at its end; mostly empty.
        prefix: String,
    },
}

/// The text is no address of a daemon; the texts are Docker's where Docker has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// No scheme that exists.
    #[error("invalid bind address format: {0}")]
    Format(String),
    /// A scheme that Docker has and we have not yet.
    #[error("{0}:// is not there yet (see docs/compat.tsv): use unix:// or tcp://")]
    NotYet(&'static str),
}

/// The port of `tcp://` without TLS.
const DEFAULT_PORT: &str = "2375";

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            // Docker takes a bare `host:port` for TCP.
            if text.is_empty() || text.contains('/') {
                return Err(InvalidHost::Format(text.to_owned()));
            }
            return tcp(text, "");
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix(PathBuf::from("/var/run/docker.sock"))),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                tcp(authority, path)
            }
            "ssh" => Err(InvalidHost::NotYet("ssh")),
            "https" => Err(InvalidHost::NotYet("https")),
            "npipe" => Err(InvalidHost::NotYet("npipe")),
            _ => Err(InvalidHost::Format(text.to_owned())),
        }
    }
}

fn tcp(authority: &str, path: &str) -> Result<Host, InvalidHost> {
    if authority.contains(char::is_whitespace) {
        return Err(InvalidHost::Format(format!("tcp://{authority}")));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (authority, ""),
    };
    let name = if name.is_empty() { "127.0.0.1" } else { name };
    let port = if port.is_empty() { DEFAULT_PORT } else { port };
    if port.parse::<u16>().is_err() {
        return Err(InvalidHost::Format(format!("tcp://{authority}")));
    }
    let path = path.trim_matches('/');
    let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
    Ok(Host::Tcp { authority: format!("{name}:{port}"), prefix })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { authority, prefix } => write!(f, "tcp://{authority}{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let check = |text: &str, shown: &str| match text.parse::<Host>() {
            Ok(host) => assert_eq!(host.to_string(), shown, "{text}"),
            Err(error) => assert_eq!(error.to_string(), shown, "{text}"),
        };
        check("unix:///run/x.sock", "unix:///run/x.sock");
        check("unix://", "unix:///var/run/docker.sock");
        check("tcp://", "tcp://127.0.0.1:2375");
        check("tcp://[::1]", "tcp://[::1]:2375");
        check("tcp://[::1]:99", "tcp://[::1]:99");
        check("tcp://h:2376/p/", "tcp://h:2376/p");
        check("h:1", "tcp://h:1");
        check("foo://x", "invalid bind address format: foo://x");
        check("tcp://h:x", "invalid bind address format: tcp://h:x");
        check("", "invalid bind address format: ");
        check("ssh://h", "ssh:// is not there yet (see docs/compat.tsv): use unix:// or tcp://");
    }
}
