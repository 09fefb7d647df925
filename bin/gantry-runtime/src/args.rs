//! runc's command line.

mod exec;
mod update;
mod words;

use std::path::PathBuf;

use oci::runtime::Resources;

pub(crate) use exec::ExecOptions;
use words::{Opt, Words};

/// Options before the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_json: bool,
    pub(crate) debug: bool,
}

/// The whole line.
#[derive(Debug, PartialEq)]
pub(crate) struct Invocation {
    pub(crate) global: Global,
    pub(crate) command: Command,
}

/// How a container is made, for create and run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Make {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program keeps.
    pub(crate) preserve_fds: u32,
    /// It shares our session keyring.
    pub(crate) no_new_keyring: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Create(Make),
    Run { make: Make, detach: bool, keep: bool },
    Start { id: String },
    State { id: String },
    Kill { id: String, signal: String, all: bool },
    Delete { id: String, force: bool },
    Exec(Box<ExecOptions>),
    List { quiet: bool, json: bool },
    Pause { id: String },
    Resume { id: String },
    Ps { id: String, json: bool, args: Vec<String> },
    Update { id: String, file: Option<PathBuf>, resources: Box<Resources> },
    Events { id: String, once: bool, interval: u64 },
    Spec { bundle: PathBuf, rootless: bool },
    Features,
    Version,
    Help,
}

const ROOT: &str = "/run/gantry-runtime";

/// Reads the line without the program's name. `environment` gives a variable's value.
pub(crate) fn parse(
    arguments: impl Iterator<Item = String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Invocation, (Global, String)> {
    let mut words = Words { rest: arguments.collect() };
    let mut global = Global { root: root(&environment), log: None, log_json: false, debug: false };
    match invocation(&mut words, &mut global) {
        Ok(command) => Ok(Invocation { global, command }),
        Err(text) => Err((global, text)),
    }
}

/// Where state is kept unless `--root` says so: beside others' run-time files, or among one's own without root.
fn root(environment: impl Fn(&str) -> Option<String>) -> PathBuf {
    let own = environment("XDG_RUNTIME_DIR").filter(|d| d.starts_with('/'));
    match own {
        Some(own) if !rustix::process::geteuid().is_root() => {
            PathBuf::from(own).join("gantry-runtime")
        }
        _ => PathBuf::from(ROOT),
    }
}

fn invocation(words: &mut Words, global: &mut Global) -> Result<Command, String> {
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "root" => global.root = words.value(option)?.into(),
            "log" => {
                global.log = Some(words.value(option)?.into())
                    .filter(|p: &PathBuf| !p.as_os_str().is_empty());
            }
            "log-format" => {
                global.log_json = match words.value(option)?.as_str() {
                    "json" => true,
                    "text" | "" => false,
                    other => return Err(format!("invalid log-format: {other}")),
                };
            }
            "debug" => global.debug = option.is_set(),
            // What it decides in runc is found out here: whether one may do what root may.
            "rootless" => match words.value(option)?.as_str() {
                "auto" | "true" | "false" => {}
                other => return Err(format!("invalid value {other:?} for --rootless")),
            },
            "criu" => drop(words.value(option)?),
            "systemd-cgroup" if option.is_set() => {
                return Err("the systemd cgroup driver is not supported: use cgroupfs".to_owned());
            }
            "systemd-cgroup" => {}
            "version" | "v" => return Ok(Command::Version),
            "help" | "h" => return Ok(Command::Help),
            _ => return Err(unknown(&option)),
        }
    }
    match words.rest.pop_front() {
        Some(name) => command(&name, words),
        None => Ok(Command::Help),
    }
}

