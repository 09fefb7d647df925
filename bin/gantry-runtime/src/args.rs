//! runc's command line.

use std::path::PathBuf;

/// Options before the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_json: bool,
}

/// The whole line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) global: Global,
    pub(crate) command: Command,
}

/// How a container is made, for create and run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Make {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
}

/// The process of an exec, as options or as a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ExecOptions {
    pub(crate) id: String,
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) tty: bool,
    pub(crate) detach: bool,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Create(Make),
    Run { make: Make, detach: bool, keep: bool },
    Start { id: String },
    State { id: String },
    Kill { id: String, signal: String, all: bool },
    Delete { id: String, force: bool },
    Exec(ExecOptions),
    List { quiet: bool, json: bool },
    Pause { id: String },
    Resume { id: String },
    Ps { id: String },
    Features,
    Version,
    Help,
}

const ROOT: &str = "/run/gantry-runtime";

/// Commands of runc that are not there yet.
const MISSING: [&str; 5] = ["checkpoint", "restore", "events", "update", "spec"];

/// Reads the line without the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Invocation, String> {
    let mut words = Words { rest: arguments.collect::<std::collections::VecDeque<_>>() };
    let mut global = Global { root: PathBuf::from(ROOT), log: None, log_json: false };
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
            "debug" => {}
            "rootless" | "criu" => drop(words.value(option)?),
            "systemd-cgroup" => {
                return Err("the systemd cgroup driver is not supported: use cgroupfs".to_owned());
            }
            "version" | "v" => return Ok(Invocation { global, command: Command::Version }),
            "help" | "h" => return Ok(Invocation { global, command: Command::Help }),
            other => return Err(format!("flag provided but not defined: -{other}")),
        }
    }
    let Some(name) = words.rest.pop_front() else {
        return Ok(Invocation { global, command: Command::Help });
    };
    let command = command(&name, &mut words)?;
    Ok(Invocation { global, command })
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
        "ps" => {
            // runc's form for programs; anything else needs a ps program.
            while let Some(option) = words.option() {
                match option.name.as_str() {
                    "format" | "f" => {
                        if words.value(option)? != "json" {
                            return Err(
                                "ps prints process ids as JSON only: --format json".to_owned()
                            );
                        }
                    }
                    other => return Err(format!("flag provided but not defined: -{other}")),
                }
            }
            Ok(Command::Ps { id: words.id(name)? })
        }
        "kill" => {
            let mut all = false;
            while let Some(option) = words.option() {
                match option.name.as_str() {
                    "all" | "a" => all = true,
                    other => return Err(format!("flag provided but not defined: -{other}")),
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
                    "format" | "f" => json = words.value(option)? == "json",
                    other => return Err(format!("flag provided but not defined: -{other}")),
                }
            }
            words.end()?;
            Ok(Command::List { quiet, json })
        }
        "exec" => exec(words),
        "features" => Ok(Command::Features),
        "help" => Ok(Command::Help),
        missing if MISSING.contains(&missing) => {
            Err(format!("the command {missing:?} is not implemented yet"))
        }
        other => Err(format!("no such command: {other}")),
    }
}

fn make(name: &str, words: &mut Words) -> Result<Command, String> {
    let (mut bundle, mut console_socket, mut pid_file) = (None, None, None);
    let (mut detach, mut keep) = (false, false);
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "bundle" | "b" => bundle = Some(words.value(option)?),
            "console-socket" => console_socket = Some(words.value(option)?),
            "pid-file" => pid_file = Some(words.value(option)?),
            "detach" | "d" if name == "run" => detach = true,
            "keep" if name == "run" => keep = true,
            "no-new-keyring" => return Err("--no-new-keyring is not implemented yet".to_owned()),
            "no-pivot" => {
                return Err(
                    "--no-pivot is not supported: it leaves a way out of the container".to_owned()
                );
            }
            "preserve-fds" => {
                if words.value(option)? != "0" {
                    return Err("--preserve-fds is not implemented yet".to_owned());
                }
            }
            other => return Err(format!("flag provided but not defined: -{other}")),
        }
    }
    let id = words.id(name)?;
    words.end()?;
    let path = |text: Option<String>| text.filter(|t| !t.is_empty()).map(PathBuf::from);
    let make = Make {
        id,
        bundle: path(bundle).unwrap_or_else(|| PathBuf::from(".")),
        console_socket: path(console_socket),
        pid_file: path(pid_file),
    };
    Ok(if name == "create" { Command::Create(make) } else { Command::Run { make, detach, keep } })
}

