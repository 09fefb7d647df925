//! `inspect`, `container inspect`, `image inspect`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT, Flag, Matches};
use crate::inspect::{Document, Inspector};
use api::{ContainerInspect, ImageInspect};
use bytes::Bytes;
use client::Client;
use std::rc::Rc;
use template::{Entry, Map, Value};

const SIZE: Flag = Flag::switch("size", "Display total file sizes").short('s');

pub(super) const ANYTHING: Command = Command {
    group: "",
    name: "inspect",
    aliases: &[],
    top: "inspect",
    arguments: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on Docker objects",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[
        FORMAT.short('f'),
        Flag::switch("size", "Display total file sizes if the type is container").short('s'),
        Flag::text("type", "Only inspect objects of the given type"),
    ]],
    run: |app, matches| Box::pin(anything(app, matches)),
};

pub(super) const CONTAINER: Command = Command {
    group: "container",
    name: "inspect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[FORMAT.short('f'), SIZE]],
    run: |app, matches| Box::pin(containers(app, matches)),
};

pub(super) const IMAGE: Command = Command {
    group: "image",
    name: "inspect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[
        FORMAT.short('f'),
        Flag::text(
            "platform",
            "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform \
             capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit \
             platform (eg. linux/amd64)",
        ).hidden(),
    ]],
    run: |app, matches| Box::pin(images(app, matches)),
};

async fn containers(app: &App, matches: &Matches) -> Result<u8> {
    let size = matches.is("size");
    all(app, matches, async |client, name| container(client, name, size).await).await
}

async fn images(app: &App, matches: &Matches) -> Result<u8> {
    if matches.has("platform") {
        return Err(Failure::new(
            "image inspect --platform is not there yet (see docs/compat.tsv)",
        ));
    }
    all(app, matches, async |client, name| image(client, name).await).await
}

pub(super) async fn networks(app: &App, matches: &Matches) -> Result<u8> {
    let verbose = matches.is("verbose");
    all(app, matches, async |client, name| network(client, name, verbose).await).await
}

pub(super) async fn volumes(app: &App, matches: &Matches) -> Result<u8> {
    all(app, matches, async |client, name| volume(client, name).await).await
}

async fn anything(app: &App, matches: &Matches) -> Result<u8> {
    let size = matches.is("size");
    match matches.get("type").unwrap_or_default() {
        "container" => containers(app, matches).await,
        "image" => all(app, matches, async |client, name| image(client, name).await).await,
        "volume" => volumes(app, matches).await,
        "network" => networks(app, matches).await,
        "" => {
            all(app, matches, async |client, name| {
                if name.is_empty() {
                    let text = "invalid container name or ID: value is empty";
                    return Err(client::Error::Stream(text.to_owned()));
                }
                // A name is looked for among containers first, then images, networks and volumes.
                match container(client, name, size).await {
                    Err(e) if is_absent(&e) => {}
                    other => return other,
                }
                match image(client, name).await {
                    Err(e) if is_absent(&e) => {}
                    other => return other,
                }
                match network(client, name, false).await {
                    Err(e) if is_absent(&e) => {}
                    other => return other,
                }
                match volume(client, name).await {
                    Err(e) if is_absent(&e) => {
                        Err(client::Error::Stream(format!("Error: No such object: {name}")))
                    }
                    other => other,
                }
            })
            .await
        }
        kind @ ("config" | "node" | "plugin" | "secret" | "service" | "task") => Err(Failure::new(
            format!("inspect --type {kind} is not there yet (see docs/compat.tsv)"),
        )),
        other => {
            let kinds = "\"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"";
            Err(Failure::new(format!("unknown type: {other:?}: must be one of {kinds}")))
        }
    }
}

fn is_absent(error: &client::Error) -> bool {
    error.is_not_found()
}

async fn all(
    app: &App,
    matches: &Matches,
    find: impl AsyncFn(&Client, &str) -> client::Result<Document>,
) -> Result<u8> {
    let mut inspector = Inspector::new(&matches.text("format"))?;
    let client = app.client()?;
    let mut failures = Vec::new();
    for name in &matches.arguments {
        match find(&client, name).await {
            Ok(document) => {
                if let Err(failure) = inspector.add(document) {
                    failures.push(failure.message);
                    break;
                }
            }
            Err(e) if e.is_connect() => return Err(e.into()),
            Err(e) => failures.push(e.to_string()),
        }
    }
    inspector.finish(failures)
}

