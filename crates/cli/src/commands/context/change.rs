//! `context create`, `update`, `use` and `rm`.

use super::{DEFAULT_DESCRIPTION, read, read_file};
use crate::app::App;
use crate::config;
use crate::contexts::{DEFAULT, Endpoint, Meta, TLS_FILES, TlsFiles, check_name};
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches, check};
use crate::host;
use crate::output;

const DESCRIPTION: Flag = Flag::text("description", "Description of the context");
const DOCKER: Flag =
    Flag::new("docker", Kind { name: "stringToString", check: pairs }, "set the docker endpoint")
        .default("[]");

pub(in crate::commands) const CREATE: Command = Command {
    group: "context",
    name: "create",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] CONTEXT",
    about: "Create a context",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[DESCRIPTION, DOCKER, Flag::text("from", "create context from a named context")]],
    run: |app, matches| Box::pin(async move { create(app, matches) }),
};

pub(in crate::commands) const UPDATE: Command = Command {
    group: "context",
    name: "update",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] CONTEXT",
    about: "Update a context",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[DESCRIPTION, DOCKER]],
    run: |app, matches| Box::pin(async move { update(app, matches) }),
};

pub(in crate::commands) const USE: Command = Command {
    group: "context",
    name: "use",
    aliases: &[],
    top: "",
    arguments: "CONTEXT",
    about: "Set the current docker context",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[],
    run: |app, matches| Box::pin(async move { use_context(app, &matches.arguments[0]) }),
};

pub(in crate::commands) const RM: Command = Command {
    group: "context",
    name: "rm",
    aliases: &["remove"],
    top: "",
    arguments: "CONTEXT [CONTEXT...]",
    about: "Remove one or more contexts",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[Flag::switch("force", "Force the removal of a context in use").short('f')]],
    run: |app, matches| Box::pin(async move { remove(app, matches) }),
};

/// `key=value,key=value`
fn pairs(text: &str) -> Result<(), String> {
    match text.split(',').find(|pair| !pair.contains('=')) {
        Some(pair) => Err(format!("{pair} must be formatted as key=value")),
        None => Ok(()),
    }
}

fn create(app: &App, matches: &Matches) -> Result<u8> {
    let name = matches.arguments[0].as_str();
    let store = app.contexts();
    check_name(name)?;
    if store.has(name) {
        return Err(Failure::new(format!("context {name:?} already exists")));
    }
    let (mut meta, tls) = match (matches.has("from"), matches.has("docker")) {
        (true, true) => return Err(Failure::new("cannot use --docker flag when --from is set")),
        (false, true) => {
            let (endpoint, tls) = endpoint(app, matches)?;
            (Meta::new(name, "", &endpoint), tls)
        }
        (from, false) => {
            let source = if from { matches.text("from") } else { app.context() };
            let (mut meta, tls) = read(app, &source)?;
            if source == DEFAULT {
                meta.metadata.description = DEFAULT_DESCRIPTION.to_owned();
            }
            (meta, tls)
        }
    };
    name.clone_into(&mut meta.name);
    if let Some(description) = matches.get("description") {
        description.clone_into(&mut meta.metadata.description);
    }
    store.write(&meta, Some(&tls))?;
    done(name, &format!("Successfully created context {name:?}"))
}

fn update(app: &App, matches: &Matches) -> Result<u8> {
    let name = matches.arguments[0].as_str();
    let store = app.contexts();
    check_name(name)?;
    let mut meta = store.read(name)?;
    if let Some(description) = matches.get("description") {
        description.clone_into(&mut meta.metadata.description);
    }
    if matches.has("docker") {
        let (endpoint, tls) = endpoint(app, matches)?;
        meta.set_endpoint(&endpoint);
        store.write(&meta, Some(&tls))?;
    } else {
        store.write(&meta, None)?;
    }
    done(name, &format!("Successfully updated context {name:?}"))
}

