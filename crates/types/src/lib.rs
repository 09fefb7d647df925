//! Names that are parsed once and valid forever.
//!
//! Every type here has one way in: its parser. What holds one need not check again, so a digest is safe as a file name and
//! an image reference prints as Docker prints it. Texts of parse errors are Docker's own, as users and tools know them.

#![forbid(unsafe_code)]

pub mod digest;
pub mod egress;
pub mod id;
pub mod platform;
pub mod reference;
pub mod size;

pub use digest::{Algorithm, Digest, InvalidDigest};
pub use egress::{Egress, InvalidEgress};
pub use id::{ContainerId, ContainerName, InvalidContainerId, InvalidContainerName};
pub use platform::{InvalidPlatform, Platform};
pub use reference::{ImageRef, InvalidReference};
pub use size::{ByteSize, InvalidSize};

/// Makes `?` work in everything that returns [`stdx::Result`]: what does not parse is an invalid argument.
macro_rules! invalid_argument {
    ($($error:ty),+) => {$(
        impl stdx::Classify for $error {
            fn kind(&self) -> stdx::Kind {
                stdx::Kind::InvalidArgument
            }
        }

        impl From<$error> for stdx::Error {
            fn from(error: $error) -> Self {
                Self::invalid(error.to_string())
            }
        }
    )+};
}
invalid_argument!(
    InvalidDigest,
    InvalidEgress,
    InvalidContainerId,
    InvalidContainerName,
    InvalidPlatform,
    InvalidReference,
    InvalidSize
);

/// Text in documents, parsed while reading: serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($t:ty),+) => {$(
        impl serde::Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
serde_as_text!(Digest, ContainerId, ContainerName, ImageRef);
