//! What `run` and `create` share: arguments → [`RunArgs`] → the body of `POST /containers/create`.
//!
//! ```text
//! Matches (what was typed) ──RunArgs::read, opens the files that flags name──▶ RunArgs ──create_body, pure──▶ body
//! ```
//! `tests/golden/create.json` holds what Docker's client 28.2 sends for 86 command lines; a test compares.

mod args;
mod body;
pub(crate) mod devices;
mod files;
pub(crate) mod flags;
mod modes;
pub(crate) mod mounts;
pub(crate) mod network;
mod ports;

#[cfg(test)]
mod tests;

pub(crate) use args::refuse_windows;
pub use args::{Pull, RunArgs};
pub use body::create_body;
pub(crate) use body::size;
pub(crate) use files::environment;
pub(crate) use modes::restart_policy;

/// Splits a line of comma-separated values in which a field may be quoted, as `--mount` takes it.
pub(crate) fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut inside = quoted;
            loop {
                let end = inside.find('"').ok_or(
                    "parse error on line 1, column 1: extraneous or missing \" in quoted-field",
                )?;
                field.push_str(&inside[..end]);
                inside = &inside[end + 1..];
                match inside.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        inside = more;
                    }
                    None => break,
                }
            }
            fields.push(field);
            match inside.strip_prefix(',') {
                Some(next) => rest = next,
                None if inside.is_empty() => return Ok(fields),
                None => {
                    return Err(
                        "parse error on line 1, column 1: extraneous or missing \" in quoted-field"
                            .into(),
                    );
                }
            }
        } else {
            let (field, next) =
                rest.split_once(',').map_or((rest, None), |(field, next)| (field, Some(next)));
            if field.contains('"') {
                return Err("parse error on line 1, column 1: bare \" in non-quoted-field".into());
            }
            fields.push(field.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
        }
    }
}
