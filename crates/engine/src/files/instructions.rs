//! `commit --change`: the Dockerfile instructions that change an image's configuration, as text to a configuration. Pure.
//!
//! The rules and texts are Docker's: `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `HEALTHCHECK`, `LABEL`, `ONBUILD`,
//! `STOPSIGNAL`, `USER`, `VOLUME` and `WORKDIR`.

mod words;

use std::path::{Component, Path};
use stdx::{Error, Result};
use store::records::container::{Config, Healthcheck};
use words::{assignments, expand, expanded_words, json_list};

/// Applies instructions, one a line, in their order.
pub(super) fn apply(config: &mut Config, lines: &[String]) -> Result<()> {
    let mut command_was_set = false;
    for line in lines.iter().flat_map(|text| text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (given, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let name = given.to_ascii_uppercase();
        let rest = rest.trim();
        match name.as_str() {
            "CMD" => {
                config.cmd = Some(command(config, rest));
                config.args_escaped = false;
                command_was_set = true;
            }
            "ENTRYPOINT" => {
                config.entrypoint = Some(command(config, rest)).filter(|words| !words.is_empty());
                // The command of before was for another entry point.
                if !command_was_set {
                    config.cmd = None;
                }
            }
            "ENV" => env(config, rest)?,
            "LABEL" => {
                for (key, value) in pairs("LABEL", rest, &config.env)? {
                    config.labels.insert(key, value);
                }
            }
            "EXPOSE" => expose(config, rest)?,
            "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
            "ONBUILD" => on_build(config, rest)?,
            "STOPSIGNAL" => {
                let signal = expand(one("STOPSIGNAL", rest)?, &config.env)?;
                container::signals::parse(&signal)
                    .map_err(|_| Error::invalid(format!("invalid signal: {signal}")))?;
                config.stop_signal = Some(signal);
            }
            "USER" => config.user = expand(one("USER", rest)?, &config.env)?,
            "VOLUME" => volume(config, rest)?,
            "WORKDIR" => {
                let path = expand(one("WORKDIR", rest)?, &config.env)?;
                config.working_dir = joined(&config.working_dir, &path);
            }
            _ => return Err(Error::invalid(format!("{given} is not a valid change command"))),
        }
    }
    Ok(())
}

fn one<'a>(name: &str, rest: &'a str) -> Result<&'a str> {
    if rest.is_empty() {
        return Err(Error::invalid(format!("{name} requires exactly one argument")));
    }
    Ok(rest)
}

fn some(name: &str, rest: &str) -> Result<()> {
    if rest.is_empty() {
        return Err(Error::invalid(format!("{name} requires at least one argument")));
    }
    Ok(())
}

/// A JSON list is the words themselves; anything else is for the shell.
fn command(config: &Config, rest: &str) -> Vec<String> {
    if let Some(words) = json_list(rest) {
        return words;
    }
    let shell = ["/bin/sh", "-c"].map(str::to_owned);
    let mut words = config.shell.clone().unwrap_or_else(|| shell.to_vec());
    words.extend(Some(rest.to_owned()).filter(|text| !text.is_empty()));
    words
}

fn pairs(name: &str, rest: &str, env: &[String]) -> Result<Vec<(String, String)>> {
    some(name, rest)?;
    let pairs = assignments(name, rest)?;
    let expanded = pairs.into_iter().map(|(key, value)| {
        let key = expand(&key, env)?;
        if key.is_empty() {
            return Err(Error::invalid(format!("{name} names can not be blank")));
        }
        Ok((key, expand(&value, env)?))
    });
    expanded.collect()
}

fn env(config: &mut Config, rest: &str) -> Result<()> {
    for (key, value) in pairs("ENV", rest, &config.env)? {
        let entry = format!("{key}={value}");
        let is_same = |old: &&mut String| old.split('=').next() == Some(key.as_str());
        match config.env.iter_mut().find(is_same) {
            Some(old) => *old = entry,
            None => config.env.push(entry),
        }
    }
    Ok(())
}

