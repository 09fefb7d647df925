//! `--format`: rows → a table, JSON lines, or what a template makes of them.

use crate::exit::{Failure, Result};
use crate::table;
use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use template::{Row, Template, Value};

/// A listing: what its columns are called and what it shows when nobody asks for anything else.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Fields and the titles of their columns.
    pub titles: &'static [(&'static str, &'static str)],
    /// Template of the default table, without the word `table`.
    pub table: String,
    /// Template of `--format raw`; empty when there is none.
    pub raw: &'static str,
}

impl Listing {
    /// Reads `format`. What is wrong with it is told before the daemon is asked.
    pub(crate) fn prepare(&self, format: &str) -> Result<Prepared, String> {
        let (source, is_table) = match format {
            "" | "table" => (self.table.clone(), true),
            "json" => ("{{json .}}".to_owned(), false),
            "raw" if !self.raw.is_empty() => (self.raw.to_owned(), false),
            _ => match format.strip_prefix("table") {
                Some(template) => (template.trim().to_owned(), true),
                None => (format.to_owned(), false),
            },
        };
        let source = source.replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&source)?;
        Ok(Prepared { template, is_table, titles: self.titles })
    }

    /// The text for `rows`.
    pub(crate) fn render(&self, format: &str, rows: Vec<Rc<dyn Row>>) -> Result<String> {
        self.prepare(format).map_err(failed)?.render(rows)
    }
}

/// A listing whose template has been read.
#[derive(Debug)]
pub(crate) struct Prepared {
    template: Template,
    is_table: bool,
    titles: &'static [(&'static str, &'static str)],
}

impl Prepared {
    /// The text for `rows`.
    pub(crate) fn render(&self, rows: Vec<Rc<dyn Row>>) -> Result<String> {
        let mut text = String::new();
        for row in rows {
            self.add(row, &mut text)?;
        }
        self.finish(text)
    }

    /// Adds the line of one more row to `text`, which [`finish`](Self::finish) makes the whole of.
    pub(crate) fn add(&self, row: Rc<dyn Row>, text: &mut String) -> Result<()> {
        self.template.execute_into(&Value::Row(row), text).map_err(failed)?;
        text.push('\n');
        Ok(())
    }

    /// The text for all rows that were added.
    pub(crate) fn finish(&self, text: String) -> Result<String> {
        if !self.is_table {
            return Ok(text);
        }
        let header =
            self.template.header(&Value::Row(Rc::new(Header(self.titles)))).map_err(failed)?;
        Ok(table::columns(&format!("{header}\n{text}")))
    }

    /// Shows `row`, and says whether its field `name` was asked for.
    pub(crate) fn asks_for(&self, name: &'static str, row: Rc<dyn Row>) -> Result<bool, String> {
        let probe = Rc::new(Probe { row, name, asked: Cell::new(false) });
        let shown: Rc<dyn Row> = Rc::clone(&probe) as Rc<dyn Row>;
        self.template.execute(&Value::Row(shown))?;
        Ok(probe.asked.get())
    }
}

fn failed(error: String) -> Failure {
    Failure::new(format!("template parsing error: {error}"))
}

/// A row that remembers whether a field was asked for.
#[derive(Debug)]
struct Probe {
    row: Rc<dyn Row>,
    name: &'static str,
    asked: Cell<bool>,
}

impl Row for Probe {
    fn field(&self, name: &str) -> Option<Value> {
        if name == self.name {
            self.asked.set(true);
        }
        self.row.field(name)
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        self.row.call(name, argument)
    }

    fn names(&self) -> &[&'static str] {
        self.row.names()
    }

    fn type_name(&self) -> &str {
        self.row.type_name()
    }
}

/// The row that answers every field with the title of its column.
#[derive(Debug)]
struct Header(&'static [(&'static str, &'static str)]);

impl Row for Header {
    fn field(&self, name: &str) -> Option<Value> {
        let title = self.0.iter().find(|(field, _)| *field == name);
        Some(title.map_or(Value::Missing, |(_, title)| Value::str(title)))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        // A label's column is called by the last part of the label's name.
        let last = argument.rsplit('.').next().unwrap_or_default();
        (name == "Label").then(|| Value::str(last.replace(['-', '_'], " ")))
    }

    fn names(&self) -> &[&'static str] {
        &[]
    }

    fn type_name(&self) -> &'static str {
        "formatter.SubHeaderContext"
    }
}

/// Cuts a text to `width` characters, the last of them an ellipsis.
pub(crate) fn ellipsis(text: &str, width: usize) -> Cow<'_, str> {
    use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
    if text.width() <= width {
        return text.into();
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width.saturating_sub(1) {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out.into()
}

/// The first twelve digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let plain = id.strip_prefix("sha256:").unwrap_or(id);
    plain.char_indices().nth(12).map_or(plain, |(end, _)| &plain[..end])
}
