//! `network ls`, and how templates see a network.

use super::events::filters;
use super::volume_ls::natural;
use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, FORMAT_TABLE, Flag, Kind, Matches};
use crate::format::{Listing, short_id};
use crate::output;
use api::Network;
use std::rc::Rc;
use template::{Entry, Map, Nil, Row, Value, moment};

pub(super) const COMMAND: Command = Command {
    group: "network",
    name: "ls",
    aliases: &["list"],
    top: "",
    arguments: "[OPTIONS]",
    about: "List networks",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"driver=bridge\")")
            .short('f'),
        FORMAT_TABLE,
        Flag::switch("no-trunc", "Do not truncate the output"),
        Flag::switch("quiet", "Only display network IDs").short('q'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

const TITLES: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];
const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let mut networks = app.client()?.list_networks(&filters(matches)).await?;
    networks.sort_by(|a, b| natural(&a.name, &b.name));
    let quiet = matches.is("quiet");
    let format = match matches.text("format") {
        format if format.is_empty() && quiet => "{{.ID}}".to_owned(),
        format if format.is_empty() => app.config().networks_format.clone(),
        format if quiet && format == "table" => "{{.ID}}".to_owned(),
        format => format,
    };
    let cut = !matches.is("no-trunc");
    let rows =
        networks.into_iter().map(|network| Rc::new(NetworkRow { network, cut }) as Rc<dyn Row>);
    let listing = Listing {
        titles: TITLES,
        table: TABLE.to_owned(),
        raw: if quiet { "network_id: {{.ID}}" } else { RAW },
    };
    output::print(&listing.render(&format, rows.collect())?)?;
    Ok(0)
}

/// A network as listings' templates see it.
#[derive(Debug)]
struct NetworkRow {
    network: Network,
    cut: bool,
}

impl Row for NetworkRow {
    fn field(&self, name: &str) -> Option<Value> {
        let network = &self.network;
        let text = match name {
            "ID" if self.cut => short_id(&network.id).to_owned(),
            "ID" => network.id.clone(),
            "Name" => network.name.clone(),
            "Driver" => network.driver.clone(),
            "Scope" => network.scope.clone(),
            // A daemon before 1.48 does not say, which reads as no.
            "IPv4" => network.enable_ipv4.unwrap_or(false).to_string(),
            "IPv6" => network.enable_ipv6.to_string(),
            "Internal" => network.internal.to_string(),
            "Labels" => {
                let label = |(name, value): (&String, &String)| format!("{name}={value}");
                network.labels.iter().map(label).collect::<Vec<_>>().join(",")
            }
            "CreatedAt" => moment(&network.created),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let label = || self.network.labels.get(argument).map_or("", String::as_str);
        (name == "Label").then(|| Value::str(label()))
    }

    fn names(&self) -> &[&'static str] {
        &["CreatedAt", "Driver", "ID", "IPv4", "IPv6", "Internal", "Labels", "Name", "Scope"]
    }

    fn type_name(&self) -> &'static str {
        "*network.networkContext"
    }
}

/// A network as templates of `inspect` see it: with what only swarms have, and its birth as a moment.
pub(super) fn in_full(network: &Network) -> Value {
    let Value::Map(map) = Value::of(network) else { return Value::Missing };
    let mut map = Map::clone(&map);
    map.entries.retain(|entry| &*entry.name != "Status" || !entry.omitted);
    for entry in &mut map.entries {
        match &*entry.name {
            "Created" => entry.value = Value::Time(network.created.as_str().into()),
            "EnableIPv4" if entry.omitted => {
                (entry.value, entry.omitted) = (Value::Bool(false), false);
            }
            "IPAM" => entry.value = with_lists(&entry.value),
            _ => {}
        }
    }
    let swarms = [("Peers", Nil::List), ("Services", Nil::Map)];
    let at = map.entries.iter().position(|e| &*e.name == "Status").unwrap_or(map.entries.len());
    let absent = |(name, nil): (&str, Nil)| Entry {
        name: name.into(),
        value: Value::Nil(nil),
        omitted: true,
    };
    map.entries.splice(at..at, swarms.map(absent));
    Value::Map(Rc::new(map))
}

/// The address management, in which `Config` is a list, and no pointer as elsewhere.
fn with_lists(ipam: &Value) -> Value {
    let Value::Map(map) = ipam else { return ipam.clone() };
    let mut map = Map::clone(map);
    for entry in &mut map.entries {
        if &*entry.name == "Config" && matches!(entry.value, Value::Nil(_)) {
            entry.value = Value::Nil(Nil::List);
        }
    }
    Value::Map(Rc::new(map))
}
