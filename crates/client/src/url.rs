//! Paths and queries of requests.

use std::fmt::Write as _;

/// A path with its query, built piece by piece.
#[derive(Debug)]
pub(crate) struct Target {
    text: String,
    has_query: bool,
}

impl Target {
    /// `/containers/{}/start` with its part filled in; slashes in the part stay, as image names have them.
    pub(crate) fn new(before: &str, part: &str, after: &str) -> Self {
        let mut text = before.to_owned();
        escape(part, b"/:", &mut text);
        text.push_str(after);
        Self { text, has_query: false }
    }

    /// A fixed path.
    pub(crate) fn path(path: &str) -> Self {
        Self { text: path.to_owned(), has_query: false }
    }

    /// Adds `name=value`.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        escape(value, b"", &mut self.text);
        self
    }

    /// Adds `name=value` unless the value is empty.
    pub(crate) fn query_if(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.query(name, value) }
    }

    /// Adds `name=1` when it is so.
    pub(crate) fn flag(self, name: &str, set: bool) -> Self {
        if set { self.query(name, "1") } else { self }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn escape(text: &str, keep: &[u8], out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_paths_keep_slashes() {
        let target = Target::new("/images/", "host:5000/a b:1", "/json")
            .query("x", "a&b=c/d")
            .flag("f", true)
            .flag("g", false);
        assert_eq!(target.as_str(), "/images/host:5000/a%20b:1/json?x=a%26b%3Dc%2Fd&f=1");
        assert_eq!(Target::path("/info").query_if("a", "").as_str(), "/info");
    }
}
