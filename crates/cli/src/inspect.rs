//! What `inspect` commands share: several names, one document each, shown as JSON or through a template.

use crate::exit::{Failure, Result};
use crate::output;
use crate::template::{Template, Value};
use bytes::Bytes;

/// One answer: what the daemon wrote, and how templates see it.
#[derive(Debug)]
pub struct Document {
    /// The daemon's own text.
    pub raw: Bytes,
    /// With types.
    pub value: Value,
}

/// Collects documents and shows them at the end, as far as they were found.
#[derive(Debug)]
pub struct Inspector {
    template: Option<Template>,
    format: String,
    raw: Vec<Bytes>,
    text: String,
}

impl Inspector {
    /// For a `--format`.
    pub fn new(format: &str) -> Result<Self> {
        let template = match format {
            "" | "json" => None,
            source => {
                Some(Template::parse(&source.replace("\\t", "\t").replace("\\n", "\n")).map_err(
                    |e| {
                        // Docker's code for a template that cannot be read.
                        Failure::new(format!("template parsing error: {e}")).with_code(64)
                    },
                )?)
            }
        };
        Ok(Self { template, format: format.to_owned(), raw: Vec::new(), text: String::new() })
    }

    /// Takes one document.
    pub fn add(&mut self, document: Document) -> Result<()> {
        match &self.template {
            Some(template) => {
                let text = template
                    .execute(&document.value)
                    .map_err(|e| Failure::new(format!("template parsing error: {e}")))?;
                self.text.push_str(&text);
                self.text.push('\n');
            }
            None => self.raw.push(document.raw),
        }
        Ok(())
    }

    /// Shows everything, then the failure if there was one.
    pub fn finish(self, failures: Vec<String>) -> Result<u8> {
        let text = match (&self.template, self.format.as_str()) {
            (Some(_), _) if self.text.is_empty() => "\n".to_owned(),
            (Some(_), _) => self.text,
            (None, "json") => format!("[{}]\n", self.joined(",")),
            (None, _) if self.raw.is_empty() => "[]\n".to_owned(),
            (None, _) => format!("{}\n", indent(&format!("[{}]", self.joined(",")))),
        };
        output::print(&text)?;
        if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
    }

    fn joined(&self, between: &str) -> String {
        let texts: Vec<String> =
            self.raw.iter().map(|raw| String::from_utf8_lossy(raw).trim().to_owned()).collect();
        texts.join(between)
    }
}

/// JSON with every value on a line of its own, four spaces a level, in the order in which it came.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    let mut chars = json.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    while let Some(c) = chars.next() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                match chars.peek() {
                    Some('}' | ']') => out.extend(chars.next()),
                    _ => {
                        depth += 1;
                        newline(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_does() {
        assert_eq!(
            indent(r#"[{"a":1,"b":[ ],"c":{},"d":["x,\"{",null]}]"#),
            "[\n    {\n        \"a\": 1,\n        \"b\": [],\n        \"c\": {},\n        \"d\": [\n            \"x,\\\"{\",\n            null\n        ]\n    }\n]"
        );
    }
}
