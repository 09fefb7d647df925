//! Networks.

use super::Daemon;
use crate::convert::network;
use crate::edge::conn::Outcome;
use crate::filters::Filters;
use crate::reply;
use crate::router::Call;
use api::ApiVersion;
use api::network::{
    NetworkConnectBody, NetworkCreateBody, NetworkCreateResponse, NetworkDisconnectBody,
    NetworkExplanation, NetworkPruneReport,
};
use http::StatusCode;
use std::collections::BTreeMap;
use stdx::{Error, Result};
use store::records::network::NetworkRecord;

pub(crate) fn list(daemon: &Daemon, call: &Call) -> Result<Outcome> {
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
            && any("scope", &|scope| scope == network::scope(&record))
            && any("type", &|kind| (kind == "builtin") == builtin)
            && filters.labels(&record.labels)
            && dangling.is_none_or(|dangling| {
                !builtin && network::members(&views, &record.id).is_empty() == dangling
            });
        if wanted {
            let members =
                if with_members { network::members(&views, &record.id) } else { BTreeMap::new() };
            networks.push(network::network(record, members, call.version));
        }
    }
    reply::ok(&networks)
}

fn is_builtin(record: &NetworkRecord) -> bool {
    matches!(record.name.as_str(), "bridge" | "host" | "none")
}

pub(crate) fn inspect(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let record = daemon.engine.inspect_network(&call.name)?;
    let scope = call.query.text("scope");
    if !scope.is_empty() && scope != network::scope(&record) {
        return Err(Error::not_found(format!("network {} not found", call.name)));
    }
    let members = network::members(daemon.engine.list_containers(), &record.id);
    let status = shows_status(call).then(|| network::status(daemon.engine.network_usage(&record)));
    reply::ok(&api::Network { status, ..network::network(record, members, call.version) })
}

/// Docker tells it from version 1.52 on. To clients of before, whoever asks for more is told it as well.
fn shows_status(call: &Call) -> bool {
    call.version >= ApiVersion::v1(52) || call.query.flag("verbose")
}

/// Who reaches a port or a container. Docker has nothing like it.
pub(crate) fn explain(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let explained = match (call.query.text("port"), call.query.text("container")) {
        ("", "") => return Err(Error::invalid("either port or container is needed")),
        (port, "") => daemon.engine.explain_port(port)?,
        ("", container) => daemon.engine.explain_container(container)?,
        _ => return Err(Error::invalid("port and container cannot be asked for together")),
    };
    let warnings = daemon.engine.network_warnings();
    reply::ok(&NetworkExplanation {
        decisions: explained.into_iter().map(network::decision).collect(),
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
    })
}

pub(crate) async fn create(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let body: NetworkCreateBody = call.json().await?.unwrap_or_default();
    if body.driver == "overlay" {
        return Ok(Outcome::Respond(reply::message(
            StatusCode::FORBIDDEN,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
             to swarm and try again.",
        )));
    }
    let id = daemon.engine.create_network(network::create(body)).await?;
    reply::json(StatusCode::CREATED, &NetworkCreateResponse { id, warning: String::new() })
}

pub(crate) async fn remove(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.remove_network(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let keep = |record: &NetworkRecord| {
        let young = until.is_some_and(|until| {
            record.created.parse().is_ok_and(|created: stdx::time::Timestamp| created > until)
        });
        young || !filters.labels(&record.labels)
    };
    let names = daemon.engine.prune_networks(keep).await?;
    let networks_deleted = Some(names).filter(|names| !names.is_empty());
    reply::ok(&NetworkPruneReport { networks_deleted })
}

pub(crate) async fn connect(daemon: &Daemon, mut call: Call) -> Result<Outcome> {
    let name = std::mem::take(&mut call.name);
    let body: NetworkConnectBody = call.json().await?.unwrap_or_default();
    let wishes = network::wishes(body.endpoint_config.unwrap_or_default());
    daemon.engine.connect_network(&name, &body.container, wishes).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn disconnect(daemon: &Daemon, mut call: Call) -> Result<Outcome> {
    let name = std::mem::take(&mut call.name);
    let body: NetworkDisconnectBody = call.json().await?.unwrap_or_default();
    daemon.engine.disconnect_network(&name, &body.container, body.force).await?;
    Ok(reply::empty(StatusCode::OK))
}