fn exec(words: &mut Words) -> Result<Command, String> {
    let mut options = ExecOptions::default();
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "process" | "p" => options.process = Some(words.value(option)?.into()),
            "env" | "e" => options.env.push(words.value(option)?),
            "cwd" => options.cwd = Some(words.value(option)?),
            "user" | "u" => options.user = Some(words.value(option)?),
            "tty" | "t" => options.tty = true,
            "detach" | "d" => options.detach = true,
            "console-socket" => options.console_socket = Some(words.value(option)?.into()),
            "pid-file" => options.pid_file = Some(words.value(option)?.into()),
            other => return Err(format!("exec option -{other} is not implemented yet")),
        }
    }
    options.id = words.id("exec")?;
    options.args = words.rest.drain(..).collect();
    if options.args.is_empty() && options.process.is_none() {
        return Err("exec needs a command or --process".to_owned());
    }
    Ok(Command::Exec(options))
}

struct Words {
    rest: std::collections::VecDeque<String>,
}

struct Opt {
    name: String,
    value: Option<String>,
}

impl Words {
    /// The next word if it is an option: one or two dashes, `=value` possibly at its end. `--` ends options.
    fn option(&mut self) -> Option<Opt> {
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

    fn value(&mut self, option: Opt) -> Result<String, String> {
        let missing = || format!("flag needs an argument: -{}", option.name);
        option.value.or_else(|| self.rest.pop_front()).ok_or_else(missing)
    }

    fn id(&mut self, command: &str) -> Result<String, String> {
        self.rest.pop_front().ok_or_else(|| format!("{command} needs a container id"))
    }

    fn end(&self) -> Result<(), String> {
        match self.rest.front() {
            None => Ok(()),
            Some(word) => Err(format!("unexpected argument {word:?}")),
        }
    }

    /// A line of one id and flags without values.
    fn only_id(&mut self, command: &str, known: &[&str]) -> Result<(String, Vec<String>), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, String> {
        parse(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned))
    }

    #[test]
    fn runcs_callers_are_understood() {
        let invocation =
            read("--root /run/x --log /l --log-format json create --bundle /b --pid-file /p id1")
                .unwrap();
        assert_eq!(
            invocation.global,
            Global { root: "/run/x".into(), log: Some("/l".into()), log_json: true }
        );
        let make = |id: &str| Make {
            id: id.into(),
            bundle: "/b".into(),
            console_socket: None,
            pid_file: Some("/p".into()),
        };
        assert_eq!(invocation.command, Command::Create(make("id1")));
        let Command::Run { make: run, detach: true, keep: false } =
            read("run -d -b=/b -pid-file /p x").unwrap().command
        else {
            panic!()
        };
        assert_eq!(run, make("x"));
        let kill = |signal: &str, all| Command::Kill { id: "x".into(), signal: signal.into(), all };
        assert_eq!(read("kill x").unwrap().command, kill("SIGTERM", false));
        assert_eq!(read("kill --all x 9").unwrap().command, kill("9", true));
        assert_eq!(
            read("delete --force x").unwrap().command,
            Command::Delete { id: "x".into(), force: true }
        );
        let Command::Exec(exec) = read("exec -t -e A=1 x sh -c -x").unwrap().command else {
            panic!()
        };
        assert_eq!(
            (exec.tty, exec.args.join(" "), exec.env.join(" ")),
            (true, "sh -c -x".into(), "A=1".into())
        );
        assert_eq!(read("--version").unwrap().command, Command::Version);
        assert_eq!(read("").unwrap().command, Command::Help);
    }

    #[test]
    fn what_is_wrong_or_missing_is_said() {
        for (line, text) in [
            ("create", "create needs a container id"),
            ("create a b", "unexpected argument \"b\""),
            ("create --colour a", "flag provided but not defined: -colour"),
            ("create --bundle", "flag needs an argument: -bundle"),
            ("checkpoint x", "the command \"checkpoint\" is not implemented yet"),
            ("dance", "no such command: dance"),
            (
                "--systemd-cgroup create x",
                "the systemd cgroup driver is not supported: use cgroupfs",
            ),
            ("--log-format xml state x", "invalid log-format: xml"),
            ("exec x", "exec needs a command or --process"),
        ] {
            assert_eq!(read(line).unwrap_err(), text, "{line}");
        }
    }
}
