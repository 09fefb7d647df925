//! Every command: which there are, which are still to come, and the lists that help shows.

mod attach;
mod commit;
mod context;
mod cp;
mod create;
mod df;
mod dial_stdio;
mod diff;
mod each;
mod events;
mod exec;
mod export;
mod history;
mod images;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logs;
mod network;
mod network_connect;
mod network_create;
mod network_explain;
mod network_ls;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod start;
mod stats;
mod stop;
mod tag;
mod top;
mod unpause;
mod update;
pub(crate) mod version;
mod volume;
mod volume_ls;
mod wait;

use crate::flags::Command;

/// A word that has commands behind it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    about: &'static str,
    /// Docker's commands of this group that are not there yet.
    not_yet: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    Group { name: "container", about: "Manage containers", not_yet: &[] },
    Group { name: "image", about: "Manage images", not_yet: &["build", "import", "push", "save"] },
    Group { name: "network", about: "Manage networks", not_yet: &[] },
    Group { name: "volume", about: "Manage volumes", not_yet: &[] },
    Group { name: "context", about: "Manage contexts", not_yet: &[] },
    Group { name: "system", about: "Manage Docker", not_yet: &[] },
];

/// Docker's words at the top that are not there yet, whatever follows them.
const NOT_YET: &[&str] = &[
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "compose",
    "config",
    "import",
    "manifest",
    "node",
    "plugin",
    "push",
    "save",
    "search",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

const COMMANDS: &[&Command] = &[
    &attach::COMMAND,
    &commit::COMMAND,
    &context::CREATE,
    &context::EXPORT,
    &context::IMPORT,
    &context::INSPECT,
    &context::LS,
    &context::RM,
    &context::SHOW,
    &context::UPDATE,
    &context::USE,
    &cp::COMMAND,
    &create::COMMAND,
    &df::COMMAND,
    &dial_stdio::COMMAND,
    &diff::COMMAND,
    &events::COMMAND,
    &exec::COMMAND,
    &export::COMMAND,
    &history::COMMAND,
    &images::COMMAND,
    &info::COMMAND,
    &inspect::ANYTHING,
    &inspect::CONTAINER,
    &inspect::IMAGE,
    &kill::COMMAND,
    &load::COMMAND,
    &login::LOGIN,
    &login::LOGOUT,
    &logs::COMMAND,
    &network_connect::CONNECT,
    &network_connect::DISCONNECT,
    &network_create::COMMAND,
    &network_explain::COMMAND,
    &network::INSPECT,
    &network::PRUNE,
    &network::REMOVE,
    &network_ls::COMMAND,
    &pause::COMMAND,
    &port::COMMAND,
    &prune::CONTAINERS,
    &prune::IMAGES,
    &prune::SYSTEM,
    &ps::COMMAND,
    &pull::COMMAND,
    &rename::COMMAND,
    &restart::COMMAND,
    &rm::COMMAND,
    &rmi::COMMAND,
    &run::COMMAND,
    &start::COMMAND,
    &stats::COMMAND,
    &stop::COMMAND,
    &tag::COMMAND,
    &top::COMMAND,
    &unpause::COMMAND,
    &update::COMMAND,
    &version::COMMAND,
    &volume::CREATE,
    &volume::INSPECT,
    &volume_ls::COMMAND,
    &volume::PRUNE,
    &volume::REMOVE,
    &volume::UPDATE,
    &wait::COMMAND,
];

/// Commands that help puts first.
const COMMON: &[&str] = &["run", "exec", "ps", "pull", "images", "version", "info"];

/// Every command, for documentation and completions.
pub fn all() -> &'static [&'static Command] {
    COMMANDS
}

/// What a word, and perhaps the next, stand for.
pub(crate) enum Found {
    /// A command, and how many words name it.
    Command {
        command: &'static Command,
        words: usize,
    },
    /// A group without a command behind it, or with an unknown one.
    Group(&'static Group),
    /// A command of Docker's that is not there yet.
    NotYet(String),
    Unknown,
}

/// Looks a command up.
pub(crate) fn find(word: &str, next: Option<&str>) -> Found {
    if let Some(command) = COMMANDS.iter().find(|c| !c.top.is_empty() && c.top == word) {
        return Found::Command { command, words: 1 };
    }
    if let Some(group) = GROUPS.iter().find(|g| g.name == word) {
        let Some(next) = next else { return Found::Group(group) };
        let named =
            |c: &&&Command| c.group == word && (c.name == next || c.aliases.contains(&next));
        if let Some(command) = COMMANDS.iter().find(named) {
            return Found::Command { command, words: 2 };
        }
        if group.not_yet.contains(&next) {
            return Found::NotYet(format!("{word} {next}"));
        }
        return Found::Group(group);
    }
    match next {
        _ if !NOT_YET.contains(&word) => Found::Unknown,
        Some(next) if is_group_to_come(word) && !next.starts_with('-') => {
            Found::NotYet(format!("{word} {next}"))
        }
        _ => Found::NotYet(word.to_owned()),
    }
}

fn is_group_to_come(word: &str) -> bool {
    matches!(
        word,
        "builder"
            | "buildx"
            | "checkpoint"
            | "compose"
            | "config"
            | "manifest"
            | "node"
            | "plugin"
            | "secret"
            | "service"
            | "stack"
            | "swarm"
            | "trust"
    )
}

/// Help of the whole program.
pub(crate) fn top_help(program: &str, options: &str) -> String {
    let line = |name: &str, about: &str| format!("  {name:<12}{about}\n");
    let about = |name: &&str| {
        COMMANDS.iter().find(|c| c.top == *name).map(|c| line(name, c.about)).unwrap_or_default()
    };
    let common: String = COMMON.iter().map(about).collect();
    let groups: String = GROUPS.iter().map(|g| line(g.name, g.about)).collect();
    let mut others: Vec<&str> =
        COMMANDS.iter().map(|c| c.top).filter(|t| !t.is_empty() && !COMMON.contains(t)).collect();
    others.sort_unstable();
    let others: String = others.iter().map(about).collect();
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n\nCommon Commands:\n{common}\n\
         Management Commands:\n{groups}\nCommands:\n{others}\nGlobal Options:\n{options}\n\
         Run '{program} COMMAND --help' for more information on a command.\n"
    )
}

/// Help of a group.
pub(crate) fn group_help(program: &str, group: &Group) -> String {
    // What is for programs only, or for clusters, is not advertised.
    let hidden =
        |c: &Command| matches!((c.group, c.name), ("system", "dial-stdio") | ("volume", "update"));
    let mut members: Vec<&&Command> =
        COMMANDS.iter().filter(|c| c.group == group.name && !hidden(c)).collect();
    members.sort_by_key(|c| c.name);
    let width = members.iter().map(|c| c.name.len()).max().unwrap_or(0).max(9) + 2;
    let lines: String =
        members.iter().map(|c| format!("  {:<width$}{}\n", c.name, c.about)).collect();
    format!(
        "Usage:  {program} {} COMMAND\n\n{}\n\nCommands:\n{lines}\nRun '{program} {} COMMAND --help' for more information \
         on a command.\n",
        group.name, group.about, group.name
    )
}
