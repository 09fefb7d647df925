//! Compose, both generations, unmodified: 1.29 in Python and the plugin of Docker's client, fetched by `cargo xtask peers`.

use crate::{Client, need, reference};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A generation of Compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compose {
    /// `docker-compose` 1.29 of Debian 12.
    One,
    /// The plugin, 2.26 of Debian 13.
    Two,
}

impl Compose {
    /// Why this machine does not have it, if so.
    pub fn missing(self) -> Option<String> {
        let absent = || Some(format!("{self:?} of Compose is not there: run `cargo xtask peers`"));
        match self {
            Self::One if need::find("python3").is_none() => {
                Some("Compose 1.29 needs python3".to_owned())
            }
            _ if self.program().is_file() => None,
            _ => absent(),
        }
    }

    fn program(self) -> PathBuf {
        let peers = reference::programs().join("..");
        match self {
            Self::One => peers.join("compose-1/tree/usr/bin/docker-compose"),
            Self::Two => peers.join("cli-plugins/docker-compose"),
        }
    }

    /// A call in `folder`, where its files are, that speaks to the client's daemon.
    pub fn command(self, client: &Client, folder: &Path, args: &[&str]) -> Command {
        let mut command = match self {
            // The machine's own interpreter, which the packages are made for, and no modules but theirs.
            Self::One => Command::new("/usr/bin/python3"),
            Self::Two => Command::new(self.program()),
        };
        client.environment(&mut command);
        if self == Self::One {
            command
                .env("PYTHONPATH", modules(&self.program().join("../../lib")))
                .env("PYTHONNOUSERSITE", "1")
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .arg(self.program());
        }
        command.current_dir(folder).args(args);
        command
    }
}

/// The folders of modules in the packages: those of every Python 3, and what a release took out of the interpreter.
fn modules(library: &Path) -> String {
    let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
    let versions = entries.map(|e| e.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3."))
    });
    let folders = std::iter::once(library.join("python3/dist-packages")).chain(versions);
    folders.map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}
