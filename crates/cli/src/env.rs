//! The process's surroundings as a value, so that tests can turn them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Environment variables.
#[derive(Debug, Clone)]
pub enum Env {
    /// The process's own.
    Real,
    /// These.
    Given(BTreeMap<String, String>),
}

impl Env {
    /// The process's own environment.
    pub fn real() -> Self {
        Self::Real
    }

    /// A variable that is set to something.
    pub fn get(&self, name: &str) -> Option<String> {
        self.lookup(name).filter(|value| !value.is_empty())
    }

    /// A variable that is set, perhaps to nothing.
    pub fn lookup(&self, name: &str) -> Option<String> {
        match self {
            Self::Real => std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()),
            Self::Given(vars) => vars.get(name).cloned(),
        }
    }

    /// The user's home.
    pub fn home(&self) -> PathBuf {
        PathBuf::from(self.get("HOME").unwrap_or_else(|| "/".into()))
    }
}
