//! The clients: ours, and Docker's, unmodified.

use crate::process::{self, Output, PATIENCE, Running};
use crate::{need, reference};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command-line client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cli {
    /// `gantry`.
    Gantry,
    /// The machine's own `docker`, whichever version that is.
    Docker,
    /// `docker` of the reference, 26.1.
    Reference,
}

impl Cli {
    /// Those that this machine has. `gantry` is always among them: without it there is nothing to test.
    pub fn all() -> Vec<Self> {
        [Self::Gantry, Self::Docker, Self::Reference]
            .into_iter()
            .filter(|cli| cli.path().is_some())
            .collect()
    }

    /// Some `docker`, the machine's own first.
    pub fn docker() -> Option<Self> {
        [Self::Docker, Self::Reference].into_iter().find(|cli| cli.path().is_some())
    }

    /// Where it is.
    pub fn path(self) -> Option<PathBuf> {
        match self {
            Self::Gantry => Some(crate::program("gantry")),
            Self::Docker => need::find("docker"),
            Self::Reference => Some(reference::programs().join("docker")).filter(|p| p.is_file()),
        }
    }
}

impl Cli {
    /// Its version's first two numbers, as `28.2`.
    pub fn version(self) -> Option<String> {
        let mut command = Command::new(self.path()?);
        command.arg("--version");
        let output = process::run(command);
        let version = output.stdout.split_whitespace().nth(2)?.trim_end_matches(',').to_owned();
        Some(version.split('.').take(2).collect::<Vec<_>>().join("."))
    }
}

/// A client that speaks to one daemon, in an environment of its own.
#[derive(Debug, Clone)]
pub struct Client {
    program: PathBuf,
    socket: PathBuf,
    home: PathBuf,
}

impl Client {
    /// A client for the daemon at `socket`; `home` holds its configuration.
    ///
    /// # Panics
    /// When the machine does not have this client.
    pub fn new(cli: Cli, socket: &Path, home: &Path) -> Self {
        let program = cli.path().unwrap_or_else(|| panic!("{cli:?} is not on this machine"));
        Self { program, socket: socket.to_owned(), home: home.to_owned() }
    }

    /// The command, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.environment(&mut command);
        command.args(args);
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        process::run(self.command(args))
    }

    /// Runs it to its end with this on its standard input.
    #[track_caller]
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        Running::start(self.command(args), Some(input.to_vec())).end(PATIENCE)
    }

    /// Starts it.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), None)
    }

    /// Runs a line of shell in which `docker` is this client.
    #[track_caller]
    pub fn shell(&self, line: &str) -> Output {
        // Under the name `docker`, by which our own client calls itself then.
        let docker = self.home.join("docker");
        match std::os::unix::fs::symlink(&self.program, &docker) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                panic!("link {}: {e}", docker.display())
            }
            _ => {}
        }
        let mut command = Command::new("sh");
        command.args(["-c", &format!("docker() {{ {} \"$@\"; }}\n{line}", docker.display())]);
        self.environment(&mut command);
        let mut output = process::run(command);
        line.clone_into(&mut output.line);
        output
    }

    /// What identifies the client and its daemon, for programs that are given it.
    pub fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", crate::host::search_path())
            .env("HOME", &self.home)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            // No colours and no cursor movement in what is compared.
            .env("TERM", "dumb");
    }
}
