//! `tidy`: what no compiler checks.

use crate::{deps, sh};
use anyhow::{Context as _, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) fn task(_: &[String]) -> Result<ExitCode> {
    let findings = check()?;
    findings.iter().for_each(|f| println!("{f}"));
    println!("tidy: {} findings", findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that is not as it should be.
pub(crate) fn check() -> Result<Vec<String>> {
    let files =
        sh::output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])?;
    let mut findings = deps::check()?;
    for file in files.lines().map(PathBuf::from) {
        let Ok(text) = std::fs::read_to_string(sh::root().join(&file)) else { continue };
        findings.extend(source(&file, &text));
    }
    findings.extend(compat()?);
    findings.extend(security()?);
    findings.extend(reliability()?);
    findings.extend(flows()?);
    Ok(findings)
}

fn source(file: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut find = |what: &str| findings.push(format!("{}: {what}", file.display()));
    let is_test = file.components().any(|c| c.as_os_str() == "tests") || file.ends_with("tests.rs");
    if !text.starts_with("//!") && !is_test {
        find("no `//!` header that says what the file is about");
    }
    // In two pieces, so that this file does not find itself.
    for banned in [
        concat!("#[ig", "nore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("dbg", "!("),
    ] {
        if text.contains(banned) {
            find(&format!("contains {banned}"));
        }
    }
    findings
}

/// `docs/compat.tsv`: every row has a state, and a `done` row names a test that exists.
fn compat() -> Result<Vec<String>> {
    let path = sh::root().join("docs/compat.tsv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(vec!["docs/compat.tsv is missing".to_owned()]);
    };
    let tests = tests()?;
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, state, proof, ..] = columns[..] else {
            findings
                .push(format!("docs/compat.tsv:{}: expected id, state, test, note", number + 1));
            continue;
        };
        match state {
            "done"
                if proof.split(',').all(|test| tests.contains(test.trim()))
                    && !proof.is_empty() => {}
            "done" => findings.push(format!(
                "docs/compat.tsv: {id} is done, but its test \"{proof}\" does not exist"
            )),
            "partial" | "no" => {}
            other => {
                findings.push(format!("docs/compat.tsv: {id} has the unknown state \"{other}\""))
            }
        }
    }
    Ok(findings)
}

/// The names of all functions and of the tests in scripts.
fn tests() -> Result<HashSet<String>> {
    let sources = sh::output(
        "git",
        &["grep", "-hoE", "fn [a-z0-9_]+|^# test: [a-z0-9_]+", "--", "*.rs", "*.sh"],
    )?;
    Ok(sources.lines().filter_map(|l| l.rsplit(' ').next()).map(str::to_owned).collect())
}

/// `docs/security.tsv`: every class of attack names tests that exist.
fn security() -> Result<Vec<String>> {
    let path = sh::root().join("docs/security.tsv");
    let text = std::fs::read_to_string(&path).context("read docs/security.tsv")?;
    let tests = tests()?;
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [_, _, named, _] = columns[..] else {
            findings.push(format!("docs/security.tsv:{}: expected four columns", number + 1));
            continue;
        };
        for test in named.split(',').filter(|test| !tests.contains(*test)) {
            findings.push(format!("docs/security.tsv:{}: there is no test {test:?}", number + 1));
        }
    }
    Ok(findings)
}

/// `docs/reliability.tsv`: every fault names tests that exist.
fn reliability() -> Result<Vec<String>> {
    let path = sh::root().join("docs/reliability.tsv");
    let text = std::fs::read_to_string(&path).context("read docs/reliability.tsv")?;
    let tests = tests()?;
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [_, named, _] = columns[..] else {
            findings.push(format!("docs/reliability.tsv:{}: expected three columns", number + 1));
            continue;
        };
        for test in named.split(',').filter(|test| !tests.contains(*test)) {
            findings
                .push(format!("docs/reliability.tsv:{}: there is no test {test:?}", number + 1));
        }
    }
    Ok(findings)
}

/// `docs/flows/*.md`: every function they name as `` `name()` `` exists.
fn flows() -> Result<Vec<String>> {
    let folder = sh::root().join("docs/flows");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(vec!["docs/flows is missing".to_owned()]);
    };
    let functions = sh::output("git", &["grep", "-hoE", "fn [a-z0-9_]+", "--", "*.rs"])?;
    let functions: std::collections::HashSet<&str> =
        functions.lines().filter_map(|l| l.strip_prefix("fn ")).collect();
    let mut findings = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for piece in text.split('`').skip(1).step_by(2) {
            let Some(name) = piece.strip_suffix("()") else { continue };
            let name = name.rsplit([':', '.']).next().unwrap_or(name);
            if !functions.contains(name) {
                findings.push(format!("{}: there is no function {name}", path.display()));
            }
        }
    }
    Ok(findings)
}
