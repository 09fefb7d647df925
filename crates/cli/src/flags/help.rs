//! Help texts in the form that Docker's users know: usage, aliases, options in columns.

use super::{Command, Flag};

/// The help of one command. `program` is `gantry` or `docker`, `path` how it was called, `width` the terminal's.
pub fn command(program: &str, path: &str, command: &Command, width: usize) -> String {
    let mut out = format!("Usage:  {}\n\n{}\n", usage_line(path, command), command.about);
    let names = names(program, command);
    if names.len() > 1 {
        out.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let flags: Vec<&Flag> = command.all_flags().filter(|f| !f.hidden).collect();
    if !flags.is_empty() {
        out.push_str("\nOptions:\n");
        out.push_str(&options(flags, width));
    }
    out
}

/// `docker run [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub fn usage_line(path: &str, command: &Command) -> String {
    format!("{path} {}", command.arguments.replace("{path}", path)).trim_end().to_owned()
}

fn names(program: &str, command: &Command) -> Vec<String> {
    let mut names = Vec::new();
    if !command.group.is_empty() {
        for name in std::iter::once(&command.name).chain(command.aliases) {
            names.push(format!("{program} {} {name}", command.group));
        }
    }
    if !command.top.is_empty() {
        names.push(format!("{program} {}", command.top));
    }
    names
}

/// Flags in two columns, sorted by name.
pub fn options(mut flags: Vec<&Flag>, width: usize) -> String {
    flags.sort_by_key(|f| f.long);
    let heads: Vec<String> = flags.iter().map(|f| head(f)).collect();
    let column = heads.iter().map(|h| h.chars().count()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let mut usage = flag.usage.to_owned();
        if !flag.default.is_empty() {
            usage.push_str(&format!(" (default {})", flag.default));
        }
        out.push_str(&format!("{head:column$}{}\n", wrap(&usage, column, width)));
    }
    out
}

fn head(flag: &Flag) -> String {
    let mut head = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    if !flag.is_switch() {
        head.push(' ');
        head.push_str(flag.kind.name);
    }
    head
}

/// A text broken into lines that start at column `indent` and end before `width`, as pflag breaks them: five columns are
/// left free, except that a last line may use them rather than leave a short word over.
fn wrap(text: &str, indent: usize, width: usize) -> String {
    const SLOP: usize = 5;
    const NARROWEST: usize = 24;
    const FALLBACK_INDENT: usize = 16;
    let (mut out, indent) = if width.saturating_sub(indent) < NARROWEST {
        (format!("\n{}", " ".repeat(FALLBACK_INDENT)), FALLBACK_INDENT)
    } else {
        (String::new(), indent)
    };
    let room = width.saturating_sub(indent).max(NARROWEST) - SLOP;
    let newline = format!("\n{}", " ".repeat(indent));
    let mut rest = text;
    loop {
        let (line, after) = cut(rest, room, SLOP);
        out.push_str(&line.replace('\n', &newline));
        if after.is_empty() {
            return out;
        }
        out.push_str(&newline);
        rest = after;
    }
}

/// The first line of `text` of at most `room` bytes, and what follows the space or newline that ends it.
fn cut(text: &str, room: usize, slop: usize) -> (&str, &str) {
    if text.len() < room + slop {
        return (text, "");
    }
    let room = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let window = &text[..room];
    let space = window.rfind([' ', '\t', '\n']).filter(|at| *at > 0);
    let Some(space) = space else { return (text, "") };
    let at = window.rfind('\n').filter(|newline| *newline > 0 && *newline < space).unwrap_or(space);
    (&text[..at], &text[at + 1..])
}
