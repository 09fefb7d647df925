//! Volumes.

use super::Daemon;
use crate::convert::place;
use crate::edge::conn::Outcome;
use crate::filters::{Filters, Patterns};
use crate::query::quoted;
use crate::reply;
use crate::router::Call;
use api::{ApiVersion, VolumeCreateBody, VolumeList, VolumePruneReport};
use engine::{CreateVolume, VolumeView};
use http::StatusCode;
use stdx::{Error, Result};

pub(crate) fn list(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.flag("dangling")?;
    let names = Patterns::new(&filters, "name");
    let mut volumes = Vec::new();
    for view in daemon.engine.list_volumes()? {
        let record = &view.record;
        let wanted = dangling.is_none_or(|dangling| (view.users == 0) == dangling)
            && names.matches(&record.name)
            && (!filters.has("driver")
                || filters.values("driver").any(|driver| driver == record.driver))
            && filters.labels(&record.labels);
        if wanted {
            volumes.push(place::volume(view));
        }
    }
    reply::ok(&VolumeList { volumes, warnings: None })
}

pub(crate) fn inspect(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    reply::ok(&place::volume(daemon.engine.inspect_volume(&call.name)?))
}

pub(crate) async fn create(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let body: VolumeCreateBody = call.json().await?.unwrap_or_default();
    if body.cluster_volume_spec.is_some() {
        return Ok(Outcome::Respond(reply::message(
            StatusCode::SERVICE_UNAVAILABLE,
            crate::router::NOT_A_MANAGER,
        )));
    }
    let asked = CreateVolume {
        name: body.name,
        driver: body.driver,
        options: body.driver_opts.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
    };
    let view = daemon.engine.create_volume(asked).await?;
    reply::json(StatusCode::CREATED, &place::volume(view))
}

pub(crate) async fn remove(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.remove_volume(&call.name, call.query.flag("force")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["label", "label!", "all"])?;
    let mut all = call.version < ApiVersion::v1(42);
    if let Some(text) = filters.values("all").next() {
        all |= match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            other => {
                return Err(Error::invalid(format!(
                    "invalid filter 'all': strconv.ParseBool: parsing {}: invalid syntax",
                    quoted(other)
                )));
            }
        };
    }
    let keep = |view: &VolumeView| !filters.labels(&view.record.labels);
    let (names, bytes) = daemon.engine.prune_volumes(all, keep).await?;
    reply::ok(&VolumePruneReport {
        volumes_deleted: Some(names).filter(|names| !names.is_empty()),
        space_reclaimed: bytes,
    })
}
