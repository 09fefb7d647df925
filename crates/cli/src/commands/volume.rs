//! `volume create`, `inspect`, `rm`, `prune`, `update`; `volume ls` has a file of its own.

use super::each::each;
use super::events::filters;
use super::prune::confirm;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT, Flag, Kind, Matches, check};
use crate::output;
use api::VolumeCreateBody;
use std::collections::BTreeMap;
use types::ByteSize;

const BYTES: Kind = Kind { name: "bytes", check: check::bytes };

const AVAILABILITY: Flag =
    Flag::text("availability", "Cluster Volume availability (\"active\", \"pause\", \"drain\")")
        .default("\"active\"");

pub(super) const CREATE: Command = Command {
    group: "volume",
    name: "create",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[&[
        AVAILABILITY,
        Flag::text("driver", "Specify volume driver name").short('d').default("\"local\""),
        Flag::text("group", "Cluster Volume group (cluster volumes)"),
        Flag::new("label", Kind::list(check::label), "Set metadata for a volume"),
        Flag::new("limit-bytes", BYTES, "Minimum size of the Cluster Volume in bytes"),
        Flag::text("name", "Specify volume name").hidden(),
        Flag::new("opt", Kind::MAP, "Set driver specific options").short('o').default("map[]"),
        Flag::new("required-bytes", BYTES, "Maximum size of the Cluster Volume in bytes"),
        Flag::text("scope", "Cluster Volume access scope (\"single\", \"multi\")")
            .default("\"single\""),
        Flag::new("secret", Kind::MAP, "Cluster Volume secrets").default("map[]"),
        Flag::text(
            "sharing",
            "Cluster Volume access sharing (\"none\", \"readonly\", \"onewriter\", \"all\")",
        )
        .default("\"none\""),
        Flag::new(
            "topology-preferred",
            Kind::LIST,
            "A topology that the Cluster Volume would be preferred in",
        ),
        Flag::new(
            "topology-required",
            Kind::LIST,
            "A topology that the Cluster Volume must be accessible from",
        ),
        Flag::text("type", "Cluster Volume access type (\"mount\", \"block\")")
            .default("\"block\""),
    ]],
    run: |app, matches| Box::pin(create(app, matches)),
};

/// Flags that make Docker's client ask for a cluster volume.
const CLUSTER: [&str; 10] = [
    "availability",
    "group",
    "limit-bytes",
    "required-bytes",
    "scope",
    "secret",
    "sharing",
    "topology-preferred",
    "topology-required",
    "type",
];

async fn create(app: &App, matches: &Matches) -> Result<u8> {
    let mut name = matches.text("name");
    if let Some(argument) = matches.arguments.first() {
        if !name.is_empty() {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            ));
        }
        name.clone_from(argument);
    }
    let body = VolumeCreateBody {
        name,
        driver: matches.get("driver").unwrap_or("local").to_owned(),
        driver_opts: some(pairs(&matches.list("opt"))),
        labels: some(pairs(&matches.list("label"))),
        // The daemon says why there are none.
        cluster_volume_spec: CLUSTER
            .iter()
            .any(|flag| matches.has(flag))
            .then(|| serde_json::json!({})),
    };
    let volume = app.client()?.create_volume(&body).await?;
    output::print(&format!("{}\n", volume.name))?;
    Ok(0)
}

pub(super) fn pairs(flags: &[String]) -> BTreeMap<String, String> {
    let pair = |flag: &String| {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        (name.to_owned(), value.to_owned())
    };
    flags.iter().map(pair).collect()
}

fn some(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(map).filter(|map| !map.is_empty())
}

pub(super) const INSPECT: Command = Command {
    group: "volume",
    name: "inspect",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[FORMAT.short('f')]],
    run: |app, matches| Box::pin(super::inspect::volumes(app, matches)),
};

pub(super) const REMOVE: Command = Command {
    group: "volume",
    name: "rm",
    aliases: &["remove"],
    top: "",
    arguments: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove one or more volumes",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[&[Flag::switch("force", "Force the removal of one or more volumes").short('f')]],
    run: |app, matches| Box::pin(remove(app, matches)),
};

async fn remove(app: &App, matches: &Matches) -> Result<u8> {
    let force = matches.is("force");
    let ask = async |client: &client::Client, name: &str| client.remove_volume(name, force).await;
    each(&app.client()?, &matches.arguments, ask).await
}

pub(super) const PRUNE: Command = Command {
    group: "volume",
    name: "prune",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS]",
    about: "Remove unused local volumes",
    arity: Arity::None,
    interspersed: true,
    flags: &[&[
        Flag::switch("all", "Remove all unused volumes, not just anonymous ones").short('a'),
        Flag::new("filter", Kind::FILTER, "Provide filter values (e.g. \"label=<label>\")"),
        Flag::switch("force", "Do not prompt for confirmation").short('f'),
    ]],
    run: |app, matches| Box::pin(prune(app, matches)),
};

async fn prune(app: &App, matches: &Matches) -> Result<u8> {
    let mut filters = filters(matches);
    let all = matches.is("all");
    if all {
        if filters.get("all").is_some() {
            return Err(Failure::new(
                "conflicting options: cannot specify both --all and --filter all=1",
            ));
        }
        filters.add("all", "true");
    }
    let which = if all { "" } else { "anonymous " };
    let warning =
        format!("This will remove {which}local volumes not used by at least one container.");
    let warning = if all { warning.replace("remove local", "remove all local") } else { warning };
    confirm(matches, &warning)?;
    let report = app.client()?.prune_volumes(&filters).await?;
    let deleted = report.volumes_deleted.unwrap_or_default();
    let mut text = String::new();
    if !deleted.is_empty() {
        text.push_str(&format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")));
    }
    let size = ByteSize(report.space_reclaimed).decimal(4);
    text.push_str(&format!("Total reclaimed space: {size}\n"));
    output::print(&text)?;
    Ok(0)
}

pub(super) const UPDATE: Command = Command {
    group: "volume",
    name: "update",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] [VOLUME]",
    about: "Update a volume (cluster volumes only)",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[AVAILABILITY]],
    run: |app, matches| Box::pin(update(app, matches)),
};

/// Docker's client looks at the volume first and updates those of a cluster alone.
async fn update(app: &App, matches: &Matches) -> Result<u8> {
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    app.client()?.inspect_volume_raw(name).await?;
    Err(Failure::new("can only update cluster volumes"))
}
