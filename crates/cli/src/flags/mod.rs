//! What may be typed: commands and flags as tables, and the parser that reads arguments by them.
//!
//! One [`Command`] per command is the only definition: parsing, help, completions and documentation come from it. The
//! tables are constants, so that nothing is built at start, whatever the command. The rules are those of pflag, which
//! Docker's users have in their fingers:
//!
//! * `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, `-abc` for switches;
//! * a switch takes a value only with `=`: `--rm=false`, `-t=0`;
//! * `--` ends flags, a lone `-` is no flag;
//! * commands that run something (`run`, `exec`, `create`) end them at the first argument that is no flag.

pub mod check;
pub mod help;
mod parse;

pub use parse::{Matches, Problem};

use crate::app::App;
use crate::exit::Failure;
use std::future::Future;
use std::pin::Pin;

/// A command: everything that is known about it.
#[derive(Debug)]
pub struct Command {
    /// Where it lives: `container`, `image`, `system`, or empty for those at the top only.
    pub group: &'static str,
    /// Its name in its group.
    pub name: &'static str,
    /// Further names in its group.
    pub aliases: &'static [&'static str],
    /// Its name at the top, `ps` for `container ls`; empty for none.
    pub top: &'static str,
    /// What follows the name in usage lines.
    pub arguments: &'static str,
    /// One line.
    pub about: &'static str,
    /// How many arguments.
    pub arity: Arity,
    /// Flags may stand behind arguments.
    pub interspersed: bool,
    /// Its flags, in tables that commands may share.
    pub flags: &'static [&'static [Flag]],
    /// Does it. The number is the exit code.
    pub run: for<'a> fn(&'a App, &'a Matches) -> Running<'a>,
}

/// A command at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<u8, Failure>> + 'a>>;

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Arity {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// A flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// `--long`
    pub long: &'static str,
    /// `-s`
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// As help shows it; the default itself is where the flag is read.
    pub default: &'static str,
    /// What it does; may have several lines.
    pub usage: &'static str,
    /// Not in help.
    pub hidden: bool,
    /// Another spelling of this flag.
    pub alias_of: &'static str,
    /// Users of this spelling are told so.
    pub deprecated: bool,
}

/// What a flag takes.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As help shows it; empty for a switch.
    pub name: &'static str,
    /// Says what is wrong with a value.
    pub check: fn(&str) -> Result<(), String>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}

impl Kind {
    /// A switch.
    pub const SWITCH: Self = Self { name: "", check: check::boolean };
    /// A text.
    pub const TEXT: Self = Self { name: "string", check: check::anything };
    /// A whole number.
    pub const INT: Self = Self { name: "int", check: check::int };
    /// Several texts.
    pub const LIST: Self = Self { name: "list", check: check::anything };
    /// Several texts, of which one flag may have several with commas between them.
    pub const STRINGS: Self = Self { name: "strings", check: check::strings };
    /// Texts by name.
    pub const MAP: Self = Self { name: "map", check: check::anything };
    /// Conditions of lists.
    pub const FILTER: Self = Self { name: "filter", check: check::filter };

    /// Several texts that must pass a check.
    pub const fn list(check: fn(&str) -> Result<(), String>) -> Self {
        Self { name: "list", check }
    }
}

impl Flag {
    /// A flag without a short form.
    pub const fn new(long: &'static str, kind: Kind, usage: &'static str) -> Self {
        Self {
            long,
            short: None,
            kind,
            default: "",
            usage,
            hidden: false,
            alias_of: "",
            deprecated: false,
        }
    }

    /// A switch.
    pub const fn switch(long: &'static str, usage: &'static str) -> Self {
        Self::new(long, Kind::SWITCH, usage)
    }

    /// A text.
    pub const fn text(long: &'static str, usage: &'static str) -> Self {
        Self::new(long, Kind::TEXT, usage)
    }

    /// With a short form.
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// With a default that help shows.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Another spelling of `name`, not in help.
    pub const fn alias_of(mut self, name: &'static str) -> Self {
        self.alias_of = name;
        self.hidden = true;
        self
    }

    /// An old spelling, of whose end users are told.
    pub const fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }

    /// Not in help.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Whether it takes no value.
    pub fn is_switch(&self) -> bool {
        self.kind.name.is_empty()
    }
}

impl Command {
    /// All its flags.
    pub fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + '_ {
        self.flags.iter().flat_map(|table| table.iter())
    }
}

/// `--format` of commands that print a table.
pub const FORMAT_TABLE: Flag = Flag::text(
    "format",
    "Format output using a custom template:\n'table':            Print output in table format with column headers \
     (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             \
     Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to \
     https://docs.docker.com/go/formatting/ for more information about formatting output with templates",
);

/// `--format` of commands that print one thing.
pub const FORMAT: Flag = Flag::text(
    "format",
    "Format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print \
     output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about \
     formatting output with templates",
);

/// `--filter`
pub const FILTER: Flag =
    Flag::new("filter", Kind::FILTER, "Filter output based on conditions provided").short('f');
