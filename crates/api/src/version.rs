//! API versions: which are served, and how a request names the one that it speaks.

use std::fmt;
use std::str::FromStr;

/// A version such as 1.45.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// 22 to 47 here.
    pub minor: u16,
}

/// The oldest version that is served: skopeo and buildah of Debian 12 speak it.
pub const MIN: ApiVersion = ApiVersion::v1(22);
/// The newest version that is served; newer clients negotiate down to it.
pub const MAX: ApiVersion = ApiVersion::v1(47);

impl ApiVersion {
    /// Version 1.`minor`.
    pub const fn v1(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Docker's refusal of a version that is not served; `None`: it is.
    ///
    /// `text` is the version as the client wrote it, which the refusal repeats.
    pub fn refusal(self, text: &str) -> Option<String> {
        if self < MIN {
            Some(format!(
                "client version {text} is too old. Minimum supported API version is {MIN}, please upgrade your client to a newer version"
            ))
        } else if self > MAX {
            Some(format!(
                "client version {text} is too new. Maximum supported API version is {MAX}"
            ))
        } else {
            None
        }
    }

    /// Takes the version off a path: `/v1.45/info` → (`Some("1.45")`, `/info`).
    pub fn split_path(path: &str) -> (Option<&str>, &str) {
        if let Some(rest) = path.strip_prefix("/v")
            && let Some(end) = rest.find('/')
            && end > 0
            && rest.as_bytes()[..end].iter().all(|b| b.is_ascii_digit() || *b == b'.')
        {
            return (Some(&rest[..end]), &rest[end..]);
        }
        (None, path)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is no version: it has other characters than digits and dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseVersionError;

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no API version")
    }
}

impl std::error::Error for ParseVersionError {}

impl FromStr for ApiVersion {
    type Err = ParseVersionError;

    /// Digits and dots. What is missing is 0, what is too large counts as the largest, a third part is ignored: a
    /// version that makes no sense is thus too old or too new, which is what its sender should read.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(|part| match part {
            "" => Ok(0),
            _ if part.bytes().all(|b| b.is_ascii_digit()) => Ok(part.parse().unwrap_or(u16::MAX)),
            _ => Err(ParseVersionError),
        });
        let major = parts.next().unwrap_or(Ok(0))?;
        let minor = parts.next().unwrap_or(Ok(0))?;
        Ok(Self { major, minor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off_paths() {
        assert_eq!(ApiVersion::split_path("/v1.45/info"), (Some("1.45"), "/info"));
        assert_eq!(ApiVersion::split_path("/info"), (None, "/info"));
        assert_eq!(ApiVersion::split_path("/volumes/v1"), (None, "/volumes/v1"));
        assert_eq!(ApiVersion::split_path("/version"), (None, "/version"));
        assert_eq!(ApiVersion::split_path("/v1.45"), (None, "/v1.45"));
        assert_eq!(ApiVersion::split_path("/v/info"), (None, "/v/info"));
    }

    #[test]
    fn refusals_are_dockers() {
        let refusal = |text: &str| text.parse::<ApiVersion>().unwrap().refusal(text);
        assert_eq!(
            refusal("1.20").unwrap(),
            "client version 1.20 is too old. Minimum supported API version is 1.22, please upgrade your client to a newer version"
        );
        assert_eq!(
            refusal("1.99").unwrap(),
            "client version 1.99 is too new. Maximum supported API version is 1.47"
        );
        assert!(refusal("1.9").unwrap().contains("too old"), "numbers, not decimals");
        assert!(refusal("1").unwrap().contains("too old"));
        assert!(refusal("999999999999999.0").unwrap().contains("too new"));
        assert_eq!(refusal("1.22"), None);
        assert_eq!(refusal("1.45"), None);
        assert_eq!(refusal("1.47.3"), None);
    }
}
