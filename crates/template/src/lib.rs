//! Go templates, for `--format` and for the tags of logs: own lexer, parser and executor over [`Value`]s.
//!
//! ```text
//! text ──lex──▶ tokens ──parse──▶ Tree ──exec(Value)──▶ text
//! ```
//! What Docker's users write works as in Docker: fields and methods, pipelines, variables, `if`/`else`/`with`/`range`/
//! `break`/`continue`/`define`/`template`, Go's functions, and Docker's (`json`, `split`, `join`, `title`, `lower`,
//! `upper`, `pad`, `truncate`). Error texts are Go's.

#![forbid(unsafe_code)]

mod exec;
mod funcs;
mod lex;
mod parse;
mod printf;
mod typed;
mod value;

#[cfg(test)]
mod tests;

use funcs::Mode;
pub use funcs::{json, quoted};
pub use printf::significant;
pub use value::{Entry, Map, Nil, Row, Value, moment};

/// A template, parsed once and executed for every row.
#[derive(Debug)]
pub struct Template {
    source: String,
    tree: parse::Tree,
}

impl Template {
    /// Parses `source`. The error is Go's text, as in `template: :1: unclosed action`.
    pub fn parse(source: &str) -> Result<Self, String> {
        Ok(Self { source: source.to_owned(), tree: parse::parse(source)? })
    }

    /// The text for `data`. The error is Go's text, with line and column.
    pub fn execute(&self, data: &Value) -> Result<String, String> {
        let mut out = String::new();
        self.execute_into(data, &mut out)?;
        Ok(out)
    }

    /// As [`execute`](Self::execute), at the end of `out`; after an error a part of the text is there.
    pub fn execute_into(&self, data: &Value, out: &mut String) -> Result<(), String> {
        exec::execute(&self.source, &self.tree, data, Mode::Typed, out)
    }

    /// The text for JSON as it came, of which no types are known: a key that is not there is an error.
    pub fn execute_raw(&self, data: &Value) -> Result<String, String> {
        let mut out = String::new();
        exec::execute(&self.source, &self.tree, data, Mode::Raw, &mut out)?;
        Ok(out)
    }

    /// The line of column names: `names` answers every field with its title, functions change nothing.
    pub fn header(&self, names: &Value) -> Result<String, String> {
        let mut out = String::new();
        exec::execute(&self.source, &self.tree, names, Mode::Headers, &mut out)?;
        Ok(out)
    }
}
