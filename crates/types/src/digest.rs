//! Content digests: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128.
//!
//! Source: OCI image-spec, descriptor.md "Digests". Checked strictly, because digests become file names
//! (CVE-2024-3727 was a digest used as a path without a check).

use std::fmt;
use std::str::FromStr;

/// How a digest was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, what everybody uses.
    Sha256,
    /// SHA-512, registered by the specification and rare.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits follow the colon.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// The name of some bytes by what they are, as in `sha256:9834876d…`.
///
/// The hexadecimal part is safe as a file name: fixed length, only `0-9a-f`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    text: Box<str>,
    algorithm: Algorithm,
}

/// The text is no digest that we accept. The messages are those of Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// No colon, or characters outside of the grammar.
    #[error("invalid checksum digest format")]
    Format,
    /// The number of hexadecimal digits is not the algorithm's.
    #[error("invalid checksum digest length")]
    Length,
    /// Neither sha256 nor sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

impl Digest {
    /// The digest whose value is the 32 bytes that SHA-256 returned.
    pub fn from_sha256(value: &[u8; 32]) -> Self {
        Self::from_bytes(Algorithm::Sha256, value)
    }

    /// The digest whose value is the 64 bytes that SHA-512 returned.
    pub fn from_sha512(value: &[u8; 64]) -> Self {
        Self::from_bytes(Algorithm::Sha512, value)
    }

    /// The sha256 digest with these 64 hexadecimal digits, as in image ids and blob file names.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, InvalidDigest> {
        check_hex(Algorithm::Sha256, hex)?;
        Ok(Self { text: format!("sha256:{hex}").into(), algorithm: Algorithm::Sha256 })
    }

    fn from_bytes(algorithm: Algorithm, value: &[u8]) -> Self {
        let mut text = String::with_capacity(algorithm.as_str().len() + 1 + value.len() * 2);
        text.push_str(algorithm.as_str());
        text.push(':');
        push_hex(&mut text, value);
        Self { text: text.into(), algorithm }
    }

    /// How it was computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hexadecimal part, safe as a file name.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// The first twelve hexadecimal digits, as humans see ids.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let (algorithm, hex) = text.split_once(':').ok_or(InvalidDigest::Format)?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "" => return Err(InvalidDigest::Format),
            _ => return Err(InvalidDigest::Algorithm),
        };
        check_hex(algorithm, hex)?;
        Ok(Self { text: text.into(), algorithm })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_hex(algorithm: Algorithm, hex: &str) -> Result<(), InvalidDigest> {
    if hex.is_empty() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(InvalidDigest::Format);
    }
    if hex.len() != algorithm.hex_len() {
        return Err(InvalidDigest::Length);
    }
    Ok(())
}

/// Appends two lower-case hexadecimal digits a byte.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_digests_parse() {
        let hex = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";
        let check = |text: String, expected: Result<(), InvalidDigest>| {
            assert_eq!(
                text.parse::<Digest>().map(|d| assert_eq!(d.to_string(), text)),
                expected,
                "{text}"
            );
        };
        check(format!("sha256:{hex}"), Ok(()));
        check(format!("sha512:{hex}{hex}"), Ok(()));
        check(format!("sha512:{hex}"), Err(InvalidDigest::Length));
        check(format!("sha256:{}", &hex[1..]), Err(InvalidDigest::Length));
        check(format!("sha256:{}", hex.to_uppercase()), Err(InvalidDigest::Format));
        check("sha256:../../etc/passwd".into(), Err(InvalidDigest::Format));
        check(format!("md5:{hex}"), Err(InvalidDigest::Algorithm));
        check(format!(":{hex}"), Err(InvalidDigest::Format));
        check(hex.into(), Err(InvalidDigest::Format));
        check("sha256:".into(), Err(InvalidDigest::Format));
        check(String::new(), Err(InvalidDigest::Format));
    }

    #[test]
    fn from_bytes_is_hexadecimal() {
        let digest = Digest::from_sha256(&[0xa5; 32]);
        assert_eq!(digest.hex(), "a5".repeat(32));
        assert_eq!(digest.short(), "a5a5a5a5a5a5");
        assert_eq!(digest.as_str().parse(), Ok(digest.clone()));
        assert_eq!(Digest::from_sha256_hex(digest.hex()), Ok(digest));
        assert_eq!(Digest::from_sha512(&[1; 64]).hex().len(), 128);
    }

    #[test]
    fn serde_checks() {
        let json = format!("\"sha256:{}\"", "0".repeat(64));
        let digest: Digest = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), json);
        assert!(serde_json::from_str::<Digest>("\"sha256:/etc\"").is_err());
    }
}
