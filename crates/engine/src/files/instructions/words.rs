//! The words of Dockerfile instructions: quotes, escapes, variables.

use std::iter::Peekable;
use std::str::Chars;
use stdx::{Error, Result};

/// `["a","b"]` as its words; `None` for what is no JSON list of texts.
pub(super) fn json_list(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The words of a text, quotes and escapes still in them: white space in quotes, or behind a backslash, divides nothing.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', quote) if quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// `name=value …`, or the old form `name value`, which takes the whole rest. Quotes are still in them.
pub(super) fn assignments(instruction: &str, text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text);
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid(format!("{instruction} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::invalid(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))),
    };
    words.into_iter().map(pair).collect()
}

/// Words with everything expanded.
pub(super) fn expanded_words(text: &str, env: &[String]) -> Result<Vec<String>> {
    words(text).iter().map(|word| expand(word, env)).collect()
}

/// Takes quotes and escapes off and puts variables in. Only variables of the image are there, never our own.
pub(super) fn expand(text: &str, env: &[String]) -> Result<String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut in_double = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !in_double => {
                let mut closed = false;
                for c in chars.by_ref() {
                    if c == '\'' {
                        closed = true;
                        break;
                    }
                    out.push(c);
                }
                if !closed {
                    return Err(Error::invalid(
                        "unexpected end of statement while looking for matching single-quote",
                    ));
                }
            }
            '"' => in_double = !in_double,
            '\\' => match chars.next() {
                // In double quotes a backslash counts only before what it can take its meaning from.
                Some(c) if in_double && !matches!(c, '"' | '$' | '\\') => out.extend(['\\', c]),
                Some(c) => out.push(c),
                None => out.push('\\'),
            },
            '$' => out.push_str(&variable(&mut chars, env)?),
            c => out.push(c),
        }
    }
    if in_double {
        return Err(Error::invalid(
            "unexpected end of statement while looking for matching double-quote",
        ));
    }
    Ok(out)
}

/// What stands behind a `$`: `NAME`, `{NAME}`, `{NAME:-default}`, `{NAME:+other}`.
fn variable(chars: &mut Peekable<Chars<'_>>, env: &[String]) -> Result<String> {
    let value = |name: &str| {
        let entry = env.iter().find(|e| e.split('=').next() == Some(name));
        entry.and_then(|e| e.split_once('=')).map(|(_, value)| value.to_owned())
    };
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if chars.next_if_eq(&'{').is_none() {
        let mut name = String::new();
        while let Some(c) = chars.next_if(is_name) {
            name.push(c);
        }
        return Ok(if name.is_empty() { "$".to_owned() } else { value(&name).unwrap_or_default() });
    }
    let mut inside = String::new();
    let mut closed = false;
    for c in chars.by_ref() {
        if c == '}' {
            closed = true;
            break;
        }
        inside.push(c);
    }
    let end = inside.find(|c| !is_name(&c)).unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(end);
    let found = value(name).filter(|value| !value.is_empty());
    match modifier {
        _ if !closed || name.is_empty() => {
            Err(Error::invalid(format!("syntax error: missing '}}' or bad name in ${{{inside}")))
        }
        "" => Ok(found.unwrap_or_default()),
        _ if modifier.starts_with(":-") => match found {
            Some(value) => Ok(value),
            None => expand(&modifier[2..], env),
        },
        _ if modifier.starts_with(":+") => match found {
            Some(_) => expand(&modifier[2..], env),
            None => Ok(String::new()),
        },
        _ => Err(Error::invalid(format!("unsupported modifier ({modifier}) in substitution"))),
    }
}

/// A Go duration such as `1h30m`, in nanoseconds; the error is Go's.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if total >= 9e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range, and truncation is wanted")]
    Ok((total * sign) as i64)
}
