//! Keys and names: checked once, then safe as a file name and inside a mount option.

use std::fmt;
use std::str::FromStr;
use stdx::{Classify, Error, Kind};

/// The longest key or name in bytes: a digest in hex is 64, a file name may be 255.
const MAX: usize = 128;

/// Names an active snapshot or a view; usually a container's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// Names a committed snapshot; usually a chain id in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The text cannot be a key or a name: `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}` is expected.
///
/// Commas, colons and backslashes would be read as syntax by the kernel's overlay options; dots and slashes as paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid snapshot name \"{0}\": only [A-Za-z0-9][A-Za-z0-9_.-] up to {MAX} bytes are allowed"
)]
pub struct InvalidName(String);

impl Classify for InvalidName {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

fn check(text: &str) -> Result<String, InvalidName> {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let valid = bytes.len() <= MAX
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(plain);
    if valid { Ok(text.to_owned()) } else { Err(InvalidName(text.chars().take(MAX).collect())) }
}

macro_rules! checked {
    ($name:ident) => {
        impl $name {
            /// Checks the text.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
                check(text.as_ref()).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
checked!(Key);
checked!(Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_file_names_pass() {
        for good in ["a", "0", "abc-init", "a.b_c-d", &"f".repeat(128)] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a:b",
            "a,b",
            "a\\b",
            "a b",
            "ä",
            "a\0",
            &"f".repeat(129),
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}
