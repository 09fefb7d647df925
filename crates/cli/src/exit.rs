//! How a command ends: texts on stderr and exit codes, the same that scripts know from Docker.

use std::fmt;

/// The daemon or the client failed before the container could (`run`, `create`), and wrong flags of every command.
pub(crate) const FAILED: u8 = 125;
/// The container's command may not be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The container's command does not exist.
pub(crate) const NOT_FOUND: u8 = 127;
/// Whoever read our output is gone: as if by SIGPIPE.
pub(crate) const PIPE: u8 = 128 + 13;

/// Why a command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// For stderr; empty when everything has been said.
    pub message: String,
}

/// The result of commands and their parts.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// With exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// With an exit code and nothing to say.
    pub fn silent(code: u8) -> Self {
        Self { code, message: String::new() }
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// As `run` and `create` report: the program's name before it, advice behind it.
    #[must_use]
    pub fn with_help(self, program: &str, path: &str) -> Self {
        let message =
            format!("{program}: {}\n\nRun '{path} --help' for more information", self.message);
        Self { code: self.code, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Output that cannot be written: a reader that went away is no error worth words.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::silent(PIPE);
        }
        Self::new(error.to_string())
    }
}

/// What the exit code of `run` is when the container could not be started.
pub(crate) fn start_code(message: &str) -> u8 {
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if says(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        NOT_FOUND
    } else if says(&["permission denied", "is a directory"]) {
        NOT_EXECUTABLE
    } else {
        FAILED
    }
}

/// A container's exit code as ours.
pub(crate) fn of_container(code: i64) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(FAILED)
}
