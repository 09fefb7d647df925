//! `version`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT, Matches};
use crate::output;
use crate::table;
use crate::units;
use api::{Component, Version};
use serde::Serialize;
use std::rc::Rc;
use template::{Entry, Map, Template, Value};

pub(crate) const COMMAND: Command = Command {
    group: "",
    name: "version",
    aliases: &[],
    top: "version",
    arguments: "[OPTIONS]",
    about: "Show the Docker version information",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[FORMAT.short('f')]],
    run: |app, matches| Box::pin(run(app, matches)),
};

/// What `version` tells of the client.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ClientVersion {
    pub(super) version: &'static str,
    pub(super) api_version: String,
    #[serde(rename = "DefaultAPIVersion")]
    pub(super) default_api_version: String,
    pub(super) git_commit: &'static str,
    pub(super) go_version: &'static str,
    pub(super) os: &'static str,
    pub(super) arch: &'static str,
    pub(super) build_time: &'static str,
    pub(super) context: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Both {
    client: ClientVersion,
    server: Option<Version>,
}

/// `Gantry version 0.1.0, build unknown`
pub(crate) fn one_line(program: &str) -> String {
    let name = if program == "docker" { "Docker" } else { "Gantry" };
    format!("{name} version {}, build {}", env!("CARGO_PKG_VERSION"), build())
}

fn build() -> &'static str {
    option_env!("GANTRY_GIT_COMMIT").unwrap_or("unknown")
}

/// Go's name of our processor architecture, which is the API's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(super) fn client_version(app: &App, api: api::ApiVersion) -> ClientVersion {
    ClientVersion {
        version: env!("CARGO_PKG_VERSION"),
        api_version: api.to_string(),
        default_api_version: api::MAX.to_string(),
        git_commit: build(),
        go_version: "",
        os: std::env::consts::OS,
        arch: architecture(),
        build_time: option_env!("GANTRY_BUILD_TIME").unwrap_or(""),
        context: app.context(),
    }
}

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let format = matches.text("format");
    let template = match format.as_str() {
        "" | "json" => None,
        source => Some(Template::parse(source).map_err(|e| {
            Failure::new(format!("template parsing error: {}", named(&e))).with_code(64)
        })?),
    };
    let client = app.client()?;
    let answer = client.server_version().await;
    let own = client_version(app, client.version());
    let (server, failure) = match answer {
        Ok(server) => (Some(server), None),
        Err(e) => (None, Some(Failure::from(e))),
    };
    let server = server.map(readable_dates);
    let text = match (template, format.as_str()) {
        (Some(template), _) => {
            let entry = |name: &str, value| Entry { name: name.into(), value, omitted: false };
            let entries = vec![
                entry("Client", Value::of_type(&own, "system.clientVersion")),
                entry("Server", Value::of_type(&server, "*types.Version")),
            ];
            let type_name = "system.versionInfo";
            let both = Value::Map(Rc::new(Map { is_struct: true, type_name, entries }));
            match template.execute(&both) {
                Ok(text) => format!("{text}\n"),
                Err(e) => {
                    output::print("\n")?;
                    return Err(failure.unwrap_or_else(|| Failure::new(named(&e))));
                }
            }
        }
        (None, "json") => {
            format!("{}\n", template::json(&Value::of(&Both { client: own, server })))
        }
        (None, _) => plain(&own, server.as_ref()),
    };
    output::print(&text)?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

/// Shows when components were built as people write it.
fn readable_dates(mut server: Version) -> Version {
    for component in &mut server.components {
        if let Some(built) = component.details.as_mut().and_then(|d| d.get_mut("BuildTime"))
            && let Some(readable) = units::readable_date(built)
        {
            *built = readable;
        }
    }
    server
}

/// Docker's template for this command has a name, which its errors show.
fn named(error: &str) -> String {
    error.replacen("template: :", "template: version:", 1).replacen(
        "executing \"\"",
        "executing \"version\"",
        1,
    )
}

fn plain(own: &ClientVersion, server: Option<&Version>) -> String {
    let api = if own.api_version == own.default_api_version {
        own.api_version.clone()
    } else {
        format!("{} (downgraded from {})", own.api_version, own.default_api_version)
    };
    let mut out = format!(
        "Client:\n Version:\t{}\n API version:\t{api}\n Git commit:\t{}\n OS/Arch:\t{}/{}\n Context:\t{}\n",
        own.version, own.git_commit, own.os, own.arch, own.context
    );
    if let Some(server) = server {
        out.push_str(&format!("\nServer: {}\n", server.platform.name));
        for component in &server.components {
            out.push_str(&component_lines(component));
        }
    }
    table::columns_at_least(&out, 20, 1)
}

fn component_lines(component: &Component) -> String {
    let empty = std::collections::BTreeMap::new();
    let details = component.details.as_ref().unwrap_or(&empty);
    let get = |name: &str| details.get(name).map_or("", String::as_str);
    let mut out = format!(" {}:\n  Version:\t{}\n", component.name, component.version);
    if component.name != "Engine" {
        for (name, value) in details {
            out.push_str(&format!("  {name}:\t{value}\n"));
        }
        return out;
    }
    out.push_str(&format!(
        "  API version:\t{} (minimum version {})\n",
        get("ApiVersion"),
        get("MinAPIVersion")
    ));
    for (title, name) in
        [("Go version", "GoVersion"), ("Git commit", "GitCommit"), ("Built", "BuildTime")]
    {
        if name != "GoVersion" || !get(name).is_empty() {
            out.push_str(&format!("  {title}:\t{}\n", get(name)));
        }
    }
    out.push_str(&format!(
        "  OS/Arch:\t{}/{}\n  Experimental:\t{}\n",
        get("Os"),
        get("Arch"),
        get("Experimental")
    ));
    out
}
