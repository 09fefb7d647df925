//! `ps`

use super::events::filters;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FILTER, FORMAT_TABLE, Flag, Kind, Matches};
use crate::format::{Listing, ellipsis, short_id};
use crate::output;
use crate::units;
use api::{ContainerSummary, Port};
use client::ListOptions;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::fmt::Debug;
use std::rc::Rc;
use template::quoted;
use template::{Nil, Row, Value};
use types::{ByteSize, ImageRef};

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "ls",
    aliases: &["list", "ps"],
    top: "ps",
    arguments: "[OPTIONS]",
    about: "List containers",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::switch("all", "Show all containers (default shows just running)").short('a'),
        FILTER,
        FORMAT_TABLE,
        Flag::new("last", Kind::INT, "Show n last created containers (includes all states)")
            .short('n')
            .default("-1"),
        Flag::switch("latest", "Show the latest created container (includes all states)")
            .short('l'),
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::switch("quiet", "Only display container IDs").short('q'),
        Flag::switch("size", "Display total file sizes").short('s'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let format = match (matches.text("format"), matches.is("quiet")) {
        (format, true) => {
            if !format.is_empty() {
                output::complain(
                    "WARNING: Ignoring custom format, because both --format and --quiet are set.",
                );
            }
            if format == "raw" { "container_id: {{.ID}}" } else { "{{.ID}}" }.to_owned()
        }
        (format, false) if format.is_empty() => app.config().ps_format.clone(),
        (format, false) => format,
    };
    let wants_size = matches.is("size");
    let listing = Listing {
        titles: TITLES,
        table: format!("{TABLE}{}", if wants_size { "\t{{.Size}}" } else { "" }),
        raw: if wants_size { RAW_SIZE } else { RAW },
    };
    let listing = listing
        .prepare(&format)
        .map_err(|e| Failure::new(format!("failed to parse template: {e}")))?;
    let example: ContainerSummary<IgnoredAny> = ContainerSummary::default();
    let example = Rc::new(ContainerRow { container: example, cut: true });
    // Sizes cost the daemon a walk through every container: only where they are shown.
    let wrong = |e| Failure::new(format!("failed to execute template: {e}"));
    let size = listing.asks_for("Size", example).map_err(wrong)? && format != "json";
    let latest = matches.is("latest") && !matches.has("last");
    let limit = if latest { Some(1) } else { matches.int("last").filter(|n| *n > 0) };
    let options = ListOptions { all: matches.is("all"), limit, size, filters: filters(matches) };
    let cut = !matches.is("no-trunc");
    // Row by row: hundreds of containers need no more memory than one.
    let (mut text, mut added) = (String::new(), Ok(()));
    let add = |container| {
        if added.is_ok() {
            added = listing.add(Rc::new(ContainerRow { container, cut }), &mut text);
        }
    };
    app.client()?.each_container(&options, add).await?;
    added?;
    output::print(&listing.finish(text)?)?;
    Ok(0)
}

const TABLE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- if .State}} {{.State}}{{- end}}\nstatus: {{- if .Status}} {{.Status}}{{- end}}\nnames: {{.Names}}\nlabels: {{- if .Labels}} {{.Labels}}{{- end}}\nports: {{- if .Ports}} {{.Ports}}{{- end}}\n";
const RAW_SIZE: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- if .State}} {{.State}}{{- end}}\nstatus: {{- if .Status}} {{.Status}}{{- end}}\nnames: {{.Names}}\nlabels: {{- if .Labels}} {{.Labels}}{{- end}}\nports: {{- if .Ports}} {{.Ports}}{{- end}}\nsize: {{.Size}}\n";

pub(super) const TITLES: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// A container; `E` as in [`ContainerSummary`].
#[derive(Debug)]
pub(super) struct ContainerRow<E> {
    pub(super) container: ContainerSummary<E>,
    /// Long texts are cut.
    pub(super) cut: bool,
}

impl<E> ContainerRow<E> {
    fn names(&self) -> Cow<'_, str> {
        let names = self.container.names.iter().map(|n| n.trim_start_matches('/'));
        // Names with a slash are links from other containers.
        let own = names.clone().find(|n| self.cut && !n.contains('/'));
        own.map_or_else(|| names.collect::<Vec<_>>().join(",").into(), Cow::from)
    }

    fn image(&self) -> Cow<'_, str> {
        let (image, id) = (self.container.image.as_str(), self.container.image_id.as_str());
        if image.is_empty() {
            return "<no image>".into();
        }
        if !self.cut {
            return image.into();
        }
        if short_id(id) == short_id(image) && !id.is_empty() {
            return short_id(image).into();
        }
        // Only a reference with a digest has an @.
        match image.contains('@').then(|| image.parse::<ImageRef>()) {
            Some(Ok(image)) if image.tag().is_some() && image.digest().is_some() => {
                image.without_digest().familiar().into()
            }
            _ => image.into(),
        }
    }

    fn size(&self) -> String {
        let size = |bytes: i64| ByteSize(u64::try_from(bytes).unwrap_or(0)).to_string();
        let own = size(self.container.size_rw);
        match self.container.size_root_fs {
            whole if whole > 0 => format!("{own} (virtual {})", size(whole)),
            _ => own,
        }
    }

    fn mounts(&self) -> String {
        const WIDTH: usize = 15;
        let names = self.container.mounts.iter().map(|m| {
            let name = if m.name.is_empty() { &m.source } else { &m.name };
            if self.cut { ellipsis(name, WIDTH) } else { Cow::from(name) }
        });
        names.collect::<Vec<_>>().join(",")
    }
}

