//! `info`

use super::version::{ClientVersion, client_version};
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT, Matches};
use crate::output;
use api::Info;
use serde::Serialize;
use std::rc::Rc;
use template::{Entry, Map, Nil, Template, Value};
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "system",
    name: "info",
    aliases: &[],
    top: "info",
    arguments: "[OPTIONS]",
    about: "Display system-wide information",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[FORMAT.short('f')]],
    run: |app, matches| Box::pin(run(app, matches)),
};

/// What `info` tells of the client.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ClientInfo {
    debug: bool,
    #[serde(flatten)]
    version: ClientVersion,
    plugins: Vec<String>,
    warnings: Option<Vec<String>>,
}

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let format = matches.text("format");
    let template = match format.as_str() {
        "" | "json" => None,
        source => Some(
            Template::parse(source)
                .map_err(|e| Failure::new(format!("template parsing error: {e}")).with_code(64))?,
        ),
    };
    let client = app.client()?;
    let answer = client.info().await;
    let version = client_version(app, client.version());
    if template.is_some() || format == "json" {
        let text = match (answer, template) {
            (Ok(info), Some(template)) => {
                template.execute(&with_client(&info, version, app.debug)).map_err(Failure::new)
            }
            (Ok(info), None) => Ok(template::json(&with_client(&info, version, app.debug))),
            (Err(e), _) => Err(e.into()),
        };
        // The line ends even where nothing stands on it.
        output::print(&format!("{}\n", text.as_deref().unwrap_or_default()))?;
        return text.map(|_| 0);
    }
    output::print(&format!(
        "Client:\n Version:    {}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
        version.version, version.context, app.debug
    ))?;
    let info = answer?;
    output::print(&server(&info))?;
    for warning in info.warnings.iter().flatten() {
        output::complain(warning);
    }
    Ok(0)
}

/// The daemon's fields with the client's beside them, as templates see them.
fn with_client(info: &Info, version: ClientVersion, debug: bool) -> Value {
    let client = ClientInfo { debug, version, plugins: Vec::new(), warnings: None };
    match Value::of_type(info, "system.dockerInfo") {
        Value::Map(map) => {
            let mut map = Map::clone(&map);
            let value = Value::of(&client);
            let none = || Value::Nil(Nil::List);
            map.entries.push(Entry { name: "ServerErrors".into(), value: none(), omitted: true });
            map.entries.push(Entry { name: "ClientInfo".into(), value, omitted: false });
            map.entries.push(Entry { name: "ClientErrors".into(), value: none(), omitted: true });
            Value::Map(Rc::new(map))
        }
        other => other,
    }
}

