//! Why a container or a process in it could not be made, also as bytes: most errors happen in the child.

use std::fmt;
use std::io;

use stdx::{Classify, Kind};

/// An error of this crate. Texts that users and tools know are runc's, since Docker shows those.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The specification asks for what can never be.
    #[error("{0}")]
    Invalid(String),
    /// The specification asks for what is not there yet.
    #[error("{0}")]
    NotImplemented(String),
    /// The user or group cannot be made out in the container.
    #[error("{0}")]
    User(String),
    /// The program does not exist in the container (exit code 127).
    #[error("{0}")]
    ProgramNotFound(String),
    /// The program cannot be executed (exit code 126).
    #[error("{0}")]
    ProgramNotExecutable(String),
    /// The process ended before it could execute its program.
    #[error("{0}")]
    Ended(String),
    /// A hook failed.
    #[error("{0}")]
    Hook(String),
    /// The system refused a step.
    #[error("{step}: {cause}")]
    System {
        /// What was being done, with the path: `mount proc at /proc`.
        step: String,
        /// The system's number of the error, 0 if it has none.
        errno: i32,
        /// The system's words.
        cause: String,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::User(_) => Kind::InvalidArgument,
            Self::NotImplemented(_) => Kind::NotImplemented,
            Self::ProgramNotFound(_) => Kind::NotFound,
            Self::ProgramNotExecutable(_) => Kind::Forbidden,
            Self::Ended(_) | Self::Hook(_) => Kind::Internal,
            Self::System { errno, .. } => {
                stdx::error::kind_of_io(&io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl From<Error> for stdx::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<stdx::Error> for Error {
    fn from(error: stdx::Error) -> Self {
        match error.kind() {
            Kind::InvalidArgument => Self::Invalid(error.to_string()),
            Kind::NotImplemented => Self::NotImplemented(error.to_string()),
            kind => {
                let errno =
                    if kind == Kind::NoSpace { rustix::io::Errno::NOSPC.raw_os_error() } else { 0 };
                let cause =
                    std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Self::System { step: error.message().to_owned(), errno, cause }
            }
        }
    }
}

impl Error {
    /// The step that failed, and how.
    pub(crate) fn system(step: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let errno = sys::mount::errno(&error);
        let cause = if error.raw_os_error().is_some() { words(&error) } else { error.to_string() };
        Self::System { step: step.into(), errno: errno.unwrap_or(0), cause }
    }

    /// One byte of kind, four of errno, length of the first text, first text, second text.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (tag, errno, first, second) = match self {
            Self::Invalid(text) => (0, 0, text, ""),
            Self::NotImplemented(text) => (1, 0, text, ""),
            Self::User(text) => (2, 0, text, ""),
            Self::ProgramNotFound(text) => (3, 0, text, ""),
            Self::ProgramNotExecutable(text) => (4, 0, text, ""),
            Self::Ended(text) => (5, 0, text, ""),
            Self::System { step, errno, cause } => (6, *errno, step, cause.as_str()),
            Self::Hook(text) => (7, 0, text, ""),
        };
        let mut bytes = vec![tag];
        bytes.extend(errno.to_ne_bytes());
        bytes.extend(u32::try_from(first.len()).unwrap_or(0).to_ne_bytes());
        bytes.extend(first.bytes());
        bytes.extend(second.bytes());
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes); `None` for bytes that it did not make.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let (errno, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (first, second) =
            rest.split_at_checked(u32::from_ne_bytes(*length).try_into().ok()?)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let first = text(first);
        Some(match tag {
            0 => Self::Invalid(first),
            1 => Self::NotImplemented(first),
            2 => Self::User(first),
            3 => Self::ProgramNotFound(first),
            4 => Self::ProgramNotExecutable(first),
            5 => Self::Ended(first),
            6 => {
                Self::System { step: first, errno: i32::from_ne_bytes(*errno), cause: text(second) }
            }
            7 => Self::Hook(first),
            _ => return None,
        })
    }
}

/// Says which step of the kernel's failed.
pub(crate) trait Step<T> {
    /// Turns the system's error into ours, with the step.
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Step<T> for std::result::Result<T, E> {
    fn step<S: Into<String>>(self, step: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::system(step(), e))
    }
}

/// The system's words for an error as Docker's users know them: without a capital and without the number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    let mut chars = text.chars();
    match chars.next() {
        // "I/O error" keeps its capital.
        Some(first) if chars.as_str().starts_with(|c: char| c.is_ascii_lowercase() || c == ' ') => {
            fmt::format(format_args!("{}{}", first.to_ascii_lowercase(), chars.as_str()))
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_way_to_the_parent() {
        let all = [
            Error::Invalid("a".into()),
            Error::NotImplemented("b".into()),
            Error::User("c".into()),
            Error::ProgramNotFound("exec: \"foo\": executable file not found in $PATH".into()),
            Error::ProgramNotExecutable(String::new()),
            Error::Ended("e".into()),
            Error::Hook("h".into()),
            Error::system("mount proc at /proc", rustix::io::Errno::PERM),
        ];
        for error in all {
            let bytes = error.to_bytes();
            assert_eq!(Error::from_bytes(&bytes).as_ref(), Some(&error));
            for cut in 0..9.min(bytes.len()) {
                assert_eq!(Error::from_bytes(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn the_systems_words_are_dockers() {
        let text = |errno: i32| words(&io::Error::from_raw_os_error(errno));
        assert_eq!(text(2), "no such file or directory");
        assert_eq!(text(13), "permission denied");
        assert_eq!(text(8), "exec format error");
        assert_eq!(text(20), "not a directory");
        assert!(!text(5).contains("os error"));
        let error = Error::system("mount /a at /b", rustix::io::Errno::NOTDIR);
        assert_eq!(error.to_string(), "mount /a at /b: not a directory");
    }
}