fn command(name: &str, words: &mut Words) -> Result<Command, String> {
    match name {
        "create" | "run" => make(name, words),
        "start" => Ok(Command::Start { id: words.only_id(name, &[])?.0 }),
        "state" => Ok(Command::State { id: words.only_id(name, &[])?.0 }),
        "delete" => {
            let (id, flags) = words.only_id(name, &["force", "f"])?;
            Ok(Command::Delete { id, force: !flags.is_empty() })
        }
        "pause" => Ok(Command::Pause { id: words.only_id(name, &[])?.0 }),
        "resume" => Ok(Command::Resume { id: words.only_id(name, &[])?.0 }),
        "ps" => ps(words),
        "kill" => {
            let mut all = false;
            while let Some(option) = words.option() {
                match option.name.as_str() {
                    "all" | "a" => all = true,
                    _ => return Err(unknown(&option)),
                }
            }
            let id = words.id(name)?;
            let signal = words.rest.pop_front().unwrap_or_else(|| "SIGTERM".to_owned());
            words.end()?;
            Ok(Command::Kill { id, signal, all })
        }
        "list" => {
            let (mut quiet, mut json) = (false, false);
            while let Some(option) = words.option() {
                match option.name.as_str() {
                    "quiet" | "q" => quiet = true,
                    "format" | "f" => json = format(words, option)?,
                    _ => return Err(unknown(&option)),
                }
            }
            words.end()?;
            Ok(Command::List { quiet, json })
        }
        "exec" => exec::parse(words).map(Box::new).map(Command::Exec),
        "update" => update::parse(words),
        "events" => events(words),
        "spec" => spec(words),
        "features" => Ok(Command::Features),
        "help" => Ok(Command::Help),
        "checkpoint" | "restore" => {
            Err(format!("{name} is not supported: containers are not checkpointed"))
        }
        other => Err(format!("no such command: {other}")),
    }
}

fn make(name: &str, words: &mut Words) -> Result<Command, String> {
    let mut make = Make { bundle: PathBuf::from("."), ..Make::default() };
    let (mut detach, mut keep) = (false, false);
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "bundle" | "b" => make.bundle = words.path(option)?.unwrap_or_else(|| ".".into()),
            "console-socket" => make.console_socket = words.path(option)?,
            "pidfd-socket" => make.pidfd_socket = words.path(option)?,
            "pid-file" => make.pid_file = words.path(option)?,
            "detach" | "d" if name == "run" => detach = option.is_set(),
            "keep" if name == "run" => keep = option.is_set(),
            // Nobody of the container's processes becomes our child.
            "no-subreaper" => {}
            "no-new-keyring" => make.no_new_keyring = option.is_set(),
            "no-pivot" if option.is_set() => {
                return Err(
                    "--no-pivot is not supported: it leaves a way out of the container".to_owned()
                );
            }
            "no-pivot" => {}
            "preserve-fds" => make.preserve_fds = words.number(option)?,
            _ => return Err(unknown(&option)),
        }
    }
    make.id = words.id(name)?;
    words.end()?;
    Ok(if name == "create" { Command::Create(make) } else { Command::Run { make, detach, keep } })
}

fn ps(words: &mut Words) -> Result<Command, String> {
    let mut json = false;
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "format" | "f" => json = format(words, option)?,
            _ => return Err(unknown(&option)),
        }
    }
    let id = words.id("ps")?;
    Ok(Command::Ps { id, json, args: words.rest.drain(..).collect() })
}

fn events(words: &mut Words) -> Result<Command, String> {
    let (mut once, mut interval) = (false, 5);
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "stats" => once = option.is_set(),
            "interval" => interval = seconds(&words.value(option)?)?,
            _ => return Err(unknown(&option)),
        }
    }
    let id = words.id("events")?;
    words.end()?;
    Ok(Command::Events { id, once, interval })
}

fn spec(words: &mut Words) -> Result<Command, String> {
    let (mut bundle, mut rootless) = (PathBuf::from("."), false);
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "bundle" | "b" => bundle = words.path(option)?.unwrap_or_else(|| ".".into()),
            "rootless" => rootless = option.is_set(),
            _ => return Err(unknown(&option)),
        }
    }
    words.end()?;
    Ok(Command::Spec { bundle, rootless })
}

/// Whether JSON is wanted.
fn format(words: &mut Words, option: Opt) -> Result<bool, String> {
    match words.value(option)?.as_str() {
        "json" => Ok(true),
        "table" | "" => Ok(false),
        _ => Err("invalid format option".to_owned()),
    }
}

/// A duration of Go's, in whole seconds and at least one: `5s`, `1m30s`, `500ms`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid value {text:?} for flag -interval");
    let (mut rest, mut milliseconds) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let unit = units.iter().find(|(unit, _)| rest[digits..].starts_with(unit));
        let (unit, factor) = unit.ok_or_else(wrong)?;
        milliseconds = number
            .checked_mul(*factor)
            .and_then(|n| n.checked_add(milliseconds))
            .ok_or_else(wrong)?;
        rest = &rest[digits + unit.len()..];
    }
    match milliseconds {
        0 => Err("duration interval must be greater than 0".to_owned()),
        n => Ok(n.div_ceil(1000)),
    }
}

fn unknown(option: &Opt) -> String {
    format!("flag provided but not defined: -{}", option.name)
}

#[cfg(test)]
mod tests;
