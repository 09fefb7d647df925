//! `volume ls`

use super::events::filters;
use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, FORMAT_TABLE, Flag, Kind, Matches};
use crate::format::Listing;
use crate::output;
use api::Volume;
use std::rc::Rc;
use template::{Row, Value};
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "volume",
    name: "ls",
    aliases: &["list"],
    top: "",
    arguments: "[OPTIONS]",
    about: "List volumes",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::switch(
            "cluster",
            "Display only cluster volumes, and use cluster volume list formatting",
        ),
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"dangling=true\")")
            .short('f'),
        FORMAT_TABLE,
        Flag::switch("quiet", "Only display volume names").short('q'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

const TITLES: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];
const TABLE: &str = "{{.Driver}}\t{{.Name}}";
const CLUSTER_TABLE: &str = "{{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}";
const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let cluster = matches.is("cluster");
    let mut volumes = app.client()?.list_volumes(&filters(matches)).await?.volumes;
    if cluster {
        // They are Swarm's: there are none.
        volumes.clear();
    }
    volumes.sort_by(|a, b| natural(&a.name, &b.name));
    let quiet = matches.is("quiet");
    let format = match matches.text("format") {
        format if format.is_empty() && quiet => "{{.Name}}".to_owned(),
        format if format.is_empty() => app.config().volumes_format.clone(),
        format if quiet && format == "table" => "{{.Name}}".to_owned(),
        format => format,
    };
    let table = if cluster { CLUSTER_TABLE } else { TABLE }.to_owned();
    let rows = volumes.into_iter().map(|volume| Rc::new(VolumeRow(volume)) as Rc<dyn Row>);
    let listing =
        Listing { titles: TITLES, table, raw: if quiet { "name: {{.Name}}\n" } else { RAW } };
    output::print(&listing.render(&format, rows.collect())?)?;
    Ok(0)
}

/// As people sort: runs of digits by their number.
pub(super) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    loop {
        let (x, y) = (digits(a), digits(b));
        let order = if x > 0 && y > 0 {
            let strip = |n: &'_ [u8]| {
                let zeros = n.iter().take_while(|c| **c == b'0').count();
                n[zeros..].to_vec()
            };
            let (m, n) = (strip(&a[..x]), strip(&b[..y]));
            (a, b) = (&a[x..], &b[y..]);
            m.len().cmp(&n.len()).then(m.cmp(&n)).then(x.cmp(&y))
        } else {
            let (Some((m, rest_a)), Some((n, rest_b))) = (a.split_first(), b.split_first()) else {
                return a.len().cmp(&b.len());
            };
            (a, b) = (rest_a, rest_b);
            m.cmp(n)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A volume as templates see it.
#[derive(Debug)]
pub(super) struct VolumeRow(pub(super) Volume);

impl Row for VolumeRow {
    fn field(&self, name: &str) -> Option<Value> {
        let volume = &self.0;
        let text = match name {
            "Name" => volume.name.clone(),
            "Driver" => volume.driver.clone(),
            "Scope" => volume.scope.clone(),
            "Mountpoint" => volume.mountpoint.clone(),
            "Labels" => {
                let labels = volume.labels.iter().flatten();
                labels.map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
            }
            "Links" | "Size" if volume.usage_data.is_none() => "N/A".to_owned(),
            "Links" => volume.usage_data.as_ref().map_or(0, |usage| usage.ref_count).to_string(),
            "Size" => {
                let bytes = volume.usage_data.as_ref().map_or(0, |usage| usage.size);
                ByteSize(u64::try_from(bytes).unwrap_or(0)).decimal(4)
            }
            "Group" | "Availability" | "Status" => "N/A".to_owned(),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, name: &str, argument: &str) -> Option<Value> {
        let label = || self.0.labels.as_ref().and_then(|l| l.get(argument)).cloned();
        (name == "Label").then(|| Value::str(label().unwrap_or_default()))
    }

    fn names(&self) -> &[&'static str] {
        &[
            "Availability",
            "Driver",
            "Group",
            "Labels",
            "Links",
            "Mountpoint",
            "Name",
            "Scope",
            "Size",
            "Status",
        ]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.volumeContext"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_sort_them() {
        let mut names = ["v10", "v2", "v02", "a", "v", "v2b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "v", "v2", "v2b", "v02", "v10"]);
    }
}
