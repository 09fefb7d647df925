//! The command line: dockerd's flags, read by the rules of `options.rs`.

use crate::config::{self, Config};
use crate::given::Given;
use crate::options::OPTIONS;
use cli::flags::{Flag, Matches, Problem, help};
use std::ffi::OsString;
use std::sync::LazyLock;
use stdx::{Error, Result};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Run the daemon.
    Run(Box<Config>),
    /// Print this on standard output and end: help, version.
    Say(String),
    /// The configuration is fine, which is all that was asked.
    Valid,
}

static FLAGS: LazyLock<Vec<Flag>> =
    LazyLock::new(|| OPTIONS.iter().map(|o| o.flag).filter(|f| !f.long.is_empty()).collect());

/// Reads the command line and the configuration file.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
    let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned());
    let program = args.next().unwrap_or_default();
    // Called by Docker's name it is where Docker's clients look for it.
    let name = if program.rsplit('/').next() == Some("dockerd") { "dockerd" } else { "gantryd" };
    let args: Vec<String> = args.collect();
    let matches = match read(&args) {
        Ok(matches) => matches,
        Err(Problem::Help) => return Ok(Parsed::Say(usage(name))),
        Err(Problem::ShortHelp) => {
            let notice = "Flag shorthand -h has been deprecated, please use --help\n\n";
            return Ok(Parsed::Say(format!("{notice}{}", usage(name))));
        }
        Err(Problem::Flag(text) | Problem::Arguments(text, _)) => {
            return Err(Error::invalid(format!("{text}\nSee '{name} --help'.")));
        }
    };
    if !matches.arguments.is_empty() {
        return Err(Error::invalid(format!(
            "\"{name}\" accepts no argument(s).\nSee '{name} --help'.\n\nUsage:  {name} [OPTIONS]\n\n{ABOUT}"
        )));
    }
    if matches.is("version") {
        return Ok(Parsed::Say(format!("Gantry version {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let config = config::load(Given::from_flags(&matches), name)?;
    if matches.is("validate") {
        if let Some(tls) = &config.tls {
            tls.acceptor()?;
        }
        return Ok(Parsed::Valid);
    }
    Ok(Parsed::Run(Box::new(config)))
}

const ABOUT: &str = "A self-sufficient runtime for containers.";

fn read(args: &[String]) -> Result<Matches, Problem> {
    Matches::parse_leading(&FLAGS, args).map(|(matches, _)| matches)
}

fn usage(name: &str) -> String {
    let width = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(120);
    let mut flags: Vec<&Flag> = FLAGS.iter().filter(|f| !f.hidden).collect();
    let own = Flag::switch("help", "Print usage");
    flags.push(&own);
    format!("Usage:  {name} [OPTIONS]\n\n{ABOUT}\n\nOptions:\n{}", help::options(flags, width))
}

/// For tests of what follows: the flags alone.
#[cfg(test)]
pub(crate) fn matches(args: &[&str]) -> Result<Matches> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    read(&args).map_err(|problem| Error::invalid(format!("{problem:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Shape;

    fn check(args: &[&str]) -> Result<Config> {
        let args = ["gantryd", "--config-file", "/dev/null"].iter().chain(args).map(OsString::from);
        match parse(args)? {
            Parsed::Run(config) => Ok(*config),
            Parsed::Say(text) => Err(Error::invalid(text)),
            Parsed::Valid => Err(Error::invalid("valid")),
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
    fn mistakes_are_told_in_dockerds_words() {
        let says = |args: &[&str], want: &str| {
            let error = check(args).expect_err(want).to_string();
            assert!(error.starts_with(want), "{args:?}: {error}");
        };
        says(&["--nope"], "unknown flag: --nope\nSee 'gantryd --help'.");
        says(&["-z"], "unknown shorthand flag: 'z' in -z\n");
        says(&["foo"], "\"gantryd\" accepts no argument(s).\nSee 'gantryd --help'.");
        says(&["--data-root"], "flag needs an argument: --data-root\n");
        says(
            &["--debug=maybe"],
            "invalid argument \"maybe\" for \"-D, --debug\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        );
        says(
            &["--mtu", "x"],
            "invalid argument \"x\" for \"--mtu\" flag: strconv.ParseInt: parsing \"x\"",
        );
        says(
            &["--label", "foo"],
            "invalid argument \"foo\" for \"--label\" flag: bad attribute format: foo",
        );
        says(
            &["--registry-mirror", "ftp://x"],
            "invalid argument \"ftp://x\" for \"--registry-mirror\" flag: invalid mirror: unsupported scheme \"ftp\"",
        );
        says(
            &["-H", "tcp://1.2.3.4:5/path"],
            "invalid argument \"tcp://1.2.3.4:5/path\" for \"-H, --host\" flag: invalid bind address \
             (tcp://1.2.3.4:5/path): should not contain a path element",
        );
        says(
            &["-H", "tcp://x:y"],
            "invalid argument \"tcp://x:y\" for \"-H, --host\" flag: invalid bind address (tcp://x:y): parse \
             \"tcp://x:y\": invalid port \":y\" after host",
        );
        says(
            &["--add-runtime", "runc=/x"],
            "invalid argument \"runc=/x\" for \"--add-runtime\" flag: runtime name 'runc' is reserved",
        );
        says(
            &["--node-generic-resource", "x"],
            "invalid argument \"x\" for \"--node-generic-resource\" flag: invalid node-generic-resource format `x` \
             expected `name=value`",
        );
        says(&["--validate"], "valid");
    }

    #[test]
    fn help_shows_every_flag() {
        let text = usage("dockerd");
        for option in OPTIONS.iter().filter(|o| !o.flag.long.is_empty() && !o.flag.hidden) {
            assert!(text.contains(&format!("--{}", option.flag.long)), "{}", option.flag.long);
            assert!(!option.flag.usage.is_empty(), "{}", option.flag.long);
        }
        assert!(OPTIONS.iter().all(|o| o.flag.is_switch() == (o.shape == Shape::Switch)));
    }
}
