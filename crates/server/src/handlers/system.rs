//! The daemon itself.

use super::Daemon;
use crate::convert;
use crate::edge::body::Body;
use crate::edge::conn::Outcome;
use crate::filters::{self, Filters};
use crate::reply;
use crate::router::Call;
use bytes::Bytes;
use engine::EventStream;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use stdx::{Error, Result};

/// `OK`, and in the headers what a client needs to choose a version.
pub(crate) fn ping() -> Outcome {
    let mut response = Response::new(Body::from("OK"));
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"));
    Outcome::Respond(response)
}

pub(crate) fn version(daemon: &Daemon) -> Outcome {
    Outcome::Respond(reply::json_text(StatusCode::OK, Body::Whole(Some(daemon.version.clone()))))
}

pub(crate) fn info(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    reply::ok(&convert::info::info(daemon.engine.info(), call.version))
}

pub(crate) fn events(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let moment = |name| match call.query.text(name) {
        "" => Ok(None),
        text => filters::moment(text).map(Some),
    };
    let (since, until) = (moment("since")?, moment("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            call.query.text("since"),
            call.query.text("until")
        )));
    }
    let filters = Filters::parse(call.query.text("filters"))?;
    let events = daemon.engine.subscribe(since, until);
    let lines = stream::unfold((events, filters), |(mut events, filters)| async move {
        let line = next_line(&mut events, &filters).await?;
        Some((Ok(line), (events, filters)))
    });
    Ok(reply::stream("application/json", lines))
}

async fn next_line(events: &mut EventStream, filters: &Filters) -> Option<Bytes> {
    loop {
        let event = events.next().await?;
        if convert::event::wanted(&event, filters) {
            let mut line = serde_json::to_vec(&convert::event::to_wire(&event)).ok()?;
            line.push(b'\n');
            return Some(line.into());
        }
    }
}

/// Checks credentials with their registry.
pub(crate) async fn auth(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let wire: api::AuthConfig = call.json().await?.unwrap_or_default();
    let auth = super::images::to_engine(wire);
    daemon.engine.login(auth).await?;
    let status = "Login Succeeded".to_owned();
    reply::ok(&api::AuthResponse { status, identity_token: String::new() })
}