fn expose(config: &mut Config, rest: &str) -> Result<()> {
    some("EXPOSE", rest)?;
    for word in expanded_words(rest, &config.env)? {
        let (ports, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
            return Err(Error::invalid(format!("Invalid proto: {protocol}")));
        }
        let invalid = || Error::invalid(format!("Invalid containerPort: {ports}"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
        if last < first {
            return Err(invalid());
        }
        for port in first..=last {
            let port = format!("{port}/{protocol}");
            if !config.exposed_ports.contains(&port) {
                config.exposed_ports.push(port);
            }
        }
    }
    Ok(())
}

fn volume(config: &mut Config, rest: &str) -> Result<()> {
    some("VOLUME", rest)?;
    let paths = match json_list(rest) {
        Some(paths) => paths,
        None => expanded_words(rest, &config.env)?,
    };
    for path in paths {
        let path = path.trim().to_owned();
        if path.is_empty() {
            return Err(Error::invalid("VOLUME specified can not be an empty string"));
        }
        if !config.volumes.contains(&path) {
            config.volumes.push(path);
        }
    }
    Ok(())
}

fn on_build(config: &mut Config, rest: &str) -> Result<()> {
    some("ONBUILD", rest)?;
    let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match trigger.as_str() {
        "ONBUILD" => {
            return Err(Error::invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
        }
        "MAINTAINER" | "FROM" => {
            return Err(Error::invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")));
        }
        _ => config.on_build.get_or_insert_default().push(rest.to_owned()),
    }
    Ok(())
}

fn healthcheck(rest: &str) -> Result<Healthcheck> {
    some("HEALTHCHECK", rest)?;
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let place = match name {
            "interval" => &mut check.interval,
            "timeout" => &mut check.timeout,
            "start-period" => &mut check.start_period,
            "start-interval" => &mut check.start_interval,
            "retries" => &mut check.retries,
            _ => return Err(Error::invalid(format!("unknown flag: {name}"))),
        };
        if value.is_empty() {
            return Err(Error::invalid(format!("missing a value on flag: {name}")));
        }
        *place = if name == "retries" { retries(value)? } else { duration(name, value)? };
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(Error::invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if command.is_empty() => {
            return Err(Error::invalid("Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match json_list(command) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        kind => {
            return Err(Error::invalid(format!(
                "Unknown type \"{kind}\" in HEALTHCHECK (try CMD)"
            )));
        }
    };
    Ok(check)
}

fn retries(value: &str) -> Result<i64> {
    match value.parse::<i32>() {
        Ok(number) if number >= 0 => Ok(number.into()),
        Ok(number) => Err(Error::invalid(format!("--retries cannot be negative ({number})"))),
        Err(_) => {
            Err(Error::invalid(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))
        }
    }
}

fn duration(name: &str, value: &str) -> Result<i64> {
    let nanos = words::duration(value).map_err(Error::invalid)?;
    if nanos < 0 || nanos != 0 && nanos < 1_000_000 {
        return Err(Error::invalid(format!("Interval {name:?} cannot be less than 1ms")));
    }
    Ok(nanos)
}

/// A relative path begins at the working directory of before.
fn joined(before: &str, path: &str) -> String {
    let whole = Path::new("/").join(before).join(path);
    let mut clean: Vec<&str> = Vec::new();
    for component in whole.components() {
        match component {
            Component::Normal(name) => clean.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", clean.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: &[&str]) -> Result<Config> {
        let mut config = Config {
            env: vec!["PATH=/bin".to_owned()],
            cmd: Some(vec!["old".to_owned()]),
            working_dir: "/w".to_owned(),
            ..Config::default()
        };
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        apply(&mut config, &lines).map(|()| config)
    }

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn instructions_change_the_configuration() {
        assert_eq!(with(&["CMD [\"a\",\"b\"]"]).unwrap().cmd, list(&["a", "b"]));
        assert_eq!(with(&["cmd echo hi"]).unwrap().cmd, list(&["/bin/sh", "-c", "echo hi"]));
        assert_eq!(with(&["CMD [a]"]).unwrap().cmd, list(&["/bin/sh", "-c", "[a]"]));
        assert_eq!(with(&["CMD"]).unwrap().cmd, list(&["/bin/sh", "-c"]));
        let config = with(&["ENTRYPOINT top -b"]).unwrap();
        assert_eq!((config.cmd, config.entrypoint), (None, list(&["/bin/sh", "-c", "top -b"])));
        let config = with(&["CMD [\"x\"]", "ENTRYPOINT [\"y\"]"]).unwrap();
        assert_eq!((config.cmd, config.entrypoint), (list(&["x"]), list(&["y"])));
        assert_eq!(with(&["ENTRYPOINT []"]).unwrap().entrypoint, None);
        let config =
            with(&["ENV A=1 B=\"two words\"", "ENV a b c", "ENV P=$PATH:${NO:-x}"]).unwrap();
        assert_eq!(config.env, ["PATH=/bin", "A=1", "B=two words", "a=b c", "P=/bin:x"]);
        let labels = with(&["LABEL a=\"b\\\"c\" d=e\\ f"]).unwrap().labels;
        assert_eq!((labels["a"].as_str(), labels["d"].as_str()), ("b\"c", "e f"));
        let ports = with(&["EXPOSE 80-82/tcp 90/udp 80"]).unwrap().exposed_ports;
        assert_eq!(ports, ["80/tcp", "81/tcp", "82/tcp", "90/udp"]);
        assert_eq!(with(&["VOLUME [\"/x\",\"/y\"]"]).unwrap().volumes, ["/x", "/y"]);
        assert_eq!(with(&["VOLUME /x /y"]).unwrap().volumes, ["/x", "/y"]);
        assert_eq!(with(&["WORKDIR sub", "WORKDIR ../x"]).unwrap().working_dir, "/w/x");
        assert_eq!(with(&["USER a b"]).unwrap().user, "a b");
        assert_eq!(with(&["STOPSIGNAL 9"]).unwrap().stop_signal.as_deref(), Some("9"));
        assert_eq!(with(&["ONBUILD RUN echo"]).unwrap().on_build, list(&["RUN echo"]));
        let check = with(&["HEALTHCHECK --retries=3 --timeout=2s CMD [\"a\",\"b\"]"]).unwrap();
        let check = check.healthcheck.unwrap();
        assert_eq!((check.retries, check.timeout), (3, 2_000_000_000));
        assert_eq!(Some(check.test), list(&["CMD", "a", "b"]));
        let check = with(&["HEALTHCHECK --interval=5s CMD echo hi"]).unwrap().healthcheck.unwrap();
        assert_eq!(Some(check.test), list(&["CMD-SHELL", "echo hi"]));
    }

    #[test]
    fn what_is_wrong_is_said_in_dockers_words() {
        let check = |line: &str, wanted: &str| {
            assert_eq!(with(&[line]).unwrap_err().to_string(), wanted, "{line}");
        };
        check("FROM x", "FROM is not a valid change command");
        check("foo x", "foo is not a valid change command");
        check("SHELL [\"a\"]", "SHELL is not a valid change command");
        check("ENV", "ENV requires at least one argument");
        check("ENV a", "ENV must have two arguments");
        check("LABEL a", "LABEL must have two arguments");
        check("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value");
        check("EXPOSE abc", "Invalid containerPort: abc");
        check("EXPOSE 99999", "Invalid containerPort: 99999");
        check("STOPSIGNAL nope", "invalid signal: nope");
        check("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger");
        check("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        check("USER", "USER requires exactly one argument");
        check("WORKDIR", "WORKDIR requires exactly one argument");
        check("VOLUME", "VOLUME requires at least one argument");
        check("HEALTHCHECK FOO", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)");
        check("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD");
        check("HEALTHCHECK --bad=1 CMD a", "unknown flag: bad");
        check("HEALTHCHECK --interval=5 CMD x", "time: missing unit in duration \"5\"");
    }
}
