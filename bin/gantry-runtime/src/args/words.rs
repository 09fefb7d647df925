//! The words of a command line, as Go's flag package reads them: one or two dashes, `=value` or the next word.

use std::path::PathBuf;
use std::str::FromStr;

/// What is left of the line.
pub(super) struct Words {
    pub(super) rest: std::collections::VecDeque<String>,
}

/// An option, perhaps with its value.
pub(super) struct Opt {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

impl Opt {
    /// Whether a flag without a value of its own, or with `=true`, is set.
    pub(super) fn is_set(&self) -> bool {
        self.value.as_deref() != Some("false")
    }
}

impl Words {
    /// The next word if it is an option: one or two dashes, `=value` possibly at its end. `--` ends options.
    pub(super) fn option(&mut self) -> Option<Opt> {
        let word = self.rest.front()?;
        if word == "--" {
            self.rest.pop_front();
            return None;
        }
        let name = word.strip_prefix('-').filter(|n| !n.is_empty())?;
        let name = name.strip_prefix('-').unwrap_or(name);
        let option = match name.split_once('=') {
            Some((name, value)) => Opt { name: name.to_owned(), value: Some(value.to_owned()) },
            None => Opt { name: name.to_owned(), value: None },
        };
        self.rest.pop_front();
        Some(option)
    }

    pub(super) fn value(&mut self, option: Opt) -> Result<String, String> {
        let missing = || format!("flag needs an argument: -{}", option.name);
        option.value.or_else(|| self.rest.pop_front()).ok_or_else(missing)
    }

    /// The option's value as a path; nothing for an empty one.
    pub(super) fn path(&mut self, option: Opt) -> Result<Option<PathBuf>, String> {
        Ok(Some(self.value(option)?).filter(|t| !t.is_empty()).map(PathBuf::from))
    }

    /// The option's value as a number.
    pub(super) fn number<T: FromStr>(&mut self, option: Opt) -> Result<T, String> {
        let name = option.name.clone();
        let text = self.value(option)?;
        text.parse().map_err(|_| format!("invalid value {text:?} for flag -{name}"))
    }

    /// As [`number`](Self::number), and nothing for an empty value.
    pub(super) fn number_if_any<T: FromStr>(&mut self, option: Opt) -> Result<Option<T>, String> {
        match &option.value {
            Some(text) if text.is_empty() => Ok(None),
            None if self.rest.front().is_some_and(String::is_empty) => {
                self.rest.pop_front();
                Ok(None)
            }
            _ => self.number(option).map(Some),
        }
    }

    pub(super) fn id(&mut self, command: &str) -> Result<String, String> {
        self.rest.pop_front().ok_or_else(|| format!("{command} requires a container id"))
    }

    pub(super) fn end(&self) -> Result<(), String> {
        match self.rest.front() {
            None => Ok(()),
            Some(word) => Err(format!("unexpected argument {word:?}")),
        }
    }

    /// A line of one id and flags without values.
    pub(super) fn only_id(
        &mut self,
        command: &str,
        known: &[&str],
    ) -> Result<(String, Vec<String>), String> {
        let mut flags = Vec::new();
        while let Some(option) = self.option() {
            if !known.contains(&option.name.as_str()) {
                return Err(format!("flag provided but not defined: -{}", option.name));
            }
            flags.push(option.name);
        }
        let id = self.id(command)?;
        self.end()?;
        Ok((id, flags))
    }
}
