//! Errors that know what they mean at the edge.
//!
//! A [`Kind`] is what a caller may decide on; `server` has the only table from kinds to HTTP status codes. The text is
//! for the human, written where the fact is known, and it is Docker's own where users or tools know it.

use std::fmt;
use std::io;

/// What an error means to whoever must decide about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing named does not exist (404).
    NotFound,
    /// The request can never succeed as it is (400).
    InvalidArgument,
    /// The state of the thing, or a name in use, forbids it now (409).
    Conflict,
    /// The request asks for what is so already (304).
    NotModified,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// It is known who asks, and the answer is no (403).
    Forbidden,
    /// Not there yet; `docs/compat.tsv` lists it (501).
    NotImplemented,
    /// Somebody else's service fails or this one shuts down; asking again later may help (503).
    Unavailable,
    /// A deadline passed (504).
    Timeout,
    /// Data on disk or on the wire is not what it claims to be (500).
    DataLoss,
    /// No space, no quota, no descriptors (507, as a 500 for old clients).
    NoSpace,
    /// Everything else (500).
    Internal,
}

/// An error that can say its [`Kind`].
pub trait Classify {
    /// The kind that the edge shall answer with.
    fn kind(&self) -> Kind;
}

/// The error of contracts and use cases: a kind, a text, and what caused it.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync + 'static>>,
}

/// `std::result::Result` with [`Error`] as its error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a text for the human.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// [`Kind::NotFound`] with a text.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// [`Kind::InvalidArgument`] with a text.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, message)
    }

    /// [`Kind::Conflict`] with a text.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// [`Kind::NotImplemented`] with a text.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(Kind::NotImplemented, message)
    }

    /// [`Kind::Internal`] with a text.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// An input/output error with what was being done, as in `Error::io("open /etc/passwd", e)`.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self { kind: kind_of_io(&source), message: doing.into(), source: Some(Box::new(source)) }
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What the error means at the edge.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The text alone, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The kind that an operating system's error stands for when nothing better is known.
pub fn kind_of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        io::ErrorKind::TimedOut => Kind::Timeout,
        _ => Kind::Internal,
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    /// The text with its causes, `: ` between them, as Docker prints chains.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(error) = cause {
            if self.message.is_empty() {
                write!(f, "{error}")?;
            } else {
                write!(f, ": {error}")?;
            }
            // Our own errors print their causes themselves.
            cause = if error.is::<Self>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self { kind: kind_of_io(&source), message: source.to_string(), source: None }
    }
}

/// Says what was being done when a result turned out to be an error.
pub trait Context<T> {
    /// Puts `doing()` before the error, which becomes the cause.
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::io(doing(), e))
    }
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Self {
        self.map_err(|e| Error { kind: e.kind, message: doing().into(), source: Some(Box::new(e)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_printed_once_each() {
        let inner = Error::io("open /x", io::Error::from_raw_os_error(2));
        let outer: Result<()> = Err(inner);
        let text = outer.context(|| "start container").expect_err("an error").to_string();
        assert_eq!(text, "start container: open /x: No such file or directory (os error 2)");
    }

    #[test]
    fn context_keeps_the_kind() {
        let error = Err::<(), _>(Error::not_found("No such image: x"))
            .context(|| "run")
            .expect_err("an error");
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[test]
    fn a_full_disk_is_no_space() {
        assert_eq!(Error::io("write", io::Error::from_raw_os_error(28)).kind(), Kind::NoSpace);
    }
}
