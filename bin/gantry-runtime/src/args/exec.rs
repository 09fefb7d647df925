//! The options of `exec`.

use std::path::PathBuf;

use super::unknown;
use super::words::Words;

/// The process of an exec, as options or as a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ExecOptions {
    pub(crate) id: String,
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) tty: bool,
    pub(crate) detach: bool,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) process_label: Option<String>,
    pub(crate) apparmor: Option<String>,
    pub(crate) no_new_privs: bool,
    pub(crate) caps: Vec<String>,
    pub(crate) preserve_fds: u32,
    /// A group beneath the container's.
    pub(crate) cgroup: Option<String>,
    pub(crate) ignore_paused: bool,
}

pub(super) fn parse(words: &mut Words) -> Result<ExecOptions, String> {
    let mut options = ExecOptions::default();
    while let Some(option) = words.option() {
        match option.name.as_str() {
            "process" | "p" => options.process = words.path(option)?,
            "env" | "e" => options.env.push(words.value(option)?),
            "cwd" => options.cwd = Some(words.value(option)?).filter(|c| !c.is_empty()),
            "user" | "u" => options.user = Some(words.value(option)?).filter(|u| !u.is_empty()),
            "additional-gids" | "g" => options.additional_gids.push(words.number(option)?),
            "tty" | "t" => options.tty = option.is_set(),
            "detach" | "d" => options.detach = option.is_set(),
            "console-socket" => options.console_socket = words.path(option)?,
            "pidfd-socket" => options.pidfd_socket = words.path(option)?,
            "pid-file" => options.pid_file = words.path(option)?,
            "process-label" => options.process_label = Some(words.value(option)?),
            "apparmor" => options.apparmor = Some(words.value(option)?),
            "no-new-privs" => options.no_new_privs = option.is_set(),
            "cap" | "c" => options.caps.push(words.value(option)?),
            "preserve-fds" => options.preserve_fds = words.number(option)?,
            "cgroup" => options.cgroup = Some(cgroup(words.value(option)?)?),
            "ignore-paused" => options.ignore_paused = option.is_set(),
            // Nobody of the container's processes becomes our child.
            "no-subreaper" => {}
            _ => return Err(unknown(&option)),
        }
    }
    options.id = words.id("exec")?;
    options.args = words.rest.drain(..).collect();
    // What follows `--` is the command; `--` itself is not.
    if options.args.first().is_some_and(|a| a == "--") {
        options.args.remove(0);
    }
    if options.args.is_empty() && options.process.is_none() {
        return Err("process args cannot be empty".to_owned());
    }
    Ok(options)
}

fn cgroup(text: String) -> Result<String, String> {
    match text.split_once(':') {
        Some(_) => Err(format!(
            "--cgroup {text:?}: a group is entered in all hierarchies at once: give its path without controllers"
        )),
        None => Ok(text),
    }
}
