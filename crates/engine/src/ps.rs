//! `ps` for `top`: its options as columns, and processes as rows of them.
//!
//! Docker runs the host's `ps` and picks the container's lines. Nothing is run here, so what is understood is what
//! `ps` of procps has for columns: `-f`, `-F`, `-l`, `-j`, `-L`, `-Z`, `-o`, and BSD's `u`, `l`, `j`, `s`, `v`, `x`, `o`.
//! Options that choose processes (`-e`, `-A`, `a`, …) choose nothing: it is the container's processes that are shown.

mod column;
mod process;

use column::Column;
pub(crate) use process::Table;
use stdx::{Error, Result};

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Columns with their titles.
    columns: Vec<(Column, String)>,
    /// A row a thread.
    pub(crate) threads: bool,
    /// Programs' names alone, if there are any.
    only: Vec<String>,
}

#[derive(Debug, Default)]
struct Options {
    full: bool,
    extra: bool,
    long: bool,
    jobs: bool,
    threads: bool,
    label: bool,
    name_only: bool,
    bsd: bool,
    bsd_format: Option<char>,
    own: Vec<(Column, String)>,
    only: Vec<String>,
}

impl Plan {
    /// Reads options as `ps` does; errors are in its words.
    pub(crate) fn new(text: &str) -> Result<Self> {
        let mut options = Options::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            match word.strip_prefix('-') {
                Some(long) if long.starts_with('-') => options.gnu(&long[1..], &mut words)?,
                Some(letters) if !letters.is_empty() => options.unix(letters, &mut words)?,
                _ => options.bsd(word, &mut words)?,
            }
        }
        let columns = options.columns();
        if !columns.iter().any(|(_, title)| title == "PID") {
            return Err(Error::internal("Couldn't find PID field in ps output"));
        }
        Ok(Self { columns, threads: options.threads, only: options.only })
    }

    pub(crate) fn titles(&self) -> Vec<String> {
        self.columns.iter().map(|(_, title)| title.clone()).collect()
    }
}

fn error(text: &str) -> Error {
    Error::internal(format!("ps: error: {text}"))
}

