//! Files that flags name: `--env-file`, `--label-file`, `--security-opt seccomp=FILE`.

use crate::env::Env;
use crate::exit::{Failure, Result};
use crate::flags::Matches;
use crate::json_text::compact;
use std::collections::BTreeMap;
use std::path::Path;

/// Go's words for an operating system's error.
fn go_error(doing: &str, path: &str, error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    format!("{doing} {path}: {plain}")
}

/// The container's environment: files, then flags; a name alone takes the client's value.
pub(crate) fn environment(matches: &Matches, env: &Env, directory: &Path) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for path in matches.list("env-file") {
        for line in lines(&path, directory)? {
            match (line.split_once('='), env.lookup(&line)) {
                (Some(_), _) => variables.push(line),
                (None, Some(value)) => variables.push(format!("{line}={value}")),
                // A name alone in a file that the client does not have either is left out.
                (None, None) => {}
            }
        }
    }
    for variable in matches.list("env") {
        match (variable.contains('='), env.lookup(&variable)) {
            (false, Some(value)) => variables.push(format!("{variable}={value}")),
            // A name alone tells the daemon to take the variable out of the image's.
            _ => variables.push(variable),
        }
    }
    Ok(variables)
}

/// Labels: files, then flags.
pub(super) fn labels(matches: &Matches, directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for path in matches.list("label-file") {
        for line in lines(&path, directory)? {
            if let Some((name, value)) = line.split_once('=') {
                labels.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    for label in matches.list("label") {
        let (name, value) = label.split_once('=').unwrap_or((&label, ""));
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// The lines that say something, checked.
fn lines(path: &str, directory: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(directory.join(path))
        .map_err(|e| Failure::new(go_error("open", path, &e)))?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut lines = Vec::new();
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).map_err(|_| {
            Failure::new(format!(
                "invalid env file ({path}): invalid utf8 bytes at line {}: {line:?}",
                number + 1
            ))
        })?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        let wrong = |what: String| Failure::new(format!("invalid env file ({path}): {what}"));
        if name.is_empty() {
            return Err(wrong(format!("no variable name on line '{line}'")));
        }
        if name.contains(char::is_whitespace) {
            return Err(wrong(format!("variable '{name}' contains whitespaces")));
        }
        lines.push(line.to_owned());
    }
    Ok(lines)
}

/// Security options with seccomp profiles read in, and whether `systempaths=unconfined` was among them.
pub(super) fn security_opts(options: &[String], directory: &Path) -> Result<(Vec<String>, bool)> {
    let mut kept = Vec::new();
    let mut bare = false;
    for option in options {
        let (name, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
            Some(pair) => pair,
            None if option == "no-new-privileges" => (option.as_str(), ""),
            None => return Err(Failure::new(format!("Invalid --security-opt: {option:?}"))),
        };
        match (name, value) {
            ("systempaths", "unconfined") => bare = true,
            ("seccomp", "unconfined" | "builtin") => kept.push(option.clone()),
            ("seccomp", path) => {
                let text = std::fs::read_to_string(directory.join(path)).map_err(|e| {
                    Failure::new(format!(
                        "opening seccomp profile ({path}) failed: {}",
                        go_error("open", path, &e)
                    ))
                })?;
                let profile = compact(&text).map_err(|e| {
                    Failure::new(format!(
                        "compacting json for seccomp profile ({path}) failed: {e}"
                    ))
                })?;
                kept.push(format!("seccomp={profile}"));
            }
            _ => kept.push(option.clone()),
        }
    }
    Ok((kept, bare))
}
