//! A request's query: pairs, read with Docker's habits.

use std::borrow::Cow;
use stdx::{Error, Result};

/// The pairs of a query string, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?.into_owned(), decode(value, true)?.into_owned()))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    /// The first value of `name`; empty when it is not there, as Go's `FormValue` says it.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub(crate) fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.texts(name).next().is_some()
    }

    /// Everything is true but nothing, `0`, `no`, `false` and `none`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.text(name).trim();
        !(value.is_empty()
            || value == "0"
            || ["no", "false", "none"].iter().any(|word| value.eq_ignore_ascii_case(word)))
    }

    /// A flag that is true unless it is there and says otherwise.
    pub(crate) fn flag_or_true(&self, name: &str) -> bool {
        !self.has(name) || self.flag(name)
    }

    /// A number; `None` when it is not there or empty.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        match self.text(name) {
            "" => Ok(None),
            text => parse_number(text).map(Some),
        }
    }
}

/// Go's `strconv.Atoi` with its error.
pub(crate) fn parse_number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| {
        let problem = if text.trim_start_matches(['-', '+']).bytes().all(|b| b.is_ascii_digit())
            && text.bytes().any(|b| b.is_ascii_digit())
        {
            "value out of range"
        } else {
            "invalid syntax"
        };
        Error::invalid(format!("strconv.Atoi: parsing {}: {problem}", quoted(text)))
    })
}

/// A text as Go's `%q` shows it, cut to a length that fits an error.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(128).collect::<String>())
}

/// Undoes percent-encoding, and in queries `+` for a space.
pub(crate) fn decode(text: &str, plus: bool) -> Result<Cow<'_, str>> {
    if !text.bytes().any(|b| b == b'%' || plus && b == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        match first {
            b'+' if plus => out.push(b' '),
            b'%' => {
                let digit = |i: usize| rest.get(i).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    let shown: String = std::iter::once('%')
                        .chain(rest.iter().take(2).map(|b| char::from(*b)))
                        .collect();
                    return Err(Error::invalid(format!("invalid URL escape {}", quoted(&shown))));
                };
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                bytes = &rest[2..];
            }
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| Error::invalid("the URL is no UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let query = Query::parse("name=a%2Fb&x=1+2&flag&name=second&&=v").unwrap();
        assert_eq!((query.text("name"), query.text("x"), query.text("none")), ("a/b", "1 2", ""));
        assert_eq!(query.texts("name").collect::<Vec<_>>(), ["a/b", "second"]);
        assert!(query.has("flag") && !query.has("other"));
        for bad in ["a=%", "a=%2", "a=%zz", "a=%ff"] {
            Query::parse(bad).expect_err(bad);
        }
        assert_eq!(
            Query::parse("a=%zz").expect_err("an error").message(),
            "invalid URL escape \"%zz\""
        );
    }

    #[test]
    fn flags_are_true_but_for_a_few_words() {
        let query = Query::parse("a=1&b=true&c=yes&d=0&e=False&f=none&g=&h=no&i").unwrap();
        let truths: Vec<bool> = "abcdefghij".chars().map(|c| query.flag(&c.to_string())).collect();
        assert_eq!(truths, [true, true, true, false, false, false, false, false, false, false]);
        assert!(query.flag_or_true("z") && !query.flag_or_true("d"));
    }

    #[test]
    fn numbers_fail_as_in_go() {
        let query = Query::parse("a=5&b=x&c=99999999999999999999").unwrap();
        assert_eq!((query.number("a").unwrap(), query.number("z").unwrap()), (Some(5), None));
        assert_eq!(
            query.number("b").expect_err("x").message(),
            "strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert!(query.number("c").expect_err("large").message().ends_with("value out of range"));
    }
}
