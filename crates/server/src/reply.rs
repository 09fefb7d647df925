//! Answers.

use crate::edge::body::Body;
use crate::edge::conn::Outcome;
use crate::status;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use serde::{Serialize, Serializer as _};
use std::io;
use stdx::{Error, Kind, Result};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Outcome {
    Outcome::Respond(with(status, Body::empty()))
}

/// `value` as JSON, with the newline that `dockerd` puts behind it.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Result<Outcome> {
    let mut text = Vec::with_capacity(256);
    serde_json::to_writer(&mut text, value)
        .map_err(|e| Error::internal("write answer").caused_by(e))?;
    text.push(b'\n');
    Ok(Outcome::Respond(json_text(status, text)))
}

/// A list with status 200, each item written as it comes; `each`: about how many bytes an item takes.
pub(crate) fn list<T: Serialize>(items: impl Iterator<Item = T>, each: usize) -> Result<Outcome> {
    let likely = items.size_hint().1.unwrap_or(0);
    let mut text = Vec::with_capacity(likely.saturating_mul(each).clamp(256, 1 << 20));
    serde_json::Serializer::new(&mut text)
        .collect_seq(items)
        .map_err(|e| Error::internal("write answer").caused_by(e))?;
    text.push(b'\n');
    Ok(Outcome::Respond(json_text(StatusCode::OK, text)))
}

/// `value` as JSON with status 200.
pub(crate) fn ok<T: Serialize + ?Sized>(value: &T) -> Result<Outcome> {
    json(StatusCode::OK, value)
}

/// JSON that is there already.
pub(crate) fn json_text(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = with(status, text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Pieces of `kind` as they come.
pub(crate) fn stream(
    kind: &'static str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Outcome {
    let mut response = with(StatusCode::OK, Body::pieces(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Outcome::Respond(response)
}

/// What an error looks like on the wire.
pub(crate) fn error(error: &Error) -> Response<Body> {
    if error.kind() == Kind::NotModified {
        return with(StatusCode::NOT_MODIFIED, Body::empty());
    }
    message(status::code(error.kind()), &error.to_string())
}

/// `{"message":…}`
pub(crate) fn message(status: StatusCode, text: &str) -> Response<Body> {
    let body = api::ErrorBody { message: text.to_owned() };
    let mut text = serde_json::to_vec(&body).unwrap_or_else(|_| br#"{"message":""}"#.to_vec());
    text.push(b'\n');
    json_text(status, text)
}

/// A refusal as Go's websocket library has it: text without a type.
pub(crate) fn bad_request(why: &'static str) -> Response<Body> {
    with(StatusCode::BAD_REQUEST, why.into())
}

fn with(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
