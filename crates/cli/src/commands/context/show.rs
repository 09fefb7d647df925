//! `context ls`, `inspect` and `show`.

use super::change::variable;
use super::{DEFAULT_DESCRIPTION, read};
use crate::app::App;
use crate::contexts::{DEFAULT, Meta, Metadata};
use crate::exit::Result;
use crate::flags::{Arity, Command, FORMAT, FORMAT_TABLE, Flag, Matches};
use crate::format::{Listing, ellipsis};
use crate::host;
use crate::inspect::{Document, Inspector};
use crate::output;
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::rc::Rc;
use template::{Row, Value};

pub(in crate::commands) const LS: Command = Command {
    group: "context",
    name: "ls",
    aliases: &["list"],
    top: "",
    arguments: "[OPTIONS]",
    about: "List contexts",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[FORMAT_TABLE, Flag::switch("quiet", "Only show context names").short('q')]],
    run: |app, matches| Box::pin(async move { list(app, matches) }),
};

pub(in crate::commands) const INSPECT: Command = Command {
    group: "context",
    name: "inspect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Display detailed information on one or more contexts",
    arity: Arity::AtLeast(0),
    interspersed: true,
    flags: &[&[FORMAT.short('f')]],
    run: |app, matches| Box::pin(async move { inspect(app, matches) }),
};

pub(in crate::commands) const SHOW: Command = Command {
    group: "context",
    name: "show",
    aliases: &[],
    top: "",
    arguments: "",
    about: "Print the name of the current context",
    arity: Arity::None,
    interspersed: true,
    flags: &[],
    run: |app, _| {
        Box::pin(async move {
            output::print(&format!("{}\n", app.context()))?;
            Ok(0)
        })
    },
};

const TABLE: &str =
    "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
const TITLES: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Error", "ERROR"),
];
/// How much of an error a row shows.
const ERROR_WIDTH: usize = 45;

#[derive(Debug, Default)]
struct ContextRow {
    name: String,
    description: String,
    endpoint: String,
    error: String,
    current: bool,
}

impl Row for ContextRow {
    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Name" => Value::str(&self.name),
            "Description" => Value::str(&self.description),
            "DockerEndpoint" => Value::str(&self.endpoint),
            "Error" => Value::str(ellipsis(&self.error, ERROR_WIDTH)),
            "Current" => Value::Bool(self.current),
            _ => return None,
        })
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &["Current", "Description", "DockerEndpoint", "Error", "Name"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.clientContextContext"
    }
}

fn list(app: &App, matches: &Matches) -> Result<u8> {
    let current = app.context();
    let row = |meta: &Meta| ContextRow {
        name: meta.name.clone(),
        description: meta.metadata.description.clone(),
        endpoint: meta.endpoint().host,
        error: String::new(),
        current: meta.name == current,
    };
    let mut rows: Vec<ContextRow> = app.contexts().all().iter().map(row).collect();
    rows.push(ContextRow {
        name: DEFAULT.to_owned(),
        description: DEFAULT_DESCRIPTION.to_owned(),
        endpoint: host::default_host(&app.asked, &app.env),
        error: String::new(),
        current: current == DEFAULT,
    });
    if !rows.iter().any(|row| row.current) {
        let error = app.contexts().read(&current).err().map_or_else(String::new, |e| e.message);
        rows.push(ContextRow { name: current, error, current: true, ..ContextRow::default() });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let format = match matches.text("format") {
        _ if matches.is("quiet") => "{{.Name}}".to_owned(),
        format => format,
    };
    let listing = Listing { titles: TITLES, table: TABLE.to_owned(), raw: "" };
    let rows = rows.into_iter().map(|row| Rc::new(row) as Rc<dyn Row>).collect();
    output::print(&listing.render(&format, rows)?)?;
    if host::host_of_environment(&app.env).is_some() {
        let variable = variable(app);
        output::complain(&format!(
            "Warning: {variable} environment variable overrides the active context. To use a context, either set the global \
             --context flag, or unset {variable} environment variable."
        ));
    }
    Ok(0)
}

/// A context as `inspect` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    name: String,
    metadata: Metadata,
    endpoints: BTreeMap<String, Json>,
    #[serde(rename = "TLSMaterial")]
    tls_material: BTreeMap<&'static str, Vec<String>>,
    storage: Storage,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Storage {
    metadata_path: String,
    #[serde(rename = "TLSPath")]
    tls_path: String,
}

fn inspect(app: &App, matches: &Matches) -> Result<u8> {
    let mut inspector = Inspector::new(&matches.text("format"))?;
    let current = [app.context()];
    let names = if matches.arguments.is_empty() { &current[..] } else { &matches.arguments };
    let mut failures = Vec::new();
    for name in names {
        match read(app, name) {
            Ok((meta, tls)) => {
                let files: Vec<String> = tls.into_keys().collect();
                let shown = Shown {
                    tls_material: if files.is_empty() {
                        BTreeMap::new()
                    } else {
                        BTreeMap::from([("docker", files)])
                    },
                    storage: storage(app, name),
                    name: meta.name,
                    metadata: meta.metadata,
                    endpoints: meta.endpoints,
                };
                let value = Value::of_type(&shown, "context.contextWithTLSListing");
                // As Go writes JSON that may end up in a page.
                let raw = template::json(&value).replace('<', "\\u003c").replace('>', "\\u003e");
                inspector.add(Document { raw: raw.into(), value, by_json_names: false })?;
            }
            Err(failure) => failures.push(failure.message),
        }
    }
    inspector.finish(failures)
}

fn storage(app: &App, name: &str) -> Storage {
    if name == DEFAULT {
        let nowhere = "<IN MEMORY>".to_owned();
        return Storage { metadata_path: nowhere.clone(), tls_path: nowhere };
    }
    let store = app.contexts();
    Storage {
        metadata_path: store.meta_path(name).display().to_string(),
        tls_path: store.tls_path(name).display().to_string(),
    }
}
