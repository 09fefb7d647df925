//! Container ids and names.

use crate::digest::push_hex;
use std::fmt;
use std::str::FromStr;

/// A container's id: 64 lower-case hexadecimal digits, so safe as a file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; 64]);

/// The text is no whole container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no container id (64 lower-case hexadecimal digits)")]
pub struct InvalidContainerId(String);

impl ContainerId {
    /// A new id of 32 random bytes that `fill` supplies.
    ///
    /// Asks again when the short form would be all decimal digits: it is the default hostname, and a hostname that is a
    /// number confuses what parses addresses. Docker does the same.
    pub fn random(mut fill: impl FnMut(&mut [u8; 32])) -> Self {
        let mut bytes = [0; 32];
        loop {
            fill(&mut bytes);
            let id = Self::from_bytes(&bytes);
            if !id.short().bytes().all(|b| b.is_ascii_digit()) {
                return id;
            }
        }
    }

    /// The id with these 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        push_hex(&mut text, bytes);
        let mut id = [0; 64];
        id.copy_from_slice(text.as_bytes());
        Self(id)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII digits are ever put in")
    }

    /// The first twelve digits: what humans see, and the default hostname.
    pub fn short(&self) -> &str {
        &self.as_str()[..12]
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;

    fn from_str(text: &str) -> Result<Self, InvalidContainerId> {
        let wrong = || InvalidContainerId(text.chars().take(80).collect());
        let id: [u8; 64] = text.as_bytes().try_into().map_err(|_| wrong())?;
        if !id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        Ok(Self(id))
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container's name, without the slash that the Engine API puts before it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(Box<str>);

/// The text is no container name; the message is Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct InvalidContainerName(String);

impl ContainerName {
    /// The name alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = InvalidContainerName;

    /// At least two characters, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`; one slash before it is allowed and dropped, as in Docker.
    fn from_str(text: &str) -> Result<Self, InvalidContainerName> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let (first, rest) = name.as_bytes().split_first().unwrap_or((&0, &[]));
        let valid = first.is_ascii_alphanumeric()
            && !rest.is_empty()
            && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !valid {
            return Err(InvalidContainerName(text.to_owned()));
        }
        Ok(Self(name.into()))
    }
}

impl AsRef<str> for ContainerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_never_a_number_in_short() {
        let mut calls = 0;
        let id = ContainerId::random(|bytes| {
            calls += 1;
            *bytes = if calls == 1 { [0x12; 32] } else { [0xab; 32] };
        });
        assert_eq!(calls, 2);
        assert_eq!(id.short(), "abababababab");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_are_whole_and_lower_case() {
        assert!("a".repeat(64).parse::<ContainerId>().is_ok());
        for bad in
            ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65), &"../a".repeat(16)]
        {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        for good in ["ab", "a1", "web-1", "A_b.c-d", "/web", "00"] {
            assert_eq!(
                good.parse::<ContainerName>().unwrap().as_str(),
                good.trim_start_matches('/')
            );
        }
        for bad in
            ["", "a", "/", "-ab", "_ab", ".ab", "a b", "a/b", "//ab", "ä1", "ab\n", "a:b", "a\0b"]
        {
            assert_eq!(
                bad.parse::<ContainerName>().unwrap_err().to_string(),
                format!(
                    "Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )
            );
        }
    }
}