fn server(info: &Info) -> String {
    let mut out = String::new();
    let mut line =
        |indent: usize, text: String| out.push_str(&format!("{}{text}\n", " ".repeat(indent)));
    line(1, format!("Containers: {}", info.containers));
    line(2, format!("Running: {}", info.containers_running));
    line(2, format!("Paused: {}", info.containers_paused));
    line(2, format!("Stopped: {}", info.containers_stopped));
    line(1, format!("Images: {}", info.images));
    let named = |title: &str, value: &str| (!value.is_empty()).then(|| format!("{title}: {value}"));
    for text in
        [named("Server Version", &info.server_version), named("Storage Driver", &info.driver)]
    {
        text.into_iter().for_each(|text| line(1, text));
    }
    for [name, value] in &info.driver_status {
        line(2, format!("{name}: {value}"));
    }
    for text in [
        named("Logging Driver", &info.logging_driver),
        named("Cgroup Driver", &info.cgroup_driver),
        named("Cgroup Version", &info.cgroup_version),
    ] {
        text.into_iter().for_each(|text| line(1, text));
    }
    line(1, "Plugins:".into());
    line(2, format!("Volume: {}", info.plugins.volume.join(" ")));
    line(2, format!("Network: {}", info.plugins.network.join(" ")));
    if let Some(authorization) = info.plugins.authorization.as_ref().filter(|a| !a.is_empty()) {
        line(2, format!("Authorization: {}", authorization.join(" ")));
    }
    line(2, format!("Log: {}", info.plugins.log.join(" ")));
    if let Some(directories) = info.cdi_spec_dirs.as_ref().filter(|d| !d.is_empty()) {
        line(1, "CDI spec directories:".into());
        directories.iter().for_each(|d| line(2, d.clone()));
    }
    line(1, format!("Swarm: {}", info.swarm.local_node_state));
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        line(1, format!("Runtimes: {}", names.join(" ")));
        line(1, format!("Default Runtime: {}", info.default_runtime));
    }
    line(1, format!("Init Binary: {}", info.init_binary));
    for (title, commit) in [
        ("containerd version", &info.containerd_commit),
        ("runc version", &info.runc_commit),
        ("init version", &info.init_commit),
    ] {
        line(1, format!("{title}: {}", commit.id));
    }
    if !info.security_options.is_empty() {
        line(1, "Security Options:".into());
        for option in &info.security_options {
            security_option(option).into_iter().for_each(|(indent, text)| line(indent, text));
        }
    }
    let memory = ByteSize(u64::try_from(info.mem_total).unwrap_or(0)).binary();
    for text in [
        named("Kernel Version", &info.kernel_version),
        named("Operating System", &info.operating_system),
        named("OSType", &info.os_type),
        named("Architecture", &info.architecture),
        Some(format!("CPUs: {}", info.ncpu)),
        Some(format!("Total Memory: {memory}")),
        named("Name", &info.name),
        named("ID", &info.id),
        Some(format!("Docker Root Dir: {}", info.docker_root_dir)),
        Some(format!("Debug Mode: {}", info.debug)),
    ] {
        text.into_iter().for_each(|text| line(1, text));
    }
    if info.debug {
        line(2, format!("File Descriptors: {}", info.n_fd));
        line(2, format!("Goroutines: {}", info.n_goroutines));
        line(2, format!("System Time: {}", info.system_time));
        line(2, format!("EventsListeners: {}", info.n_events_listener));
    }
    for text in [
        named("HTTP Proxy", &info.http_proxy),
        named("HTTPS Proxy", &info.https_proxy),
        named("No Proxy", &info.no_proxy),
    ] {
        text.into_iter().for_each(|text| line(1, text));
    }
    if !info.labels.is_empty() {
        line(1, "Labels:".into());
        info.labels.iter().for_each(|label| line(2, label.clone()));
    }
    line(1, format!("Experimental: {}", info.experimental_build));
    if let Some(registries) = &info.registry_config {
        let insecure: Vec<&String> = registries
            .index_configs
            .iter()
            .filter(|(_, c)| !c.secure)
            .map(|(name, _)| name)
            .collect();
        if !registries.index_configs.is_empty() || !registries.insecure_registry_cidrs.is_empty() {
            line(1, "Insecure Registries:".into());
            insecure
                .into_iter()
                .chain(&registries.insecure_registry_cidrs)
                .for_each(|r| line(2, r.clone()));
        }
        if let Some(mirrors) = registries.mirrors.as_ref().filter(|m| !m.is_empty()) {
            line(1, "Registry Mirrors:".into());
            mirrors.iter().for_each(|m| line(2, m.clone()));
        }
    }
    line(1, format!("Live Restore Enabled: {}", info.live_restore_enabled));
    if let Some(changes) = info.host_changes.as_ref().filter(|changes| !changes.is_empty()) {
        line(1, "Host Changes (undone by gantryd --cleanup):".into());
        changes.iter().for_each(|change| line(2, change.clone()));
    }
    out.push('\n');
    out
}

/// `name=seccomp,profile=builtin` as lines.
fn security_option(option: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for part in option.split(',') {
        match part.split_once('=') {
            Some(("name", name)) => lines.push((2, name.to_owned())),
            Some((key, value)) => {
                let mut title = key.to_owned();
                if let Some(first) = title.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                lines.push((3, format!("{title}: {value}")));
            }
            None => lines.push((2, part.to_owned())),
        }
    }
    lines
}
