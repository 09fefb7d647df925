//! What `inspect` commands share: several names, one document each, shown as JSON or through a template.

use crate::exit::{Failure, Result};
use crate::json_text::{compact, indent};
use crate::output;
use bytes::Bytes;
use template::{Template, Value};

/// One answer: what the daemon wrote, and how templates see it.
#[derive(Debug)]
pub(crate) struct Document {
    /// The daemon's own text.
    pub raw: Bytes,
    /// With types.
    pub value: Value,
    /// Whether a template that does not fit the types is tried on the daemon's own text: names are JSON's there.
    pub by_json_names: bool,
}

/// Collects documents and shows them at the end, as far as they were found.
#[derive(Debug)]
pub(crate) struct Inspector {
    template: Option<Template>,
    format: String,
    raw: Vec<Bytes>,
    text: String,
}

impl Inspector {
    /// For a `--format`.
    pub(crate) fn new(format: &str) -> Result<Self> {
        let template = match format {
            "" | "json" => None,
            source => {
                Some(Template::parse(source).map_err(|e| {
                    // Docker's code for a template that cannot be read.
                    Failure::new(format!("template parsing error: {e}")).with_code(64)
                })?)
            }
        };
        Ok(Self { template, format: format.to_owned(), raw: Vec::new(), text: String::new() })
    }

    /// Takes one document.
    pub(crate) fn add(&mut self, document: Document) -> Result<()> {
        match &self.template {
            Some(template) => {
                let text = match template.execute(&document.value) {
                    Err(_) if document.by_json_names => {
                        let raw: Value = serde_json::from_slice(&document.raw).map_err(|e| {
                            Failure::new(format!("unable to read inspect data: {e}"))
                        })?;
                        template.execute_raw(&raw)
                    }
                    result => result,
                };
                let text =
                    text.map_err(|e| Failure::new(format!("template parsing error: {e}")))?;
                self.text.push_str(&text);
                self.text.push('\n');
            }
            None => self.raw.push(document.raw),
        }
        Ok(())
    }

    /// Shows everything, then the failure if there was one.
    pub(crate) fn finish(self, failures: Vec<String>) -> Result<u8> {
        let text = match (&self.template, self.format.as_str()) {
            (Some(_), _) if self.text.is_empty() => "\n".to_owned(),
            (Some(_), _) => self.text,
            (None, "json") => {
                let text = format!("[{}]", self.joined());
                format!("{}\n", compact(&text).unwrap_or(text))
            }
            (None, _) if self.raw.is_empty() => "[]\n".to_owned(),
            (None, _) => format!("{}\n", indent(&format!("[{}]", self.joined()))),
        };
        output::print(&text)?;
        if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
    }

    fn joined(&self) -> String {
        let texts: Vec<String> =
            self.raw.iter().map(|raw| String::from_utf8_lossy(raw).trim().to_owned()).collect();
        texts.join(",")
    }
}
