//! Running the program, or Docker's client, in an environment of its own.

use super::fake::Fake;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Ours.
    Gantry,
    /// Ours under Docker's name, whose texts can be compared.
    AsDocker,
    /// Docker's.
    Docker,
}

pub(super) const DOCKER: &str = "/usr/local/bin/docker";

/// The path to execute. `directory` keeps the symbolic link that gives ours another name.
pub(super) fn path(which: Which, directory: &Path) -> PathBuf {
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_gantry"));
    match which {
        Which::Gantry => ours,
        Which::Docker => DOCKER.into(),
        Which::AsDocker => {
            let link = directory.join("docker");
            if !link.exists() {
                std::os::unix::fs::symlink(ours, &link).unwrap();
            }
            link
        }
    }
}

/// A command that knows nothing but where the fake daemon is.
pub(super) fn command(which: Which, directory: &Path, fake: &Fake, args: &[String]) -> Command {
    let mut command = Command::new(path(which, directory));
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", directory.join("home"))
        .env("TZ", "UTC")
        .env("DOCKER_HOST", format!("unix://{}", fake.socket.display()))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub(super) fn run(which: Which, directory: &Path, fake: &Fake, args: &[String]) -> Outcome {
    let output = command(which, directory, fake, args).output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Words of a command line.
pub(super) fn words(line: &str) -> Vec<String> {
    shell_words::split(line).unwrap()
}
