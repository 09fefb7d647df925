//! `system df`

use super::images::rows as image_rows;
use super::ps::ContainerRow;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT_TABLE, Flag, Matches};
use crate::format::Listing;
use crate::output;
use api::{ContainerSummary, DiskUsage, Volume};
use std::rc::Rc;
use template::{Row, Value};
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
    if verbose && !matches!(format.as_str(), "" | "table") {
        return Err(Failure::new(
            "system df --verbose with --format is not there yet (see docs/compat.tsv)",
        ));
    }
    let usage = app.client()?.disk_usage().await?;
    let text = if verbose { details(usage)? } else { summary(&usage, &format)? };
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
        "*formatter.diskUsageContext"
    }
}

const IMAGE_COLUMNS: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINER_COLUMNS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";

fn details(usage: DiskUsage) -> Result<String> {
    let listing = |titles, table: &str, rows| {
        Listing { titles, table: table.to_owned(), raw: "" }.render("table", rows)
    };
    let images = usage.images.unwrap_or_default();
    let images = images.iter().flat_map(|image| image_rows(image, false, true));
    let images = images.map(|row| Rc::new(row) as Rc<dyn Row>).collect();
    let containers = usage.containers.unwrap_or_default().into_iter().map(|container| {
        // What the image has is no part of it.
        let container = ContainerSummary { size_root_fs: 0, ..container };
        Rc::new(ContainerRow { container, cut: true }) as Rc<dyn Row>
    });
    let volumes = usage.volumes.unwrap_or_default().into_iter();
    let volumes = volumes.map(|volume| Rc::new(VolumeRow(volume)) as Rc<dyn Row>).collect();
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: \
         0B\n\n{}",
        listing(super::images::TITLES, IMAGE_COLUMNS, images)?,
        listing(super::ps::TITLES, CONTAINER_COLUMNS, containers.collect())?,
        listing(VOLUME_TITLES, "{{.Name}}\t{{.Links}}\t{{.Size}}", volumes)?,
        crate::table::columns("CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n"),
    ))
}

const VOLUME_TITLES: &[(&str, &str)] =
    &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];

#[derive(Debug)]
struct VolumeRow(Volume);

impl Row for VolumeRow {
    fn field(&self, name: &str) -> Option<Value> {
        let usage = self.0.usage_data.as_ref();
        let text = match name {
            "Name" => self.0.name.clone(),
            "Links" => usage.map_or_else(|| "N/A".to_owned(), |u| u.ref_count.to_string()),
            "Size" => usage.map_or_else(|| "N/A".to_owned(), |u| human(u.size)),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &["Links", "Name", "Size"]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.volumeContext"
    }
}

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
