//! Asking a plugin.

use crate::find::{Address, Folders};
use crate::wire::{Activated, Complaint};
use crate::{PATIENCE, http, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};
use stdx::{Error, Kind};

/// Characters of a plugin's own words that are passed on.
const WORDS: usize = 400;

/// A plugin that has answered.
#[derive(Debug, Clone)]
pub struct Plugin {
    name: String,
    address: Address,
    implements: Vec<String>,
    patience: Duration,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub struct Failure {
    plugin: String,
    method: String,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("plugin {0:?} not found")]
    NotFound(String),
    #[error("{0}")]
    Unfit(Error),
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    #[error("no answer within {} seconds", .0.as_secs())]
    Late(Duration),
    #[error("{0}")]
    Garbled(String),
    #[error("{0}")]
    Refused(String),
}

impl Plugin {
    /// Finds the plugin of that name and asks what it is.
    pub fn activate(folders: &Folders, name: &str) -> Result<Self, Failure> {
        Self::activate_within(folders, name, PATIENCE)
    }

    /// The same with less patience, here and in all that follows.
    pub fn activate_within(
        folders: &Folders,
        name: &str,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let failure =
            |why| Failure { plugin: name.to_owned(), method: "Plugin.Activate".to_owned(), why };
        let address = folders
            .find(name)
            .map_err(|e| failure(Why::Unfit(e)))?
            .ok_or_else(|| failure(Why::NotFound(name.to_owned())))?;
        let mut plugin = Self { name: name.to_owned(), address, implements: Vec::new(), patience };
        let activated: Activated = plugin.ask("Plugin.Activate", &[])?;
        plugin.implements = activated.implements.unwrap_or_default();
        Ok(plugin)
    }

    /// Whether it is of a kind: `NetworkDriver`, `IpamDriver`.
    pub fn implements(&self, kind: &str) -> bool {
        self.implements.iter().any(|own| own == kind)
    }

    /// Asks something that has a question.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        question: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(question)
            .map_err(|e| self.failure(method, Why::Garbled(e.to_string())))?;
        self.ask(method, &body)
    }

    /// Asks something that has none.
    pub fn get<T: DeserializeOwned>(&self, method: &str) -> Result<T, Failure> {
        self.ask(method, &[])
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, body: &[u8]) -> Result<T, Failure> {
        let until = Instant::now() + self.patience;
        let late = |e: io::Error, other: fn(&Self, io::Error) -> Why| {
            let why = match e.kind() {
                io::ErrorKind::TimedOut => Why::Late(self.patience),
                _ => other(self, e),
            };
            self.failure(method, why)
        };
        let unreachable = |plugin: &Self, e| Why::Unreachable(plugin.address.to_string(), e);
        let mut stream = stream::connect(&self.address, until).map_err(|e| late(e, unreachable))?;
        let sent = stream.write_all(&http::question(&self.address.host(), method, body));
        // A plugin that has hung up while it was asked may have said why.
        let sent = sent.and_then(|()| stream.flush());
        let answer = http::answer(&mut *stream).map_err(|e| sent.err().unwrap_or(e));
        let answer = answer.map_err(|e| {
            late(e, |plugin, e| match e.kind() {
                io::ErrorKind::InvalidData => Why::Garbled(e.to_string()),
                _ => Why::Unreachable(plugin.address.to_string(), e),
            })
        })?;
        let complaint = serde_json::from_slice::<Complaint>(&answer.body).unwrap_or_default();
        let complaint = complaint.text.filter(|text| !text.is_empty());
        if let Some(text) = complaint {
            return Err(self.failure(method, Why::Refused(plain(&text))));
        }
        if answer.status != 200 {
            let text = plain(&String::from_utf8_lossy(&answer.body));
            let text = format!("status {}: {text}", answer.status);
            return Err(self.failure(method, Why::Refused(text)));
        }
        // Some say nothing where there is nothing to say.
        let body: &[u8] = if answer.body.trim_ascii().is_empty() { b"{}" } else { &answer.body };
        serde_json::from_slice(body).map_err(|e| {
            self.failure(method, Why::Garbled(format!("its answer cannot be read: {e}")))
        })
    }

    fn failure(&self, method: &str, why: Why) -> Failure {
        Failure { plugin: self.name.clone(), method: method.to_owned(), why }
    }
}

impl Failure {
    /// The plugin answered what cannot be used, though it can be read.
    pub fn garbled(plugin: &str, method: &str, text: impl Into<String>) -> Self {
        let why = Why::Garbled(text.into());
        Self { plugin: plugin.to_owned(), method: method.to_owned(), why }
    }

    /// Whether the plugin has heard and answered: asking again changes nothing.
    pub fn is_final(&self) -> bool {
        matches!(self.why, Why::Refused(_) | Why::Garbled(_))
    }

    /// Whether the plugin says that it has not done it.
    pub fn is_refusal(&self) -> bool {
        matches!(self.why, Why::Refused(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            // Docker's own words.
            why @ Why::NotFound(_) => write!(f, "{why}"),
            why => write!(f, "plugin {:?}: {}: {why}", self.plugin, self.method),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let kind = match &failure.why {
            Why::NotFound(_) => Kind::NotFound,
            Why::Unfit(e) => e.kind(),
            Why::Unreachable(..) => Kind::Unavailable,
            Why::Late(_) => Kind::Timeout,
            Why::Garbled(_) | Why::Refused(_) => Kind::Internal,
        };
        Self::new(kind, failure.to_string())
    }
}

/// A plugin's words as they are shown: some of them, and no control characters, which terminals obey.
fn plain(text: &str) -> String {
    text.trim().chars().take(WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Address {
    fn host(&self) -> String {
        match self {
            // What Docker says, where there is no host.
            Self::Unix(_) => "plugin.moby.localhost".to_owned(),
            Self::Tcp(host, _) => host.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix {}", path.display()),
            Self::Tcp(host, None) => write!(f, "tcp {host}"),
            Self::Tcp(host, Some(_)) => write!(f, "tls {host}"),
        }
    }
}

#[cfg(test)]
mod tests;
