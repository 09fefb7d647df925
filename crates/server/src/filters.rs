//! `filters={"name":["a"]}`: what lists, prunes and events are narrowed by.

use crate::query::quoted;
use std::collections::{BTreeMap, BTreeSet};
use stdx::time::Timestamp;
use stdx::{Error, Result};

/// Filter names with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads both shapes that clients send: `{"a":["x"]}` and `{"a":{"x":true}}`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let given: Option<BTreeMap<String, Values>> =
            serde_json::from_str(text).map_err(|_| Error::invalid("invalid filter"))?;
        let given = given.unwrap_or_default().into_iter().map(|(name, values)| {
            let values = match values {
                Values::Set(set) => {
                    set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect()
                }
                Values::List(list) => list.into_iter().collect(),
            };
            (name, values)
        });
        Ok(Self(given.collect()))
    }

    /// Refuses names that the endpoint does not know.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) if name.is_empty() => Err(Error::invalid("invalid filter")),
            Some(name) => Err(Error::invalid(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// The values of a filter; none when it was not given.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// A filter that is true or false; `None` when it was not given.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let mut values = self.values(name);
        let (Some(value), None) = (values.next(), values.next()) else {
            return if self.has(name) { Err(self.invalid(name)) } else { Ok(None) };
        };
        match value {
            "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(self.invalid(name)),
        }
    }

    fn invalid(&self, name: &str) -> Error {
        let values: Vec<&str> = self.values(name).collect();
        Error::invalid(format!("invalid filter '{name}=[{}]'", values.join(" ")))
    }

    /// Whether every `label` matches and no `label!` does.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let matches = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(matches) && !self.values("label!").any(matches)
    }

    /// The moment of `until`: at most one, as a time or as how long ago.
    pub(crate) fn until(&self) -> Result<Option<Timestamp>> {
        let mut values = self.values("until");
        let Some(text) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::invalid("more than one until filter specified"));
        }
        moment_or_ago(text).map(Some)
    }
}

/// Regular expressions of one filter: a text matches if any does, or if none was given. One that cannot be read, or
/// is too large, matches nothing, as in Docker.
#[derive(Debug)]
pub(crate) struct Patterns(Vec<Option<regex_lite::Regex>>);

impl Patterns {
    pub(crate) fn new(filters: &Filters, name: &str) -> Self {
        // The bound keeps a pattern like `(a{1000}){1000}` from taking the daemon's memory.
        let compile =
            |text: &str| regex_lite::RegexBuilder::new(text).size_limit(1 << 16).build().ok();
        Self(filters.values(name).map(compile).collect())
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_empty() || self.0.iter().flatten().any(|pattern| pattern.is_match(text))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a shell pattern (`*`, `?`, `[a-z]`, not across slashes) covers the whole text, as Go's `path.Match`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` must take one more: after it, and the text it ends before.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let stepped = match pattern.get(p) {
            None => t == text.len(),
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(_) => match text.get(t).and_then(|c| one(&pattern[p..], *c)) {
                Some(width) => {
                    p += width;
                    t += 1;
                    continue;
                }
                None => false,
            },
        };
        if stepped {
            return true;
        }
        match retry {
            Some((after, from)) if text.get(from).is_some_and(|c| *c != '/') => {
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern a character satisfies; `None`: it does not.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (c != '/').then_some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|x| *x == ']')? + 1;
            let (negated, set) = match &rest[..end] {
                ['^', set @ ..] => (true, set),
                set => (false, set),
            };
            let mut inside = false;
            let mut i = 0;
            while i < set.len() {
                if set.get(i + 1) == Some(&'-') && i + 2 < set.len() {
                    inside |= (set[i]..=set[i + 2]).contains(&c);
                    i += 3;
                } else {
                    inside |= set[i] == c;
                    i += 1;
                }
            }
            (inside != negated && c != '/').then_some(end + 2)
        }
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

/// `SECONDS[.NANOS]` since 1970, as the API carries moments in queries.
pub(crate) fn moment(text: &str) -> Result<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let invalid = |part: &str| {
        Error::invalid(format!("strconv.ParseInt: parsing {}: invalid syntax", quoted(part)))
    };
    let seconds: i64 = seconds.parse().map_err(|_| invalid(seconds))?;
    if seconds.unsigned_abs() > 253_402_300_799 {
        return Err(Error::invalid(format!("time {} is out of range", quoted(text))));
    }
    let digits = fraction.get(..9.min(fraction.len())).unwrap_or("x");
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(fraction));
    }
    let nanos: u32 = if digits.is_empty() {
        0
    } else {
        format!("{digits:0<9}").parse().map_err(|_| invalid(fraction))?
    };
    Ok(Timestamp::from_unix(seconds, nanos))
}

