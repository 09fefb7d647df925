//! Further processes in a container: what is wanted → the process that the shim makes.

use crate::services::Services;
use crate::{capabilities, links, spec};
use oci::runtime::{Capabilities, ConsoleSize, Process, User};
use std::path::PathBuf;
use stdx::{Error, Kind, Result};
use store::records::container::ContainerRecord;

/// What is to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Program and arguments.
    pub cmd: &'a [String],
    /// `NAME=value` entries over the container's own.
    pub env: &'a [String],
    /// As `--user` of a container; empty: the container's.
    pub user: &'a str,
    /// Working directory; empty: the container's.
    pub working_dir: &'a str,
    /// All capabilities, no seccomp.
    pub privileged: bool,
    /// A terminal of its own.
    pub tty: bool,
    /// The terminal's first size: rows and columns.
    pub size: Option<(u16, u16)>,
}

/// The process, and the compiled seccomp program to load.
pub fn process(
    services: &Services,
    record: &ContainerRecord,
    wanted: &Wanted<'_>,
) -> Result<(Process, Option<PathBuf>)> {
    let links = links::environment(&links::of(services.world.as_ref(), record)?);
    let mut env = spec::environment(record, wanted.tty, &links);
    spec::merge_env(&mut env, wanted.env);
    let capabilities = if wanted.privileged {
        let all: Vec<String> =
            capabilities::names_of(services.capabilities).into_iter().map(str::to_owned).collect();
        Capabilities {
            bounding: all.clone(),
            effective: all.clone(),
            permitted: all,
            ..Capabilities::default()
        }
    } else {
        spec::capability_sets(record, services.capabilities)?
    };
    let seccomp = if wanted.privileged {
        None
    } else {
        services.seccomp.program(&record.host, &capabilities.bounding)?
    };
    let or = |own: &str, container: &str| if own.is_empty() { container } else { own }.to_owned();
    let process = Process {
        terminal: wanted.tty,
        console_size: wanted
            .size
            .filter(|(rows, _)| wanted.tty && *rows > 0)
            .map(|(height, width)| ConsoleSize { height, width }),
        user: User { username: Some(or(wanted.user, &record.config.user)), ..User::default() },
        args: wanted.cmd.to_vec(),
        env,
        cwd: match or(wanted.working_dir, &record.config.working_dir).as_str() {
            "" => "/".to_owned(),
            dir => dir.to_owned(),
        },
        capabilities: Some(capabilities),
        rlimits: spec::rlimits(&record.host.resources),
        no_new_privileges: spec::no_new_privileges(&record.host.security_opt),
        oom_score_adj: Some(record.host.oom_score_adj),
        ..Process::default()
    };
    Ok((process, seccomp))
}

/// A session's failure to start in Docker's words, in which clients look for the exit codes 126 and 127.
pub fn worded(error: Error) -> Error {
    const WORDS: &str = "unable to start container process: ";
    if !matches!(error.kind(), Kind::InvalidArgument | Kind::Internal) {
        return error;
    }
    let text = error.to_string();
    if text.starts_with("unable to find ") || text.starts_with("uids and gids must be in range") {
        return error;
    }
    let why = text.split_once(WORDS).map_or(text.as_str(), |(_, why)| why);
    let why = why.strip_suffix(": unknown").unwrap_or(why);
    if why.starts_with("cwd: path ") && why.ends_with(" is not absolute") {
        let text = "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown";
        return Error::new(error.kind(), text);
    }
    let no_directory = why
        .strip_prefix("Cannot mkdir: ")
        .and_then(|why| why.strip_suffix(" is not a directory"))
        .map(|cwd| format!("chdir to cwd (\"{cwd}\") set in config.json failed: not a directory"));
    let why = no_directory.as_deref().unwrap_or(why);
    // What Docker adds to this one.
    let hint = if why.ends_with("not a directory") {
        ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and \
         is the expected type"
    } else {
        ""
    };
    let text = format!("OCI runtime exec failed: exec failed: {WORDS}{why}: unknown{hint}");
    Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_to_start_are_worded_as_dockers() {
        let error = worded(Error::invalid("Cannot mkdir: /etc/passwd is not a directory"));
        assert_eq!(
            error.to_string(),
            "OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd \
             (\"/etc/passwd\") set in config.json failed: not a directory: unknown: Are you trying to mount a \
             directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
        );
        let check = |given: &str, wanted: &str| {
            assert_eq!(worded(Error::invalid(given)).to_string(), wanted);
        };
        let failed = "OCI runtime exec failed: exec failed";
        check(
            "cwd: path rel is not absolute",
            &format!("{failed}: Cwd must be an absolute path: unknown"),
        );
        let range = "uids and gids must be in range 0-2147483647";
        check(range, range);
        check("no", &format!("{failed}: unable to start container process: no: unknown"));
    }
}
