//! What happens during pull and load, for whoever watches. The server renders it as Docker's JSON stream.

use types::Digest;

/// One thing that happened. Texts of `Display` are Docker's status lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The registry answered; `id` of the line is `tag` (or the digest pulled by).
    PullingFrom {
        /// Tag or digest.
        tag: String,
        /// The repository's path, `library/busybox`.
        repository: String,
    },
    /// Something about one layer; `id` is the first twelve digits of its blob (pull) or diff id (load).
    Layer {
        /// Which.
        id: String,
        /// What.
        step: LayerStep,
    },
    /// The digest that the reference stands for.
    Digest(Digest),
    /// Pull is done.
    Status {
        /// The reference in its familiar form.
        reference: String,
        /// Whether the name means another image than before.
        newer: bool,
    },
    /// Load made an image with this name.
    LoadedName(String),
    /// Load made an image without name.
    LoadedId(Digest),
    /// Load took a name from another image.
    Renamed {
        /// The name in its familiar form.
        reference: String,
        /// The image that had it.
        old: Digest,
    },
    /// Not an error, and worth a line.
    Warning(String),
}

/// What happens to one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerStep {
    /// It will be fetched.
    PullingFsLayer,
    /// Others come first.
    Waiting,
    /// Bytes arrive.
    Downloading {
        /// Bytes here.
        current: u64,
        /// Bytes of all.
        total: u64,
    },
    /// All bytes are here.
    VerifyingChecksum,
    /// They are the right ones.
    DownloadComplete,
    /// They become files.
    Extracting {
        /// Bytes of the archive unpacked.
        current: u64,
        /// Bytes of all.
        total: u64,
    },
    /// It is here.
    PullComplete,
    /// It was here.
    AlreadyExists,
    /// Load reads it.
    Loading {
        /// Bytes read.
        current: u64,
        /// Bytes of all.
        total: u64,
    },
}

impl LayerStep {
    /// Docker's word for it.
    pub fn status(&self) -> &'static str {
        match self {
            Self::PullingFsLayer => "Pulling fs layer",
            Self::Waiting => "Waiting",
            Self::Downloading { .. } => "Downloading",
            Self::VerifyingChecksum => "Verifying Checksum",
            Self::DownloadComplete => "Download complete",
            Self::Extracting { .. } => "Extracting",
            Self::PullComplete => "Pull complete",
            Self::AlreadyExists => "Already exists",
            Self::Loading { .. } => "Loading layer",
        }
    }

    /// Current and total bytes, where there are any.
    pub fn detail(&self) -> Option<(u64, u64)> {
        match self {
            Self::Downloading { current, total }
            | Self::Extracting { current, total }
            | Self::Loading { current, total } => Some((*current, *total)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PullingFrom { repository, .. } => write!(f, "Pulling from {repository}"),
            Self::Layer { step, .. } => f.write_str(step.status()),
            Self::Digest(digest) => write!(f, "Digest: {digest}"),
            Self::Status { reference, newer: true } => {
                write!(f, "Status: Downloaded newer image for {reference}")
            }
            Self::Status { reference, newer: false } => {
                write!(f, "Status: Image is up to date for {reference}")
            }
            Self::LoadedName(name) => write!(f, "Loaded image: {name}"),
            Self::LoadedId(id) => write!(f, "Loaded image ID: {id}"),
            Self::Renamed { reference, old } => write!(
                f,
                "The image {reference} already exists, renaming the old one with ID {old} to empty string"
            ),
            Self::Warning(text) => write!(f, "WARNING: {text}"),
        }
    }
}

/// Somebody who watches. Called often and from several tasks: return at once.
pub trait Progress: Send + Sync {
    /// It happened.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Progress for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_dockers() {
        let check = |event: Event, line: &str| assert_eq!(event.to_string(), line);
        let id = Digest::from_sha256(&[0xab; 32]);
        check(
            Event::PullingFrom { tag: "latest".into(), repository: "library/busybox".into() },
            "Pulling from library/busybox",
        );
        check(Event::Layer { id: "x".into(), step: LayerStep::Waiting }, "Waiting");
        check(
            Event::Status { reference: "busybox:latest".into(), newer: true },
            "Status: Downloaded newer image for busybox:latest",
        );
        check(
            Event::Status { reference: "busybox:latest".into(), newer: false },
            "Status: Image is up to date for busybox:latest",
        );
        check(Event::LoadedName("a:b".into()), "Loaded image: a:b");
        check(Event::LoadedId(id.clone()), &format!("Loaded image ID: {id}"));
        check(Event::Digest(id.clone()), &format!("Digest: {id}"));
    }
}