impl Options {
    fn gnu<'w>(&mut self, name: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<()> {
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        match name {
            "format" => self.own(value.or_else(|| words.next()))?,
            "context" => self.label = true,
            "no-headers" | "no-heading" | "headers" | "forest" | "cumulative" => {}
            _ => return Err(error("unknown gnu long option")),
        }
        Ok(())
    }

    fn unix<'w>(&mut self, letters: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<()> {
        for (at, letter) in letters.char_indices() {
            // An option's argument is the rest of its word, or the next one.
            let rest = &letters[at + letter.len_utf8()..];
            let mut argument =
                || Some(rest).filter(|rest| !rest.is_empty()).or_else(|| words.next());
            match letter {
                'e' | 'A' | 'a' | 'd' | 'N' | 'w' | 'y' | 'H' | 'T' => {}
                'f' => self.full = true,
                'F' => self.extra = true,
                'l' => self.long = true,
                'j' => self.jobs = true,
                'L' => self.threads = true,
                'M' | 'Z' => self.label = true,
                'c' => self.name_only = true,
                'o' | 'O' => return self.own(argument()),
                'C' => {
                    let names =
                        argument().ok_or_else(|| error("list of command names must follow -C"))?;
                    self.only.extend(names.split(',').map(str::to_owned));
                    return Ok(());
                }
                _ => return Err(error("unsupported SysV option")),
            }
        }
        Ok(())
    }

    fn bsd<'w>(&mut self, letters: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<()> {
        self.bsd = true;
        for (at, letter) in letters.char_indices() {
            let rest = &letters[at + letter.len_utf8()..];
            match letter {
                'a' | 'x' | 'w' | 'e' | 'f' | 'h' | 'g' | 'r' | 'n' | 'S' | 'T' => {}
                'c' => self.name_only = true,
                'H' | 'm' => self.threads = true,
                'Z' => self.label = true,
                'u' | 'l' | 'j' | 's' | 'v' => self.bsd_format = Some(letter),
                'o' | 'O' => {
                    let list = Some(rest).filter(|rest| !rest.is_empty()).or_else(|| words.next());
                    return self.own(list);
                }
                _ => return Err(error("unsupported option (BSD syntax)")),
            }
        }
        Ok(())
    }

    /// `pid,comm,user:20,args=Command`
    fn own(&mut self, list: Option<&str>) -> Result<()> {
        let list = list.ok_or_else(|| error("format specification must follow -o"))?;
        let mut rest = list;
        while !rest.is_empty() {
            let end = rest.find([',', '=']).unwrap_or(rest.len());
            let name = rest[..end].split(':').next().unwrap_or_default();
            let column = Column::named(name).ok_or_else(|| {
                error(&format!("unknown user-defined format specifier \"{name}\""))
            })?;
            // A title takes everything behind it, commas too.
            if let Some(title) = rest[end..].strip_prefix('=') {
                self.own.push((column, title.to_owned()));
                break;
            }
            self.own.push((column, column.title(name).to_owned()));
            rest = rest[end..].strip_prefix(',').unwrap_or_default();
        }
        Ok(())
    }

    fn columns(&self) -> Vec<(Column, String)> {
        if !self.own.is_empty() {
            return self.own.clone();
        }
        let names = match self.bsd_format {
            Some('u') => "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
            Some('l') => "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND",
            Some('j') => "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND",
            Some('s') => "UID PID PENDING BLOCKED IGNORED CAUGHT STAT TTY TIME COMMAND",
            Some('v') => "PID TTY STAT TIME MAJFL TRS DRS RSS %MEM COMMAND",
            _ if self.bsd => "PID TTY STAT TIME COMMAND",
            _ => return self.unix_columns(),
        };
        let label = self.label.then(|| (Column::Label, "LABEL".to_owned()));
        let bsd = |name: &str| {
            let column = match name {
                "UID" => Column::Uid,
                "USER" => Column::User,
                "PRI" => Column::PriBsd,
                "START" => Column::StartBsd,
                "TIME" => Column::TimeBsd,
                "COMMAND" if self.name_only => Column::Comm,
                "COMMAND" => Column::Args,
                name => Column::named(&name.to_ascii_lowercase()).unwrap_or(Column::Pid),
            };
            (column, name.to_owned())
        };
        label.into_iter().chain(names.split(' ').map(bsd)).collect()
    }

    fn unix_columns(&self) -> Vec<(Column, String)> {
        let full = self.full || self.extra;
        let mut names = Vec::new();
        let mut put = |wanted: bool, more: &[&'static str]| {
            if wanted {
                names.extend_from_slice(more);
            }
        };
        put(self.label, &["LABEL"]);
        put(self.long, &["F", "S"]);
        put(full || self.long, &["UID"]);
        put(true, &["PID"]);
        put(full || self.long, &["PPID"]);
        put(self.jobs, &["PGID", "SID"]);
        put(self.threads, &["LWP"]);
        put(full || self.long, &["C"]);
        put(self.threads && (full || self.long), &["NLWP"]);
        put(self.long, &["PRI", "NI", "ADDR", "SZ"]);
        put(self.long, &["WCHAN"]);
        put(self.extra && !self.long, &["SZ"]);
        put(self.extra, &["RSS", "PSR"]);
        put(full, &["STIME"]);
        put(true, &["TTY", "TIME", "CMD"]);
        let unix = |name: &str| {
            let column = match name {
                "UID" if full => Column::User,
                "PRI" => Column::PriSysV,
                "CMD" if full && !self.name_only => Column::Args,
                "CMD" => Column::Comm,
                name => Column::named(&name.to_ascii_lowercase()).unwrap_or(Column::Pid),
            };
            (column, name.to_owned())
        };
        names.into_iter().map(unix).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> String {
        match Plan::new(text) {
            Ok(plan) => plan.titles().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_mean_columns() {
        let check = |text: &str, wanted: &str| assert_eq!(titles(text), wanted, "{text}");
        check("-ef", "UID PID PPID C STIME TTY TIME CMD");
        check("-ef -H", "UID PID PPID C STIME TTY TIME CMD");
        check("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        check("-o pid,comm", "PID COMMAND");
        check("-eo pid,ppid,user,args", "PID PPID USER COMMAND");
        check("axo pid,%cpu", "PID %CPU");
        check("-l", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD");
        check("-L", "PID LWP TTY TIME CMD");
        check("-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD");
        check("-F", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD");
        check("-j", "PID PGID SID TTY TIME CMD");
        check("-Z", "LABEL PID TTY TIME CMD");
        check("x", "PID TTY STAT TIME COMMAND");
        check("l", "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND");
        check("v", "PID TTY STAT TIME MAJFL TRS DRS RSS %MEM COMMAND");
        check("s", "UID PID PENDING BLOCKED IGNORED CAUGHT STAT TTY TIME COMMAND");
        check("j", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND");
        check("-o user:20,pid,args=The", "USER PID The");
        // As everywhere in ps's options, words end at spaces: what follows is "c" and "o mmand".
        check(
            "-o user:20,pid,args=The command",
            "ps: error: unknown user-defined format specifier \"mmand\"",
        );
        check("-o pid,cmd,tty,start,pcpu,lstart", "PID CMD TT STARTED %CPU STARTED");
        check("-C sleep -o pid", "PID");
        check("-o comm", "Couldn't find PID field in ps output");
        check("-o pid=X", "Couldn't find PID field in ps output");
        check("--bad", "ps: error: unknown gnu long option");
        check("-o nonsense", "ps: error: unknown user-defined format specifier \"nonsense\"");
        check("-k", "ps: error: unsupported SysV option");
        check("q", "ps: error: unsupported option (BSD syntax)");
    }
}
