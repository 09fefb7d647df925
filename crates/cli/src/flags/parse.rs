//! Arguments → [`Matches`], by the rules of pflag and with its words for errors.

use super::check;
use super::{Arity, Command, Flag};
use template::quoted;

/// What was typed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Matches {
    /// Flag by long name, and value, in the order typed.
    values: Vec<(&'static str, String)>,
    /// What is no flag.
    pub arguments: Vec<String>,
    /// What the user is to be told about spellings.
    pub notices: Vec<String>,
    /// How the command was called, `docker container ls`; for messages.
    pub path: String,
}

/// Why arguments cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Help is wanted.
    Help,
    /// Help is wanted by `-h`, which Docker has deprecated.
    ShortHelp,
    /// A flag is wrong; the text is pflag's.
    Flag(String),
    /// There are too many or too few arguments: the text after the command's name, and whether Docker says "See" for it.
    Arguments(String, &'static str),
}

impl Matches {
    /// Reads `args` (without the command's name) by `command`.
    pub fn parse(command: &Command, args: &[String], path: &str) -> Result<Self, Problem> {
        let mut matches = Self { path: path.to_owned(), ..Self::default() };
        let flags: Vec<&'static Flag> = command.all_flags().collect();
        matches.read(&flags, command.interspersed, args)?;
        arity(command.arity, matches.arguments.len())?;
        Ok(matches)
    }

    /// Reads flags only, up to the first argument that is none; returns how many of `args` were used.
    pub fn parse_leading(
        flags: &'static [Flag],
        args: &[String],
    ) -> Result<(Self, usize), Problem> {
        let mut matches = Self::default();
        let flags: Vec<&'static Flag> = flags.iter().collect();
        matches.read(&flags, false, args)?;
        let used = args.len() - matches.arguments.len();
        Ok((matches, used))
    }

    fn read(
        &mut self,
        flags: &[&'static Flag],
        interspersed: bool,
        args: &[String],
    ) -> Result<(), Problem> {
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if let Some(long) = arg.strip_prefix("--") {
                if long.is_empty() {
                    self.arguments.extend(rest.cloned());
                    return Ok(());
                }
                self.long(flags, arg, long, &mut rest)?;
            } else if arg.len() > 1 && arg.starts_with('-') {
                self.short(flags, &arg[1..], &mut rest)?;
            } else {
                self.arguments.push(arg.clone());
                if !interspersed {
                    self.arguments.extend(rest.cloned());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn long<'a>(
        &mut self,
        flags: &[&'static Flag],
        arg: &str,
        long: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), Problem> {
        if long.starts_with(['-', '=']) {
            return Err(Problem::Flag(format!("bad flag syntax: {arg}")));
        }
        let (name, given) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let Some(flag) = flags.iter().find(|f| f.long == name) else {
            return Err(if name == "help" {
                Problem::Help
            } else {
                Problem::Flag(format!("unknown flag: --{name}"))
            });
        };
        if name == "help" {
            return Err(Problem::Help);
        }
        let value = match given {
            Some(value) => value.to_owned(),
            None if flag.is_switch() => "true".to_owned(),
            None => rest
                .next()
                .ok_or_else(|| Problem::Flag(format!("flag needs an argument: --{name}")))?
                .clone(),
        };
        self.set(flags, flag, value)
    }

    fn short<'a>(
        &mut self,
        flags: &[&'static Flag],
        group: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), Problem> {
        let mut left = group;
        while let Some(letter) = left.chars().next() {
            let after = &left[letter.len_utf8()..];
            let Some(flag) = flags.iter().find(|f| f.short == Some(letter)) else {
                if letter == 'h' {
                    return Err(Problem::ShortHelp);
                }
                return Err(Problem::Flag(format!(
                    "unknown shorthand flag: {} in -{left}",
                    go_char(letter)
                )));
            };
            if let Some(value) = after.strip_prefix('=').filter(|_| after.len() > 1) {
                return self.set(flags, flag, value.to_owned());
            }
            if flag.is_switch() {
                self.set(flags, flag, "true".to_owned())?;
                left = after;
                continue;
            }
            let value = if after.is_empty() {
                let missing = || {
                    Problem::Flag(format!("flag needs an argument: {} in -{left}", go_char(letter)))
                };
                rest.next().ok_or_else(missing)?.clone()
            } else {
                after.to_owned()
            };
            return self.set(flags, flag, value);
        }
        Ok(())
    }

    fn set(
        &mut self,
        flags: &[&'static Flag],
        flag: &'static Flag,
        value: String,
    ) -> Result<(), Problem> {
        if flag.deprecated {
            let notice = format!(
                "Flag --{} has been deprecated, use --{} instead",
                flag.long, flag.alias_of
            );
            self.notices.push(notice);
        }
        let flag = if flag.alias_of.is_empty() {
            flag
        } else {
            flags.iter().find(|f| f.long == flag.alias_of).copied().unwrap_or(flag)
        };
        (flag.kind.check)(&value).map_err(|problem| {
            let name = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.long),
                None => format!("--{}", flag.long),
            };
            Problem::Flag(format!(
                "invalid argument {} for {} flag: {problem}",
                quoted(&value),
                quoted(&name)
            ))
        })?;
        self.values.push((flag.long, value));
        Ok(())
    }

    /// Whether the flag was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(n, _)| *n == name)
    }

    /// The last value given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// The last value given, or nothing.
    pub fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// Every value given.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.values.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Every value of a flag whose values are lists with commas ([`super::Kind::STRINGS`]).
    pub fn strings(&self, name: &str) -> Vec<String> {
        // What cannot be split has been refused when it was typed.
        self.list(name)
            .iter()
            .flat_map(|line| check::to_strings(line).unwrap_or_default())
            .collect()
    }

    /// A switch that is off unless given.
    pub fn is(&self, name: &str) -> bool {
        self.is_or(name, false)
    }

    /// A switch.
    pub fn is_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |v| check::to_bool(v).unwrap_or(default))
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|v| check::to_int(v).ok())
    }
}

/// Docker's words about the number of arguments; its word before "'docker x --help'" is "See" or "Run".
fn arity(arity: Arity, count: usize) -> Result<(), Problem> {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    match arity {
        Arity::None if count > 0 => Err(Problem::Arguments("accepts no arguments".into(), "Run")),
        Arity::Exactly(n) if count != n => {
            Err(Problem::Arguments(format!("requires {n} {}", plural(n)), "Run"))
        }
        Arity::AtLeast(n) if count < n => {
            Err(Problem::Arguments(format!("requires at least {n} {}", plural(n)), "See"))
        }
        Arity::AtMost(n) if count > n => {
            Err(Problem::Arguments(format!("requires at most {n} {}", plural(n)), "Run"))
        }
        Arity::Between(low, high) if count < low || count > high => Err(Problem::Arguments(
            format!("requires at least {low} and at most {high} {}", plural(high)),
            "Run",
        )),
        _ => Ok(()),
    }
}

/// Go's `%q` of a character.
fn go_char(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '\\' => "'\\\\'".to_owned(),
        c => format!("'{c}'"),
    }
}
