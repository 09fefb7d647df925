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
    /// `ssh://[USER@]NAME[:PORT][PATH]`: the daemon of another host, reached as that user.
    Ssh {
        /// As whom; `None`: as `ssh` is configured.
        user: Option<String>,
        /// The host, or what `ssh` calls it.
        name: String,
        /// Its port; `None`: as `ssh` is configured.
        port: Option<String>,
        /// The daemon's socket over there; `None`: the usual one.
        path: Option<String>,
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
/// The port of `tcp://` with TLS.
const DEFAULT_TLS_PORT: &str = "2376";

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        Self::parse(text, false)
    }
}

impl Host {
    /// Reads an address; where it names no port, `is_tls` decides which is meant.
    ///
    /// # Errors
    /// When the text is no address.
    pub fn parse(text: &str, is_tls: bool) -> Result<Self, InvalidHost> {
        let default_port = if is_tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            // Docker takes a bare `host:port` for TCP.
            if text.is_empty() || text.contains('/') {
                return Err(InvalidHost::Format(text.to_owned()));
            }
            return tcp(text, "", default_port);
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix(PathBuf::from("/var/run/docker.sock"))),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                tcp(authority, path, default_port)
            }
            "ssh" => ssh(rest).ok_or_else(|| InvalidHost::Format(text.to_owned())),
            "npipe" => Err(InvalidHost::NotYet("npipe")),
            _ => Err(InvalidHost::Format(text.to_owned())),
        }
    }
}

fn tcp(authority: &str, path: &str, default_port: &str) -> Result<Host, InvalidHost> {
    if authority.contains(char::is_whitespace) {
        return Err(InvalidHost::Format(format!("tcp://{authority}")));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (authority, ""),
    };
    let name = if name.is_empty() { "127.0.0.1" } else { name };
    let port = if port.is_empty() { default_port } else { port };
    if port.parse::<u16>().is_err() {
        return Err(InvalidHost::Format(format!("tcp://{authority}")));
    }
    let path = path.trim_matches('/');
    let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
    Ok(Host::Tcp { authority: format!("{name}:{port}"), prefix })
}

/// Nothing in it may look like an option to `ssh`, or be more than one word to a shell.
fn ssh(rest: &str) -> Option<Host> {
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (name, port) = match place.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (place, None),
    };
    let name = name.trim_matches(['[', ']']);
    let word = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-:%\\+~".contains(c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
    };
    let path = path.filter(|path| *path != "/");
    let fits = word(name)
        && user.is_none_or(word)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
        && path.is_none_or(|path| path.split('/').skip(1).all(word));
    fits.then(|| Host::Ssh {
        user: user.map(str::to_owned),
        name: name.to_owned(),
        port: port.map(str::to_owned),
        path: path.map(str::to_owned),
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { authority, prefix } => write!(f, "tcp://{authority}{prefix}"),
            Self::Ssh { user, name, port, path } => {
                f.write_str("ssh://")?;
                user.iter().try_for_each(|user| write!(f, "{user}@"))?;
                f.write_str(name)?;
                port.iter().try_for_each(|port| write!(f, ":{port}"))?;
                path.iter().try_for_each(|path| f.write_str(path))
            }
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
        check("ssh://h", "ssh://h");
        check("ssh://me@h:22/run/d.sock", "ssh://me@h:22/run/d.sock");
        check("ssh://-oProxyCommand=x", "invalid bind address format: ssh://-oProxyCommand=x");
        check("ssh://h/a b", "invalid bind address format: ssh://h/a b");
        check("ssh://h:x", "invalid bind address format: ssh://h:x");
    }
}
