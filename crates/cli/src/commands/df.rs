//! `system df`

use super::images::rows as image_rows;
use super::ps::ContainerRow;
use super::volume_ls::VolumeRow;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT_TABLE, Flag, Matches};
use crate::format::Listing;
use crate::output;
use api::{ContainerSummary, DiskUsage, Volume};
use std::rc::Rc;
use template::{Entry, Map, Row, Template, Value};
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "system",
    name: "df",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Show docker disk usage",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        FORMAT_TABLE,
        Flag::switch("verbose", "Show detailed information on space usage").short('v'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let format = matches.text("format");
    let verbose = matches.is("verbose");
    let template = match format.as_str() {
        _ if !verbose => None,
        "" | "table" => None,
        "json" => Some("{{json .}}".to_owned()),
        given => Some(given.strip_prefix("table").map_or(given, str::trim_start).to_owned()),
    };
    let template = template
        .map(|source| Template::parse(&source.replace("\\t", "\t").replace("\\n", "\n")))
        .transpose()
        .map_err(|e| Failure::new(format!("template parsing error: {e}")))?;
    let usage = app.client()?.disk_usage().await?;
    let text = match template {
        Some(template) => {
            let text = template.execute(&everything(usage)).map_err(Failure::new)?;
            format!("{text}\n")
        }
        None if verbose => details(usage)?,
        None => summary(&usage, &format)?,
    };
    output::print(&text)?;
    Ok(0)
}

const TITLES: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

fn summary(usage: &DiskUsage, format: &str) -> Result<String> {
    let table = TITLES.iter().map(|(f, _)| format!("{{{{.{f}}}}}")).collect::<Vec<_>>().join("\t");
    let rows = kinds(usage).into_iter().map(|kind| Rc::new(kind) as Rc<dyn Row>).collect();
    Listing { titles: TITLES, table, raw: "" }.render(format, rows)
}

/// One line of the summary.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
    /// With its share of the whole.
    percent: bool,
}

fn kinds(usage: &DiskUsage) -> Vec<Kind> {
    let images = usage.images.as_deref().unwrap_or_default();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let used: i64 =
        images.iter().filter(|i| i.containers > 0).map(|i| i.size - i.shared_size).sum();
    let live =
        |c: &&ContainerSummary| matches!(c.state.as_str(), "running" | "paused" | "restarting");
    let written = |list: &mut dyn Iterator<Item = &ContainerSummary>| -> i64 {
        list.map(|c| c.size_rw).sum()
    };
    let size = |v: &Volume| v.usage_data.as_ref().map_or(0, |u| u.size.max(0));
    let links = |v: &&Volume| v.usage_data.as_ref().is_some_and(|u| u.ref_count > 0);
    vec![
        Kind {
            name: "Images",
            total: images.len(),
            active: images.iter().filter(|i| i.containers > 0).count(),
            size: usage.layers_size,
            reclaimable: usage.layers_size - used,
            percent: usage.layers_size > 0,
        },
        Kind {
            name: "Containers",
            total: containers.len(),
            active: containers.iter().filter(live).count(),
            size: written(&mut containers.iter()),
            reclaimable: written(&mut containers.iter().filter(|c| !live(c))),
            percent: containers.iter().any(|c| c.size_rw > 0),
        },
        Kind {
            name: "Local Volumes",
            total: volumes.len(),
            active: volumes.iter().filter(links).count(),
            size: volumes.iter().map(size).sum(),
            reclaimable: volumes.iter().filter(|v| !links(v)).map(size).sum(),
            percent: volumes.iter().any(|v| size(v) > 0),
        },
        Kind { name: "Build Cache", total: 0, active: 0, size: 0, reclaimable: 0, percent: false },
    ]
}

fn human(bytes: i64) -> String {
    ByteSize(u64::try_from(bytes).unwrap_or(0)).decimal(4)
}

impl Row for Kind {
    fn field(&self, name: &str) -> Option<Value> {
        let text = match name {
            "Type" => self.name.to_owned(),
            "TotalCount" => self.total.to_string(),
            "Active" => self.active.to_string(),
            "Size" => human(self.size),
            "Reclaimable" if self.percent => {
                format!(
                    "{} ({}%)",
                    human(self.reclaimable),
                    self.reclaimable * 100 / self.size.max(1)
                )
            }
            "Reclaimable" => human(self.reclaimable),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &["Active", "Reclaimable", "Size", "TotalCount", "Type"]
    }

    fn type_name(&self) -> &'static str {
        match self.name {
            "Images" => "*formatter.diskUsageImagesContext",
            "Containers" => "*formatter.diskUsageContainersContext",
            "Local Volumes" => "*formatter.diskUsageVolumesContext",
            _ => "*formatter.diskUsageBuilderContext",
        }
    }
}

