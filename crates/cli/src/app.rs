//! One invocation: global flags, the command that was meant, and what commands share.

use crate::commands;
use crate::config::ConfigFile;
use crate::contexts::Store;
use crate::env::Env;
use crate::exit::{FAILED, Failure, Result};
use crate::flags::{Command, Flag, Kind, Matches, Problem, help};
use crate::host::{self, Asked};
use crate::output;
use client::{Client, Options};
use std::cell::OnceCell;
use std::path::PathBuf;

/// What a command is given.
#[derive(Debug)]
pub struct App {
    /// `gantry`, or `docker` when it was called by that name.
    pub program: String,
    /// The environment.
    pub env: Env,
    pub(crate) asked: Asked,
    pub(crate) debug: bool,
    pub(crate) config_directory: PathBuf,
    config: OnceCell<ConfigFile>,
}

/// The flags before the command.
pub(crate) const GLOBAL: &[Flag] = &[
    Flag::text("config", "Location of client config files").default("\"~/.docker\""),
    Flag::text(
        "context",
        "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with \
         \"docker context use\")",
    )
    .short('c'),
    Flag::switch("debug", "Enable debug mode").short('D'),
    Flag::new("host", Kind::LIST, "Daemon socket to connect to").short('H'),
    Flag::text("log-level", "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")")
        .short('l')
        .default("\"info\""),
    Flag::switch("tls", "Use TLS; implied by --tlsverify"),
    Flag::text("tlscacert", "Trust certs signed only by this CA").default("\"~/.docker/ca.pem\""),
    Flag::text("tlscert", "Path to TLS certificate file").default("\"~/.docker/cert.pem\""),
    Flag::text("tlskey", "Path to TLS key file").default("\"~/.docker/key.pem\""),
    Flag::switch("tlsverify", "Use TLS and verify the remote"),
    Flag::switch("version", "Print version information and quit").short('v'),
];

/// Runs one invocation. `args` begin with the program's name. The number is the exit code.
pub(crate) fn run(args: &[String], env: Env) -> u8 {
    let program = program_name(args.first().map(String::as_str).unwrap_or_default());
    let outcome = dispatch(&program, args.get(1..).unwrap_or_default(), env);
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::complain(&failure.message);
            }
            failure.code
        }
    }
}

/// `docker` when called by that name, `gantry` otherwise.
fn program_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name == "docker" { "docker" } else { "gantry" }.to_owned()
}

fn dispatch(program: &str, args: &[String], env: Env) -> Result<u8> {
    let (globals, used) = match Matches::parse_leading(GLOBAL, args) {
        Ok(parsed) => parsed,
        Err(Problem::Help | Problem::ShortHelp) => return print_top_help(program),
        Err(Problem::Flag(message) | Problem::Arguments(message, _)) => {
            let usage = format!("{program} [OPTIONS] COMMAND [ARG...]");
            return Err(usage_failure(&message, program, &usage, "Run").with_code(FAILED));
        }
    };
    if globals.is("version") {
        output::print(&format!("{}\n", commands::version::one_line(program)))?;
        return Ok(0);
    }
    let level = globals.get("log-level").unwrap_or("info");
    if !["debug", "info", "warn", "warning", "error", "fatal", "panic", "trace"].contains(&level) {
        return Err(Failure::new(format!("Unable to parse logging level: {level}")));
    }
    let rest = &args[used..];
    let Some(word) = rest.first() else { return print_top_help(program) };
    if word == "help" {
        return explain(program, &rest[1..]);
    }
    let app = App::new(program, env, &globals);
    match commands::find(word, rest.get(1).map(String::as_str)) {
        commands::Found::Command { command, words } => {
            let path = format!("{program} {}", canonical(command, words));
            app.execute(command, &path, &rest[words..])
        }
        commands::Found::Group(group) => app.group(group, &rest[1..]),
        commands::Found::NotYet(path) => Err(Failure::new(format!(
            "{program}: 'docker {path}' is not there yet (see docs/compat.tsv)"
        ))),
        commands::Found::Unknown => Err(unknown(program, word)),
    }
}

/// The name under which a command's messages know it: its own, not an alias.
fn canonical(command: &Command, words: usize) -> String {
    if words == 1 { command.top.to_owned() } else { format!("{} {}", command.group, command.name) }
}

fn explain(program: &str, words: &[String]) -> Result<u8> {
    let Some(word) = words.first() else { return print_top_help(program) };
    match commands::find(word, words.get(1).map(String::as_str)) {
        commands::Found::Command { command, words } => {
            let path = format!("{program} {}", canonical(command, words));
            output::print(&help::command(program, &path, command, help_width()))?;
            Ok(0)
        }
        commands::Found::Group(group) => {
            output::print(&commands::group_help(program, group))?;
            Ok(0)
        }
        commands::Found::NotYet(path) => Err(Failure::new(format!(
            "{program}: 'docker {path}' is not there yet (see docs/compat.tsv)"
        ))),
        commands::Found::Unknown => {
            Err(Failure::new(format!("unknown help topic: {}", words.join(" "))))
        }
    }
}

fn print_top_help(program: &str) -> Result<u8> {
    let flags: Vec<&Flag> = GLOBAL.iter().collect();
    output::print(&commands::top_help(program, &help::options(flags, help_width())))?;
    Ok(0)
}