async fn container(client: &Client, name: &str, size: bool) -> client::Result<Document> {
    let raw = client.inspect_container_raw(name, size).await?;
    let mut document = typed::<ContainerInspect>(raw)?;
    within(&mut document.value, "NetworkSettings", |settings| {
        within(settings, "Networks", |networks| {
            let Value::Map(map) = networks else { return };
            let mut map = Map::clone(map);
            map.entries.iter_mut().for_each(|entry| endpoint(&mut entry.value));
            *networks = Value::Map(Rc::new(map));
        });
    });
    Ok(document)
}

/// An endpoint as its type in Docker's client has it since 1.48: what was asked for comes first.
fn endpoint(endpoint: &mut Value) {
    let Value::Map(map) = &*endpoint else { return };
    let mut map = Map::clone(map);
    let mut asked = Vec::new();
    map.entries.retain(|entry| {
        let is_asked = matches!(&*entry.name, "DriverOpts" | "GwPriority");
        if is_asked {
            asked.push(Entry { omitted: false, ..entry.clone() });
        }
        !is_asked
    });
    let at = map.entries.iter().position(|entry| &*entry.name == "NetworkID");
    let at = at.unwrap_or(map.entries.len());
    map.entries.splice(at..at, asked);
    *endpoint = Value::Map(Rc::new(map));
}

/// Changes one entry of a map.
fn within(value: &mut Value, name: &str, change: impl FnOnce(&mut Value)) {
    let Value::Map(map) = &*value else { return };
    let mut map = Map::clone(map);
    if let Some(entry) = map.entries.iter_mut().find(|entry| &*entry.name == name) {
        change(&mut entry.value);
    }
    *value = Value::Map(Rc::new(map));
}

async fn image(client: &Client, name: &str) -> client::Result<Document> {
    let raw = client.inspect_image_raw(name).await?;
    let mut document = typed::<ImageInspect>(raw)?;
    within(&mut document.value, "Config", |config| *config = image_config(config));
    Ok(document)
}

/// What of a container's configuration an image has, in the order of its type in Docker's client; nothing empty is shown
/// as JSON.
fn image_config(config: &Value) -> Value {
    const FIELDS: &[&str] = &[
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "ArgsEscaped",
        "Healthcheck",
        "OnBuild",
        "Shell",
    ];
    let Value::Map(map) = config else { return config.clone() };
    let field = |name: &&str| {
        let entry = map.entries.iter().find(|entry| &*entry.name == *name)?;
        Some(Entry { omitted: entry.omitted || !entry.value.truth(), ..entry.clone() })
    };
    let entries = FIELDS.iter().filter_map(field).collect();
    Value::Map(Rc::new(Map { is_struct: true, entries, ..Map::default() }))
}

async fn volume(client: &Client, name: &str) -> client::Result<Document> {
    let raw = client.inspect_volume_raw(name).await?;
    let volume: api::Volume = read(&raw)?;
    let value = Value::of_type(&volume, "volume.Volume");
    Ok(Document { value, raw, by_json_names: false })
}

async fn network(client: &Client, name: &str, verbose: bool) -> client::Result<Document> {
    if name.trim().is_empty() {
        return Err(client::Error::Stream(super::network::NO_NAME.to_owned()));
    }
    let raw = client.inspect_network_raw(name, verbose).await?;
    let network: api::Network = read(&raw)?;
    Ok(Document { value: super::network_ls::in_full(&network), raw, by_json_names: true })
}

fn typed<T: serde::Serialize + serde::de::DeserializeOwned>(
    raw: Bytes,
) -> client::Result<Document> {
    let wire: T = read(&raw)?;
    Ok(Document { value: Value::of(&wire), raw, by_json_names: true })
}

fn read<T: serde::de::DeserializeOwned>(raw: &Bytes) -> client::Result<T> {
    api::json::from_slice(raw)
        .map_err(|e| client::Error::Answer { what: "inspect", message: e.to_string() })
}