impl<E: Debug> Row for ContainerRow<E> {
    fn field(&self, name: &str) -> Option<Value> {
        const COMMAND_WIDTH: usize = 20;
        let c = &self.container;
        let text: Cow<'_, str> = match name {
            "ID" if self.cut => short_id(&c.id).into(),
            "ID" => c.id.as_str().into(),
            "Names" => self.names(),
            "Image" => self.image(),
            "Command" if self.cut => quoted(&ellipsis(&c.command, COMMAND_WIDTH)).into(),
            "Command" => quoted(&c.command).into(),
            "CreatedAt" => units::local_time(c.created).into(),
            "RunningFor" => units::ago(c.created).into(),
            "Ports" => ports(&c.ports).into(),
            "State" => c.state.as_str().into(),
            "Status" => c.status.as_str().into(),
            "Size" => self.size().into(),
            "Labels" => {
                let labels = c.labels.iter().map(|(n, v)| format!("{n}={v}"));
                labels.collect::<Vec<_>>().join(",").into()
            }
            "Mounts" => self.mounts().into(),
            "LocalVolumes" => {
                c.mounts.iter().filter(|m| m.driver == "local").count().to_string().into()
            }
            "Networks" => {
                let networks = c.network_settings.networks.keys().map(String::as_str);
                networks.collect::<Vec<_>>().join(",").into()
            }
            // Only API 1.48 tells.
            "Platform" => return Some(Value::Nil(Nil::Pointer)),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        (name == "Label")
            .then(|| Value::str(self.container.labels.get(argument).map_or("", String::as_str)))
    }

    fn names(&self) -> &[&'static str] {
        &[
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Platform",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status",
        ]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.ContainerContext"
    }
}

/// Ports in few words: neighbours that are published as they are become a range, the others stand alone at the end.
fn ports(ports: &[Port]) -> String {
    struct Range {
        key: (String, String),
        first: u16,
        last: u16,
    }
    let show = |r: &Range| {
        let (ip, kind) = &r.key;
        let span =
            if r.first == r.last { r.first.to_string() } else { format!("{}-{}", r.first, r.last) };
        if ip.is_empty() {
            format!("{span}/{kind}")
        } else {
            format!("{}:{span}->{span}/{kind}", host(ip))
        }
    };
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|p| (p.private_port, p.ip.clone(), p.public_port, p.kind.clone()));
    let mut open: Vec<Range> = Vec::new();
    let mut closed = Vec::new();
    let mut single = Vec::new();
    for port in sorted {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            single.push(format!(
                "{}:{}->{}/{}",
                host(&port.ip),
                port.public_port,
                port.private_port,
                port.kind
            ));
            continue;
        }
        let key = (port.ip.clone(), port.kind.clone());
        match open.iter_mut().find(|r| r.key == key) {
            Some(range) if port.private_port == range.last.saturating_add(1) => {
                range.last = port.private_port;
            }
            Some(range) => {
                closed.push(show(range));
                (range.first, range.last) = (port.private_port, port.private_port);
            }
            None => open.push(Range { key, first: port.private_port, last: port.private_port }),
        }
    }
    closed.extend(open.iter().map(show));
    closed.extend(single);
    closed.join(", ")
}

fn host(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_one_range() {
        let port = |ip: &str, private: u16, public: u16, kind: &str| Port {
            ip: ip.into(),
            private_port: private,
            public_port: public,
            kind: kind.into(),
        };
        let check = |list: &[Port], want: &str| assert_eq!(ports(list), want);
        check(&[], "");
        check(&[port("", 80, 0, "tcp")], "80/tcp");
        check(
            &[port("", 81, 0, "tcp"), port("", 80, 0, "tcp"), port("", 83, 0, "tcp")],
            "80-81/tcp, 83/tcp",
        );
        check(&[port("0.0.0.0", 80, 8080, "tcp")], "0.0.0.0:8080->80/tcp");
        check(&[port("::", 80, 80, "tcp"), port("::", 81, 81, "tcp")], "[::]:80-81->80-81/tcp");
        check(&[port("", 80, 0, "tcp"), port("", 80, 0, "udp")], "80/tcp, 80/udp");
    }
}