/// What `--docker` describes.
fn endpoint(app: &App, matches: &Matches) -> Result<(Endpoint, TlsFiles)> {
    let wrong =
        |text: String| Failure::new(format!("unable to create docker endpoint config: {text}"));
    let (mut endpoint, mut tls) = (Endpoint::default(), TlsFiles::new());
    let given = matches.list("docker");
    let given: Vec<(&str, &str)> = given
        .iter()
        .flat_map(|text| text.split(','))
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let known = ["from", "host", "ca", "cert", "key", "skip-tls-verify"];
    if let Some((key, _)) = given.iter().find(|(key, _)| !known.contains(key)) {
        return Err(wrong(format!("unrecognized config key: {key}")));
    }
    if let Some((_, source)) = given.iter().find(|(key, _)| *key == "from") {
        let (meta, files) = read(app, source).map_err(|e| wrong(e.message))?;
        (endpoint, tls) = (meta.endpoint(), files);
    }
    for (key, value) in given {
        match key {
            "host" => value.clone_into(&mut endpoint.host),
            "skip-tls-verify" => {
                endpoint.skip_verify =
                    check::to_bool(value).map_err(|e| wrong(format!("{key}: {e}")))?;
            }
            "ca" | "cert" | "key" if !value.is_empty() => {
                let content = read_file(value).map_err(|e| wrong(e.message))?;
                let file = TLS_FILES.iter().find(|file| file.trim_end_matches(".pem") == key);
                tls.insert(file.unwrap_or(&"ca.pem").to_string(), content);
            }
            _ => {}
        }
    }
    if endpoint.host.is_empty() {
        return Err(wrong("host is required".to_owned()));
    }
    if tls.get("ca.pem").is_some_and(|ca| !is_certificate(ca)) {
        return Err(wrong(
            "invalid docker endpoint options: failed to retrieve context tls info: ca.pem seems invalid".to_owned(),
        ));
    }
    if endpoint.host.split_once("://").is_none_or(|(_, rest)| rest.is_empty()) {
        return Err(wrong(format!(
            "unable to apply docker endpoint options: unable to parse docker host `{}`",
            endpoint.host
        )));
    }
    Ok((endpoint, tls))
}

/// Whether a PEM file has a certificate.
fn is_certificate(pem: &[u8]) -> bool {
    pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE)
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn use_context(app: &App, name: &str) -> Result<u8> {
    if name != DEFAULT {
        check_name(name)?;
        app.contexts().read(name)?;
    }
    set_current(app, name)?;
    done(name, &format!("Current context is now {name:?}"))?;
    if name != DEFAULT && host::host_of_environment(&app.env).is_some() {
        let variable = variable(app);
        output::complain(&format!(
            "Warning: {variable} environment variable overrides the active context. To use {name:?}, either set the global \
             --context flag, or unset {variable} environment variable."
        ));
    }
    Ok(0)
}

/// The variable that names a host.
pub(in crate::commands) fn variable(app: &App) -> &'static str {
    if app.env.get("GANTRY_HOST").is_some() { "GANTRY_HOST" } else { "DOCKER_HOST" }
}

fn set_current(app: &App, name: &str) -> Result<()> {
    let name = if name == DEFAULT { "" } else { name };
    if app.config().current_context == name {
        return Ok(());
    }
    config::set_current_context(&app.config_directory, name)
}

fn remove(app: &App, matches: &Matches) -> Result<u8> {
    let force = matches.is("force");
    let current = app.context();
    let mut failures = Vec::new();
    for name in &matches.arguments {
        match remove_one(app, name, &current, force) {
            Ok(()) => output::print(&format!("{name}\n"))?,
            Err(failure) => failures.push(failure.message),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}

fn remove_one(app: &App, name: &str, current: &str, force: bool) -> Result<()> {
    if name == DEFAULT {
        return Err(Failure::new("context \"default\" cannot be removed"));
    }
    if !app.contexts().has(name) && !force {
        return Err(Failure::new(format!("context {name:?} does not exist")));
    }
    if name == current {
        if !force {
            return Err(Failure::new(format!(
                "context {name:?} is in use, set -f flag to force remove"
            )));
        }
        set_current(app, DEFAULT)?;
    }
    app.contexts().remove(name)
}

/// The name for scripts, the sentence for people.
pub(super) fn done(name: &str, sentence: &str) -> Result<u8> {
    output::print(&format!("{name}\n"))?;
    output::complain(sentence);
    Ok(0)
}
