//! The command line: dockerd's flags.

use crate::config::{self, Config};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use stdx::{Error, Result};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Run the daemon.
    Run(Box<Config>),
    /// Print this and end: help, version, or that the configuration is fine.
    Say(String),
}

fn command(name: &'static str) -> Command {
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(what).help(help)
    };
    let list = |name, what, help| value(name, what, help).action(ArgAction::Append);
    let switch = |name, help| {
        value(name, "BOOL", help).num_args(0..=1).require_equals(true).default_missing_value("true")
    };
    Command::new(name)
        .about("A self-sufficient runtime for containers")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::SetTrue)
                .help("Print version information"),
        )
        .arg(list("host", "LIST", "Daemon socket(s) to connect to").short('H'))
        .arg(value("config-file", "PATH", "Daemon configuration file"))
        .arg(value("data-root", "PATH", "Root directory of persistent state"))
        .arg(value("exec-root", "PATH", "Root directory for execution state files"))
        .arg(value("pidfile", "PATH", "Path to use for daemon PID file").short('p'))
        .arg(value("group", "NAME", "Group for the unix socket").short('G'))
        .arg(switch("debug", "Enable debug mode").short('D'))
        .arg(
            value(
                "log-level",
                "LEVEL",
                "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")",
            )
            .short('l'),
        )
        .arg(list("insecure-registry", "LIST", "Registries that may be spoken to without TLS"))
        .arg(list("registry-mirror", "LIST", "Preferred registry mirror"))
        .arg(list("label", "LIST", "Set key=value labels to the daemon"))
        .arg(switch("live-restore", "Keep containers running when the daemon stops (default true)"))
        .arg(value(
            "default-pids-limit",
            "N",
            "Processes a container may have unless it says otherwise",
        ))
        .arg(switch("tls", "Use TLS; with tcp:// hosts, --tls=false serves them in plain text"))
        .arg(switch("tlsverify", "Use TLS and verify the remote"))
        .arg(switch("validate", "Validate daemon configuration and exit"))
        .arg(switch(
            "cleanup",
            "Remove everything that this daemon made on the host's network, and exit",
        ))
        .arg(
            value("containerd", "PATH", "Accepted for compatibility; Gantry needs no containerd")
                .hide(true),
        )
        .arg(value("containerd-namespace", "NAME", "Accepted for compatibility").hide(true))
        .arg(value("containerd-plugins-namespace", "NAME", "Accepted for compatibility").hide(true))
}

/// Reads the command line and the configuration file.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
    let args: Vec<OsString> = args.into_iter().collect();
    let name =
        args.first().map(std::path::Path::new).and_then(|p| p.file_name()).and_then(|n| n.to_str());
    let name: &'static str = if name == Some("dockerd") { "dockerd" } else { "gantryd" };
    let matches = match command(name).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) if e.use_stderr() => {
            let text = e.render().to_string();
            return Err(Error::invalid(
                text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned(),
            ));
        }
        Err(e) => return Ok(Parsed::Say(e.render().to_string())),
    };
    if matches.get_flag("version") {
        return Ok(Parsed::Say(format!("Gantry version {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let flags = from_matches(&matches)?;
    let validate = bool_of(&matches, "validate")?.unwrap_or(false);
    let config = config::load(flags, name)?;
    if validate {
        return Ok(Parsed::Say("configuration OK\n".to_owned()));
    }
    Ok(Parsed::Run(Box::new(config)))
}

fn from_matches(matches: &ArgMatches) -> Result<config::Flags> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let list =
        |name: &str| matches.get_many::<String>(name).map(|v| v.cloned().collect::<Vec<_>>());
    let mut notices = Vec::new();
    for name in ["containerd", "containerd-namespace", "containerd-plugins-namespace"] {
        if matches.contains_id(name) {
            notices.push(format!("--{name} has no meaning here: Gantry needs no containerd"));
        }
    }
    let pids = text("default-pids-limit")
        .map(|t| {
            t.parse::<i64>()
                .map_err(|_| Error::invalid(format!("invalid --default-pids-limit \"{t}\"")))
        })
        .transpose()?;
    Ok(config::Flags {
        hosts: list("host"),
        config_file: text("config-file").map(Into::into),
        data_root: text("data-root"),
        exec_root: text("exec-root"),
        pidfile: text("pidfile"),
        group: text("group"),
        debug: bool_of(matches, "debug")?,
        log_level: text("log-level"),
        insecure_registries: list("insecure-registry"),
        registry_mirrors: list("registry-mirror"),
        labels: list("label"),
        live_restore: bool_of(matches, "live-restore")?,
        default_pids_limit: pids,
        tls: bool_of(matches, "tls")?,
        tlsverify: bool_of(matches, "tlsverify")?,
        cleanup: bool_of(matches, "cleanup")?.unwrap_or(false),
        notices,
    })
}

/// A switch as Go's flags read it: present, `=true`, `=false`, `=1`, `=0`, `=t`, `=f`.
fn bool_of(matches: &ArgMatches, name: &str) -> Result<Option<bool>> {
    match matches.get_one::<String>(name).map(String::as_str) {
        None => Ok(None),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!(
            "invalid argument \"{other}\" for \"--{name}\" flag: strconv.ParseBool: parsing \"{other}\": invalid syntax"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str]) -> Result<Config> {
        let args = std::iter::once("gantryd").chain(args.iter().copied()).map(OsString::from);
        match parse(args)? {
            Parsed::Run(config) => Ok(*config),
            Parsed::Say(text) => Err(Error::invalid(text)),
        }
    }

    #[test]
    fn dockerds_flags_are_ours() {
        let config = check(&[
            "-H",
            "unix:///tmp/a.sock",
            "-H=unix:///tmp/b.sock",
            "--data-root=/tmp/d",
            "-D",
            "-p",
            "/tmp/p",
        ]);
        let config = config.unwrap();
        assert_eq!(config.hosts, ["unix:///tmp/a.sock", "unix:///tmp/b.sock"]);
        assert_eq!(config.data_root, std::path::Path::new("/tmp/d"));
        assert!(config.debug);
        assert!(!check(&["--debug=false"]).unwrap().debug);
    }

    #[test]
    fn unknown_flags_are_errors() {
        assert!(check(&["--no-such-flag"]).unwrap_err().to_string().contains("--no-such-flag"));
        assert!(check(&["--debug=maybe"]).unwrap_err().to_string().contains("ParseBool"));
    }
}