/// A moment of any shape: `SECONDS[.NANOS]`, RFC 3339, a date, or how long ago (`1h30m`).
pub(crate) fn moment_or_ago(text: &str) -> Result<Timestamp> {
    if let Some(ago) = duration(text) {
        let nanos = Timestamp::now().unix_nanos() - i128::from(ago);
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0);
        return Ok(Timestamp::from_unix(
            seconds,
            u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
        ));
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    match full.parse() {
        Ok(time) => Ok(time),
        Err(_) => moment(text).map_err(|_| {
            Error::invalid(format!("failed to parse value as time or duration: {}", quoted(text)))
        }),
    }
}

/// Go's durations, such as `1h30m5.5s`, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        rest = &rest[number..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += value * unit;
        rest = &rest[end..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "in range, and truncation is what is wanted"
    )]
    (total > 0.0 && total < 9e18).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Filters {
        Filters::parse(text).unwrap()
    }

    #[test]
    fn both_shapes_are_read() {
        let list = parse(r#"{"name":["a","b"]}"#);
        assert_eq!(list, parse(r#"{"name":{"a":true,"b":true,"c":false}}"#));
        assert_eq!(list.values("name").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(parse("null"), parse(""));
        for bad in ["x", "[]", r#"{"a":5}"#, r#"{"a":[5]}"#] {
            assert_eq!(Filters::parse(bad).expect_err(bad).message(), "invalid filter");
        }
        assert_eq!(list.only(&["id"]).expect_err("unknown").message(), "invalid filter 'name'");
    }

    #[test]
    fn flags() {
        assert_eq!(parse(r#"{"dangling":["true"]}"#).flag("dangling").unwrap(), Some(true));
        assert_eq!(parse("{}").flag("dangling").unwrap(), None);
        let error = parse(r#"{"is-task":["x"]}"#).flag("is-task").expect_err("x");
        assert_eq!(error.message(), "invalid filter 'is-task=[x]'");
    }

    #[test]
    fn labels() {
        let labels =
            BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        let check = |text: &str| parse(text).labels(&labels);
        assert!(check(r#"{"label":["a"]}"#) && check(r#"{"label":["a=1","b"]}"#) && check("{}"));
        assert!(!check(r#"{"label":["a=2"]}"#) && !check(r#"{"label":["a","c"]}"#));
        assert!(!check(r#"{"label!":["a"]}"#) && check(r#"{"label!":["a=2"]}"#));
    }

    #[test]
    fn names_are_regular_expressions() {
        let patterns = Patterns::new(&parse(r#"{"name":["^/?web-[0-9]+$"]}"#), "name");
        assert!(
            patterns.matches("web-12") && patterns.matches("/web-1") && !patterns.matches("web-x")
        );
        let check = |text: &str| Patterns::new(&parse(text), "name").matches("a");
        assert!(!check(r#"{"name":["("]}"#), "a half matches nothing");
        assert!(check(r#"{"name":["(", "a"]}"#), "and hinders nothing");
        assert!(!check(r#"{"name":["((((a{100}){100}){100}){100}){100}"]}"#), "too large");
    }

    #[test]
    fn globs() {
        let check = |pattern: &str, text: &str, wanted| {
            assert_eq!(glob(pattern, text), wanted, "{pattern} {text}");
        };
        check("busy*", "busybox", true);
        check("*", "a/b", false);
        check("*/b", "a/b", true);
        check("*b*x", "busybox", true);
        check("b?sy", "busy", true);
        check("[a-c]usy[^x]", "busyb", true);
        check("[a-c]usy", "dusy", false);
        check("a\\*", "a*", true);
        check("", "", true);
        check("a*", "", false);
        check("[", "[", false);
        check(&"*a".repeat(60), &"a".repeat(2000), true);
        check(&format!("{}b", "*a".repeat(60)), &"a".repeat(2000), false);
    }

    #[test]
    fn moments() {
        assert_eq!(moment("5").unwrap(), Timestamp::from_unix(5, 0));
        assert_eq!(moment("5.05").unwrap(), Timestamp::from_unix(5, 50_000_000));
        assert_eq!(moment("5.0000000019").unwrap(), Timestamp::from_unix(5, 1));
        for bad in ["", "x", "1.x", "99999999999999", "1.é", "--5"] {
            moment(bad).expect_err(bad);
        }
        assert_eq!(moment_or_ago("2023-01-02").unwrap(), "2023-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(
            moment_or_ago("2023-01-02T03:04:05").unwrap(),
            "2023-01-02T03:04:05Z".parse().unwrap()
        );
        let ago = moment_or_ago("1h30m").unwrap();
        let wanted = Timestamp::now().unix_seconds() - 5400;
        assert!((ago.unix_seconds() - wanted).abs() <= 1);
    }
}
