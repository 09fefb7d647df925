//! [`RunArgs`]: what a `run` or `create` means, once the files that its flags name have been read.

use super::files;
use crate::env::Env;
use crate::exit::{Failure, Result};
use crate::flags::Matches;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to run and how. Flags whose value needs nothing but reading stay in `matches`.
#[derive(Debug)]
pub struct RunArgs<'a> {
    /// The flags.
    pub matches: &'a Matches,
    /// The image as it was typed.
    pub image: String,
    /// What follows the image.
    pub command: Vec<String>,
    /// Environment: from files first, then from flags; names without a value have taken the client's.
    pub env: Vec<String>,
    /// Labels, from files first.
    pub labels: BTreeMap<String, String>,
    /// Security options, with profiles read; without `systempaths`.
    pub security_opts: Vec<String>,
    /// `systempaths=unconfined`: nothing in /proc and /sys is hidden.
    pub bare_system_paths: bool,
    /// When to pull.
    pub pull: Pull,
    /// Not attached to.
    pub detach: bool,
    /// What relative paths are relative to.
    pub directory: PathBuf,
    /// The size of the user's terminal, rows and columns; zeros when there is none.
    pub console: [u64; 2],
}

/// When to pull the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Pull {
    Always,
    Missing,
    Never,
}

/// Refuses flags that only a daemon on Windows has.
pub(crate) fn refuse_windows(matches: &Matches) -> Result<()> {
    match ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"]
        .into_iter()
        .find(|flag| matches.has(flag))
    {
        Some(flag) => Err(Failure::new(format!(
            "\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux"
        ))),
        None => Ok(()),
    }
}

impl<'a> RunArgs<'a> {
    /// Reads what was typed, and the files that it names.
    pub fn read(matches: &'a Matches, env: &Env, directory: &Path) -> Result<Self> {
        let (image, command) =
            matches.arguments.split_first().ok_or_else(|| Failure::new("an image is required"))?;
        if matches.is("use-api-socket") {
            return Err(Failure::new("--use-api-socket is not there yet (see docs/compat.tsv)"));
        }
        let pull = match matches.get("pull").unwrap_or("missing") {
            "always" => Pull::Always,
            "missing" | "" => Pull::Missing,
            "never" => Pull::Never,
            other => {
                let words = "must be one of \"always\", \"missing\" or \"never\"";
                return Err(Failure::new(format!("invalid pull option: '{other}': {words}")));
            }
        };
        let (security_opts, bare_system_paths) =
            files::security_opts(&matches.list("security-opt"), directory)?;
        Ok(Self {
            matches,
            image: image.clone(),
            command: command.to_vec(),
            env: files::environment(matches, env, directory)?,
            labels: files::labels(matches, directory)?,
            security_opts,
            bare_system_paths,
            pull,
            detach: matches.is("detach"),
            directory: directory.to_owned(),
            console: [0, 0],
        })
    }
}
