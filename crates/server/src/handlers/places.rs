//! Networks: what there is (making and removing them comes with their own issue), and what of builds there is not.

use super::Daemon;
use crate::convert::place;
use crate::edge::conn::Outcome;
use crate::filters::Filters;
use crate::reply;
use crate::router::Call;
use api::ApiVersion;
use std::collections::BTreeMap;
use stdx::{Error, Result};
use store::records::network::NetworkRecord;

pub(crate) fn networks(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling")?;
    if let Some(bad) = filters.values("type").find(|kind| !matches!(*kind, "builtin" | "custom")) {
        return Err(Error::invalid(format!("invalid filter: 'type'='{bad}'")));
    }
    // Lists tell who is on a network only up to 1.27.
    let with_members = call.version < ApiVersion::v1(28);
    let views = if with_members || dangling.is_some() {
        daemon.engine.list_containers().collect()
    } else {
        Vec::new()
    };
    let mut networks = Vec::new();
    for record in daemon.engine.list_networks() {
        let builtin = is_builtin(&record);
        let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
            !filters.has(name) || filters.values(name).any(matches)
        };
        let wanted = any("driver", &|driver| driver == record.driver)
            && any("id", &|id| record.id.contains(id))
            && any("name", &|name| record.name.contains(name))
            && any("scope", &|scope| scope == "local")
            && any("type", &|kind| (kind == "builtin") == builtin)
            && filters.labels(&record.labels)
            && dangling.is_none_or(|dangling| {
                !builtin && place::members(&views, &record.id).is_empty() == dangling
            });
        if wanted {
            let members =
                if with_members { place::members(&views, &record.id) } else { BTreeMap::new() };
            networks.push(place::network(record, members));
        }
    }
    reply::ok(&networks)
}

fn is_builtin(record: &NetworkRecord) -> bool {
    matches!(record.name.as_str(), "bridge" | "host" | "none")
}

/// There are only the networks that are never pruned: what is asked is checked, and nothing goes.
pub(crate) fn prune_networks(call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["label", "label!", "until"])?;
    filters.until()?;
    reply::ok(&serde_json::json!({ "NetworksDeleted": null }))
}

/// There is no build cache, so nothing goes: `docker system prune` asks in any case.
pub(crate) fn prune_builds(call: &Call) -> Result<Outcome> {
    Filters::parse(call.query.text("filters"))?;
    reply::ok(&serde_json::json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))
}

pub(crate) fn network(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let scope = call.query.text("scope");
    let wanted = call.name.as_str();
    let not_found = || Error::not_found(format!("network {wanted} not found"));
    if !matches!(scope, "" | "local") {
        return Err(not_found());
    }
    let all = daemon.engine.list_networks();
    let exact =
        all.iter().find(|n| n.id == wanted).or_else(|| all.iter().find(|n| n.name == wanted));
    let record = match exact {
        Some(record) => record,
        None => {
            let mut starting = all.iter().filter(|n| n.id.starts_with(wanted));
            let record = starting.next().ok_or_else(not_found)?;
            if starting.next().is_some() {
                return Err(Error::invalid(format!(
                    "network {wanted} is ambiguous (2 matches found based on ID prefix)"
                )));
            }
            record
        }
    };
    let members = place::members(daemon.engine.list_containers(), &record.id);
    reply::ok(&place::network(record.clone(), members))
}
