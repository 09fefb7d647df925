//! A session with a client: command lines and what came of them, as a text file that a person can read and compare.

use crate::normalise::normalise;
use std::path::{Path, PathBuf};
use testkit::{Client, Output};

/// One command line and what it did, normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As in the list.
    pub line: String,
    /// The exit code.
    pub code: i32,
    /// What was printed.
    pub stdout: String,
    /// What was complained about.
    pub stderr: String,
}

/// The folder with the list and the recorded transcripts.
pub fn folder() -> PathBuf {
    testkit::root().join("tests/compat")
}

/// A session: a list of command lines for a daemon of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// All but networks.
    Commands,
    /// Networks.
    Networks,
}

impl Session {
    /// Every session.
    pub const ALL: [Self; 2] = [Self::Commands, Self::Networks];

    /// Its list.
    pub fn list(self) -> &'static str {
        match self {
            Self::Commands => "commands.txt",
            Self::Networks => "networks.txt",
        }
    }

    /// Where it was recorded with a client of this version.
    pub fn recorded(self, version: &str) -> PathBuf {
        folder().join(match self {
            Self::Commands => format!("dockerd-26.1-cli-{version}.txt"),
            Self::Networks => format!("networks-26.1-cli-{version}.txt"),
        })
    }
}

/// The command lines of a session.
///
/// # Panics
/// When the list cannot be read.
pub fn lines(session: Session) -> Vec<String> {
    let text = std::fs::read_to_string(folder().join(session.list())).expect("read the list");
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

/// What most of several transcripts of the same session say: dockerd loses output now and then when the machine is busy.
pub fn majority(transcripts: &[Vec<Entry>]) -> Vec<Entry> {
    let mut chosen = Vec::new();
    for number in 0..transcripts.first().map_or(0, Vec::len) {
        let candidates: Vec<&Entry> = transcripts.iter().map(|t| &t[number]).collect();
        let votes = |entry: &Entry| candidates.iter().filter(|c| **c == entry).count();
        chosen.extend(candidates.iter().max_by_key(|c| votes(c)).map(|c| (*c).clone()));
    }
    chosen
}

/// Runs a session.
pub fn record(session: Session, client: &Client, home: &Path) -> Vec<Entry> {
    let lines = lines(session);
    run(client, &lines.iter().map(String::as_str).collect::<Vec<_>>(), home)
}

/// Runs these lines.
pub fn run(client: &Client, lines: &[&str], home: &Path) -> Vec<Entry> {
    let home = home.display().to_string();
    lines.iter().map(|line| entry(client.shell(line), &home)).collect()
}

fn entry(output: Output, home: &str) -> Entry {
    let Output { line, code, stdout, stderr } = output;
    Entry { line, code, stdout: normalise(&stdout, home), stderr: normalise(&stderr, home) }
}

/// The transcript as text.
pub fn write(entries: &[Entry]) -> String {
    let block =
        |mark: &str, text: &str| text.lines().map(|l| format!("{mark}{l}\n")).collect::<String>();
    entries
        .iter()
        .map(|e| {
            format!(
                "$ {}\n{}{}= {}\n\n",
                e.line,
                block("| ", &e.stdout),
                block("! ", &e.stderr),
                e.code
            )
        })
        .collect()
}

/// The transcript from text.
///
/// # Panics
/// When a line is none of a transcript's.
pub fn read(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines().filter(|l| !l.is_empty()) {
        let (mark, rest) = line.split_at(line.len().min(2));
        if mark == "$ " {
            entries.push(Entry {
                line: rest.to_owned(),
                code: 0,
                stdout: String::new(),
                stderr: String::new(),
            });
            continue;
        }
        let entry = entries.last_mut().expect("a transcript begins with a command line");
        match mark.trim_end() {
            "|" => add(&mut entry.stdout, rest),
            "!" => add(&mut entry.stderr, rest),
            "=" => entry.code = rest.parse().expect("an exit code"),
            _ => panic!("no line of a transcript: {line}"),
        }
    }
    entries
}

fn add(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// Where two transcripts differ, each as a readable block, with its command line. A line that was never recorded
/// differs as well.
pub fn differences(expected: &[Entry], got: &[Entry]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (number, entry) in got.iter().enumerate() {
        let mut block = format!("$ {}\n", entry.line);
        // A line that is there several times means something else each time.
        let earlier = got[..number].iter().filter(|e| e.line == entry.line).count();
        match expected.iter().filter(|e| e.line == entry.line).nth(earlier) {
            None => block.push_str("  the reference has not been recorded\n"),
            Some(expected) => {
                side(&mut block, "exit code", &expected.code.to_string(), &entry.code.to_string());
                side(&mut block, "stdout", &expected.stdout, &entry.stdout);
                side(&mut block, "stderr", &expected.stderr, &entry.stderr);
            }
        }
        if block.lines().count() > 1 {
            found.push((entry.line.clone(), block));
        }
    }
    found
}

fn same(expected: &str, got: &str) -> bool {
    expected.trim_end() == got.trim_end()
}

fn side(block: &mut String, what: &str, expected: &str, got: &str) {
    if same(expected, got) {
        return;
    }
    for (mark, text) in [("reference", expected), ("gantry", got)] {
        let text = if text.is_empty() { "(nothing)" } else { text };
        for line in text.lines() {
            block.push_str(&format!("  {what} {mark:>9}: {line}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_survives_being_written() {
        let entry = |line: &str, stdout: &str, stderr: &str, code| Entry {
            line: line.to_owned(),
            code,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        let entries =
            vec![entry("docker ps", "a\n\nb", "", 0), entry("docker x", "", "no\nsuch", 1)];
        assert_eq!(read(&write(&entries)), entries);
    }
}