fn unknown(program: &str, word: &str) -> Failure {
    Failure::new(format!(
        "{program}: unknown command: {program} {word}\n\nRun '{program} --help' for more information"
    ))
}

fn usage_failure(message: &str, path: &str, usage: &str, word: &str) -> Failure {
    Failure::new(format!(
        "{message}\n\nUsage:  {usage}\n\n{word} '{path} --help' for more information"
    ))
}

/// One less than the terminal has, so that no line wraps by itself.
fn help_width() -> usize {
    sys::tty::size(std::io::stdin()).ok().map_or(80, |size| usize::from(size.columns)).max(1) - 1
}

impl App {
    fn new(program: &str, env: Env, globals: &Matches) -> Self {
        let config_directory =
            match globals.get("config").map(str::to_owned).or_else(|| env.get("DOCKER_CONFIG")) {
                Some(directory) => PathBuf::from(directory),
                None => env.home().join(".docker"),
            };
        Self {
            program: program.to_owned(),
            asked: Asked::new(globals, &env, &config_directory),
            debug: globals.is("debug"),
            env,
            config_directory,
            config: OnceCell::new(),
        }
    }

    fn execute(&self, command: &'static Command, path: &str, args: &[String]) -> Result<u8> {
        let usage = help::usage_line(path, command);
        let matches = match Matches::parse(command, args, path) {
            Ok(matches) => matches,
            Err(Problem::Help) => {
                output::print(&help::command(&self.program, path, command, help_width()))?;
                return Ok(0);
            }
            Err(Problem::ShortHelp) => {
                output::print("Flag shorthand -h has been deprecated, use --help\n")?;
                output::print(&help::command(&self.program, path, command, help_width()))?;
                return Ok(0);
            }
            Err(Problem::Flag(message)) => {
                return Err(usage_failure(&message, path, &usage, "Run").with_code(FAILED));
            }
            Err(Problem::Arguments(message, word)) => {
                let message = format!("{}: '{path}' {message}", self.program);
                return Err(usage_failure(&message, path, &usage, word));
            }
        };
        for notice in &matches.notices {
            output::print(&format!("{notice}\n"))?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on((command.run)(self, &matches));
        // Nothing is taken apart that the end of the process takes apart at once, and a thread that still resolves a name
        // must not hold it up.
        std::mem::forget(runtime);
        outcome
    }

    fn group(&self, group: &'static commands::Group, rest: &[String]) -> Result<u8> {
        let path = format!("{} {}", self.program, group.name);
        match rest.first().map(String::as_str) {
            // Asked for it is an answer, otherwise it is advice.
            None => {
                output::complain(commands::group_help(&self.program, group).trim_end());
                Ok(0)
            }
            Some("--help" | "-h") => {
                output::print(&commands::group_help(&self.program, group))?;
                Ok(0)
            }
            Some(flag) if flag.starts_with('-') => {
                let message = format!("unknown flag: {flag}");
                Err(usage_failure(&message, &path, &path, "Run").with_code(FAILED))
            }
            Some(word) => {
                let message = format!("{}: unknown command: {path} {word}", self.program);
                Err(usage_failure(&message, &path, &path, "Run"))
            }
        }
    }

    /// The user's configuration, read when first needed; a broken file is a warning, as in Docker.
    pub fn config(&self) -> &ConfigFile {
        self.config.get_or_init(|| {
            ConfigFile::read(&self.config_directory).unwrap_or_else(|failure| {
                output::complain(&failure.message);
                ConfigFile::default()
            })
        })
    }

    /// Where the user's configuration is.
    pub fn config_file(&self) -> PathBuf {
        self.config_directory.join("config.json")
    }

    /// The user's contexts.
    pub(crate) fn contexts(&self) -> Store {
        Store::new(&self.config_directory)
    }

    /// The name of the context that is meant.
    pub(crate) fn context(&self) -> String {
        host::context(&self.asked, &self.env, self.config())
    }

    /// A client of the daemon that is meant. Nothing is connected yet.
    pub fn client(&self) -> Result<Client> {
        let config = self.config();
        let endpoint = host::choose(&self.asked, &self.env, config, &self.contexts())?;
        let version = match self.env.get("DOCKER_API_VERSION") {
            Some(text) => Some(text.trim_start_matches('v').parse().map_err(|_| {
                Failure::new(format!(
                    "Failed to initialize: DOCKER_API_VERSION {text:?} is no API version"
                ))
            })?),
            None => None,
        };
        let headers = config.http_headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        let user_agent =
            concat!("Gantry-Client/", env!("CARGO_PKG_VERSION"), " (linux)").to_owned();
        Ok(Client::new(Options {
            host: endpoint.host,
            tls: endpoint.tls,
            version,
            user_agent,
            headers,
        }))
    }

    /// The platform that is asked for: the flag, or `DOCKER_DEFAULT_PLATFORM`; empty for the daemon's own.
    pub fn platform(&self, matches: &Matches) -> String {
        let given = matches.get("platform").map(str::to_owned);
        given.or_else(|| self.env.get("DOCKER_DEFAULT_PLATFORM")).unwrap_or_default()
    }

    /// The keys that detach: the flag, the user's configuration, or empty for the default.
    pub fn detach_keys(&self, matches: &Matches) -> String {
        match matches.get("detach-keys") {
            Some(keys) => keys.to_owned(),
            None => self.config().detach_keys.clone(),
        }
    }
}
