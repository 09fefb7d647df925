//! Why an archive is not read on.

use std::io;
use stdx::{Classify, Kind};

/// What is wrong with an archive, and where its entry begins.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no archive, or the archive contradicts itself.
    #[error("invalid tar header at byte {at}: {why}")]
    Invalid {
        /// Offset of the entry's header.
        at: u64,
        /// In words.
        why: String,
    },
    /// Readers in the field disagree about this; so nobody shall be shown anything.
    #[error("ambiguous tar header at byte {at}: {why}")]
    Ambiguous {
        /// Offset of the entry's header.
        at: u64,
        /// In words.
        why: String,
    },
    /// A kind of entry that a container image or build context cannot have.
    #[error("unsupported tar entry at byte {at}: {why}")]
    Unsupported {
        /// Offset of the entry's header.
        at: u64,
        /// In words.
        why: String,
    },
    /// One of [`Limits`](crate::Limits) is exceeded.
    #[error("tar entry at byte {at} has {what} over the limit of {limit}")]
    TooLarge {
        /// Offset of the entry's header.
        at: u64,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The archive ends in the middle.
    #[error("tar archive ends inside the entry at byte {at}")]
    Truncated {
        /// Offset of the entry's header.
        at: u64,
    },
    /// Reading or writing failed.
    #[error("{doing}")]
    Io {
        /// "read archive" or "write archive".
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => stdx::error::kind_of_io(source),
            Self::Invalid { .. }
            | Self::Ambiguous { .. }
            | Self::Unsupported { .. }
            | Self::TooLarge { .. }
            | Self::Truncated { .. } => Kind::InvalidArgument,
        }
    }
}

impl From<Error> for stdx::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { doing, source } => Self::io(doing, source),
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
