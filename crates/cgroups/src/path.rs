//! Where a group is beneath the root of every hierarchy.

use std::fmt;

use stdx::{Error, Result};

/// A checked relative path such as `gantry/4f1c…`: never empty, never climbing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupPath(String);

impl GroupPath {
    /// Reads a path as `cgroupsPath` has it; a leading `/` means the same as none.
    ///
    /// The systemd form `slice:prefix:name` is refused as not implemented, everything that could leave the hierarchy or
    /// name an interface file as invalid.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let [slice, _, name] = text.split(':').collect::<Vec<_>>()[..]
            && (slice.is_empty() || slice.ends_with(".slice"))
            && !name.is_empty()
        {
            return Err(Error::not_implemented(format!(
                "cgroup path \"{text}\" is for the systemd driver, which is not supported: use the cgroupfs driver"
            )));
        }
        let invalid = |why| Err(Error::invalid(format!("invalid cgroup path \"{text}\": {why}")));
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return invalid("it names the root of the hierarchy");
        }
        for part in inner.split('/') {
            match part {
                "" => return invalid("it has an empty component"),
                "." | ".." => return invalid("it is not a plain path"),
                _ if part.len() > 255 => return invalid("a component is longer than 255 bytes"),
                // The kernel refuses a newline in names; the others would end or change a line of our own files.
                _ if part.bytes().any(|b| b == 0 || b == b'\n' || b == b'\\') => {
                    return invalid("it has a forbidden character");
                }
                _ => {}
            }
        }
        Ok(Self(inner.to_owned()))
    }

    /// The whole path.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The paths above, outermost first, without the group itself.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Kind;

    #[test]
    fn good_paths_become_relative() {
        for (text, expected) in [
            ("gantry/ab", "gantry/ab"),
            ("/gantry/ab", "gantry/ab"),
            ("/a/b/c/", "a/b/c"),
            ("a:b/c:d", "a:b/c:d"),
        ] {
            assert_eq!(GroupPath::parse(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for text in ["", "/", "//", "a//b", "..", "a/../b", "./a", "a/.", "a\nb", "a\0b", "/../x"] {
            assert_eq!(
                GroupPath::parse(text).unwrap_err().kind(),
                Kind::InvalidArgument,
                "{text:?}"
            );
        }
    }

    #[test]
    fn systemd_paths_are_refused_as_such() {
        for text in ["system.slice:docker:4f", ":gantry:4f"] {
            let error = GroupPath::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::NotImplemented);
            assert!(error.to_string().contains("systemd driver"), "{error}");
        }
    }

    #[test]
    fn parents_are_outermost_first() {
        let path = GroupPath::parse("a/b/c").unwrap();
        assert_eq!(path.parents().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(GroupPath::parse("a").unwrap().parents().count(), 0);
    }
}