const IMAGE_COLUMNS: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINER_COLUMNS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";

fn details(usage: DiskUsage) -> Result<String> {
    let listing = |titles, table: &str, rows| {
        Listing { titles, table: table.to_owned(), raw: "" }.render("table", rows)
    };
    let Rows { images, containers, volumes } = rows(usage, true);
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: \
         0B\n\n{}",
        listing(super::images::TITLES, IMAGE_COLUMNS, images)?,
        listing(super::ps::TITLES, CONTAINER_COLUMNS, containers)?,
        listing(VOLUME_TITLES, "{{.Name}}\t{{.Links}}\t{{.Size}}", volumes)?,
        crate::table::columns("CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n"),
    ))
}

/// What there is, each as a row of its listing.
struct Rows {
    images: Vec<Rc<dyn Row>>,
    containers: Vec<Rc<dyn Row>>,
    volumes: Vec<Rc<dyn Row>>,
}

/// `cut`: for people, who want short ids.
fn rows(usage: DiskUsage, cut: bool) -> Rows {
    let images = usage.images.unwrap_or_default();
    let images = images.iter().flat_map(|image| image_rows(image, false, cut)).map(|row| {
        // Digests are not asked for, so none is shown.
        if cut { row } else { row.without_digest() }
    });
    let containers = usage.containers.unwrap_or_default().into_iter().map(|container| {
        // What the image has is no part of it.
        let container = ContainerSummary { size_root_fs: 0, ..container };
        Rc::new(ContainerRow { container, cut }) as Rc<dyn Row>
    });
    let volumes = usage.volumes.unwrap_or_default().into_iter();
    Rows {
        images: images.map(|row| Rc::new(row) as Rc<dyn Row>).collect(),
        containers: containers.collect(),
        volumes: volumes.map(|volume| Rc::new(VolumeRow(volume)) as Rc<dyn Row>).collect(),
    }
}

/// Everything in one value, as `--verbose --format` has it.
fn everything(usage: DiskUsage) -> Value {
    let Rows { images, containers, volumes } = rows(usage, false);
    let list = |rows: Vec<Rc<dyn Row>>| Value::List(rows.into_iter().map(Value::Row).collect());
    let entry = |name: &str, value| Entry { name: name.into(), value, omitted: false };
    let entries = vec![
        entry("Images", list(images)),
        entry("Containers", list(containers)),
        entry("Volumes", list(volumes)),
        entry("BuildCache", list(Vec::new())),
    ];
    let type_name = "*formatter.diskUsageContext";
    Value::Map(Rc::new(Map { is_struct: true, type_name, entries }))
}

const VOLUME_TITLES: &[(&str, &str)] =
    &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];

#[cfg(test)]
mod tests {
    use super::*;
    use api::{ImageSummary, VolumeUsage};

    #[test]
    fn what_nobody_uses_can_be_reclaimed() {
        let image = |containers, size, shared_size| ImageSummary {
            containers,
            size,
            shared_size,
            ..ImageSummary::default()
        };
        let container = |state: &str, size_rw| ContainerSummary {
            state: state.to_owned(),
            size_rw,
            ..ContainerSummary::default()
        };
        let volume = |ref_count, size| Volume {
            usage_data: Some(VolumeUsage { ref_count, size }),
            ..Volume::default()
        };
        let usage = DiskUsage {
            layers_size: 1000,
            images: Some(vec![image(1, 700, 100), image(0, 400, 100)]),
            containers: Some(vec![container("running", 10), container("exited", 5)]),
            volumes: Some(vec![volume(1, 3), volume(0, 4)]),
            build_cache: None,
        };
        let text = summary(&usage, "").unwrap();
        assert_eq!(
            text,
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          2         1         1kB       400B (40%)\n\
             Containers      2         1         15B       5B (33%)\n\
             Local Volumes   2         1         7B        4B (57%)\n\
             Build Cache     0         0         0B        0B\n"
        );
    }
}
