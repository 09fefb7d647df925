//! What `--network` asks for.

use std::fmt;

/// The network of a container, as `HostConfig.NetworkMode` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The default network: `default`, `bridge` or nothing.
    Bridge,
    /// The host's own namespace.
    Host,
    /// A namespace with nothing but loopback.
    None,
    /// The namespace of another container, by id or name.
    Container(String),
    /// A user's network, by id or name.
    Named(String),
}

impl Mode {
    /// Reads `NetworkMode`. Every text means something; whether the network or container exists is seen later.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            _ => match text.strip_prefix("container:") {
                Some(container) => Self::Container(container.to_owned()),
                None => Self::Named(text.to_owned()),
            },
        }
    }
}

/// Which network namespace a container lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// One of its own: take a [`Sandbox`](crate::Sandbox) and join it.
    Private,
    /// The host's; nothing is joined.
    Host,
    /// That of a running container: `sys::netns::of_process` of its first process; nothing is joined.
    Container(String),
}

impl Mode {
    /// The namespace that this mode means.
    pub fn namespace(&self) -> Namespace {
        match self {
            Self::Bridge | Self::None | Self::Named(_) => Namespace::Private,
            Self::Host => Namespace::Host,
            Self::Container(container) => Namespace::Container(container.clone()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode) in [
            ("", Mode::Bridge),
            ("default", Mode::Bridge),
            ("bridge", Mode::Bridge),
            ("host", Mode::Host),
            ("none", Mode::None),
            ("container:db", Mode::Container("db".into())),
            ("backend", Mode::Named("backend".into())),
        ] {
            assert_eq!(Mode::parse(text), mode, "{text:?}");
        }
        assert_eq!(Mode::parse("container:db").to_string(), "container:db");
        assert_eq!(Mode::parse("container:db").namespace(), Namespace::Container("db".into()));
        assert_eq!(Mode::parse("host").namespace(), Namespace::Host);
        assert_eq!(Mode::parse("none").namespace(), Namespace::Private);
    }
}
