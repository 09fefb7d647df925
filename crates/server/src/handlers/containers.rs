//! One container: create, inspect, and the verbs of its life.

use super::Daemon;
use crate::convert;
use crate::edge::conn::Outcome;
use crate::reply;
use crate::router::{Call, invalid_json};
use api::{ContainerCreateBody, ContainerUpdateBody, ContainerUpdateResponse};
use engine::RemoveOptions;
use http::StatusCode;
use stdx::{Error, Result};

pub(crate) async fn create(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let (query, version) = (call.query.clone(), call.version);
    let empty = || Error::invalid("invalid JSON: got EOF while reading request body");
    let text = call.json_text().await?.ok_or_else(empty)?;
    let body = ContainerCreateBody::from_json(&text).map_err(|e| invalid_json(&e))?;
    let name = query.text("name");
    let asked =
        convert::create::create(body, name, query.text("platform"), version, &daemon.capacity)?;
    let created = daemon.engine.create_container(asked.request).await?;
    let mut warnings = asked.warnings;
    warnings.extend(created.warnings);
    reply::json(StatusCode::CREATED, &api::ContainerCreateResponse { id: created.id, warnings })
}

pub(crate) fn inspect(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let view = daemon.engine.inspect_container(&call.name, call.query.flag("size"))?;
    reply::ok(&convert::container::inspect(view, call.version))
}

pub(crate) async fn top(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let top = daemon.engine.top_container(&call.name, call.query.text("ps_args")).await?;
    reply::ok(&api::Top { processes: top.processes, titles: top.titles })
}

pub(crate) async fn resize(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.resize_container(&call.name, size(call)?).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `h` and `w` of a terminal.
pub(super) fn size(call: &Call) -> Result<engine::Resize> {
    let side = |name| {
        let number = crate::query::parse_number(call.query.text(name))?;
        u64::try_from(number)
            .map_err(|_| Error::invalid(format!("invalid resize height or width: {number}")))
    };
    convert::exec::resize([side("h")?, side("w")?])
}

pub(crate) async fn start(daemon: &Daemon, call: Call) -> Result<Outcome> {
    // Clients of before 1.24 could send a host configuration here; all of them also send an empty one.
    let name = call.name.clone();
    if http_body::Body::size_hint(&call.body).exact().is_none_or(|length| length > 7) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    daemon.engine.start_container(&name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn stop(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let (signal, timeout) = ending(call)?;
    daemon.engine.stop_container(&call.name, signal, timeout).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn restart(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let (signal, timeout) = ending(call)?;
    daemon.engine.restart_container(&call.name, signal, timeout).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// How to stop: `signal` (since 1.42) and `t` seconds.
fn ending(call: &Call) -> Result<(Option<String>, Option<i64>)> {
    let signal =
        if call.version < api::ApiVersion::v1(42) { "" } else { call.query.text("signal") };
    Ok((Some(signal.to_owned()).filter(|signal| !signal.is_empty()), call.query.number("t")?))
}

pub(crate) async fn kill(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let signal = Some(call.query.text("signal").to_owned()).filter(|signal| !signal.is_empty());
    daemon.engine.kill_container(&call.name, signal).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn rename(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.rename_container(&call.name, call.query.text("name")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn pause(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.pause_container(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn unpause(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.unpause_container(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn update(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let (name, version) = (call.name.clone(), call.version);
    let empty = || Error::invalid("invalid JSON: got EOF while reading request body");
    let body: ContainerUpdateBody = call.json().await?.ok_or_else(empty)?;
    let update = convert::update::to_engine(body, version, &daemon.capacity)?;
    daemon.engine.update_container(&name, update).await?;
    reply::ok(&ContainerUpdateResponse { warnings: None })
}

pub(crate) async fn remove(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
        link: call.query.flag("link"),
    };
    daemon.engine.remove_container(&call.name, options).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
