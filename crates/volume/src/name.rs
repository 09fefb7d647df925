//! Names of volumes.

use std::fmt;
use std::str::FromStr;

/// A volume's name: it is one path component by construction, never `.` or `..`, and at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is no name of a volume. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// One character is too little (so that `-v a:/b` on other systems can be a drive letter).
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    Short,
    /// A character that is not allowed there.
    #[error(
        "{0:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    Characters(String),
    /// Longer than a file name can be.
    #[error("volume name is too long, names should be at most 255 characters")]
    Long,
}

impl Name {
    /// The name of an anonymous volume: 64 hexadecimal digits of 32 random bytes.
    pub fn anonymous(random: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in random {
            write!(text, "{byte:02x}").expect("a String takes everything");
        }
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() == 1 {
            return Err(InvalidName::Short);
        }
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !first || !rest {
            return Err(InvalidName::Characters(text.chars().take(300).collect()));
        }
        if text.len() > 255 {
            return Err(InvalidName::Long);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<InvalidName> for stdx::Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ab", "a.b", "data_1", "0-", "a..b", &"a".repeat(255)] {
            assert_eq!(good.parse::<Name>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".a", "..", "-a", "_a", "a/b", "a b", "ä1", "a\0", "a\n", "../x"] {
            assert!(matches!(bad.parse::<Name>(), Err(InvalidName::Characters(_))), "{bad:?}");
        }
        assert_eq!("a".parse::<Name>(), Err(InvalidName::Short));
        assert_eq!("a".repeat(256).parse::<Name>(), Err(InvalidName::Long));
        assert_eq!(
            "a b".parse::<Name>().unwrap_err().to_string(),
            "\"a b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path"
        );
    }

    #[test]
    fn anonymous_names_are_64_hexadecimal_digits() {
        let name = Name::anonymous(&[0xab; 32]);
        assert_eq!(name.as_str(), "ab".repeat(32));
        assert_eq!(name.as_str().parse::<Name>(), Ok(name));
    }
}
