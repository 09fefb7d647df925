//! What goes on for a while: attach, logs, wait.

use super::Daemon;
use crate::edge::conn::{Outcome, TakeOver};
use crate::edge::detach::DetachKeys;
use crate::edge::pump::{self, End, Streams};
use crate::edge::websocket::{self, Shape};
use crate::filters;
use crate::reply;
use crate::router::Call;
use api::{ApiVersion, WaitError, WaitResponse};
use bytes::Bytes;
use engine::{AttachRequest, Attached, LogsRequest, WaitCondition};
use futures_util::stream;
use http::{HeaderMap, header};
use stdx::{Error, Result};

const RAW: &str = "application/vnd.docker.raw-stream";
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// What kind of stream a client is told it gets.
fn kind(tty: bool, version: ApiVersion) -> &'static str {
    if tty || version < ApiVersion::v1(42) { RAW } else { MULTIPLEXED }
}

/// The head before raw bytes, with and without an upgrade that the client asked for. hyper never sees it.
pub(super) fn raw_head(headers: &HeaderMap, tty: bool, version: ApiVersion) -> String {
    if headers.contains_key(header::UPGRADE) {
        let kind = kind(tty, version);
        format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n")
    }
}

pub(crate) async fn attach(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let text = call.query.text("detachKeys");
    let keys = DetachKeys::parse(text)
        .map_err(|_| Error::invalid(format!("Invalid detach keys ({text}) provided")))?;
    let flag = |name| call.query.flag(name);
    let request = AttachRequest {
        logs: flag("logs"),
        stream: flag("stream"),
        stdin: flag("stdin"),
        stdout: flag("stdout"),
        stderr: flag("stderr"),
    };
    let stdin = request.stdin;
    let Attached { stream, history, tty } =
        daemon.engine.attach_container(&call.name, request).await?;
    let head = raw_head(&call.headers, tty, call.version);
    let (engine, name) = (daemon.engine.clone(), call.name);
    Ok(Outcome::TakeOver(TakeOver::new(move |raw| async move {
        let mut first = head.into_bytes();
        first.extend_from_slice(&history);
        let streams = Streams { history: first, shim: stream, stdin, detach: tty.then_some(keys) };
        if pump::run(raw, streams).await == End::Detached {
            engine.detached(&name);
        }
    })))
}

/// As [`attach`], in the frames of a websocket.
pub(crate) async fn attach_websocket(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let text = call.query.text("detachKeys");
    let keys = DetachKeys::parse(text)
        .map_err(|_| Error::invalid(format!("Invalid detach keys ({text}) provided")))?;
    // Nobody is told that an unknown container would not have been attached to this way.
    let _known = daemon.engine.inspect_container(&call.name, false)?;
    let head = match websocket::handshake(&call.headers) {
        Ok(head) => head,
        Err(why) => return Ok(Outcome::Respond(reply::bad_request(why))),
    };
    // Which streams could not be said before 1.42.
    let all = call.version < ApiVersion::v1(42);
    let flag = |name| call.query.flag(name);
    let request = AttachRequest {
        logs: flag("logs"),
        stream: flag("stream"),
        stdin: all || flag("stdin"),
        stdout: all || flag("stdout"),
        stderr: all || flag("stderr"),
    };
    let stdin = request.stdin;
    let Attached { stream, history, tty } =
        daemon.engine.attach_container(&call.name, request).await?;
    let shape = Shape { binary: call.version >= ApiVersion::v1(28), multiplexed: !tty };
    let (engine, name) = (daemon.engine.clone(), call.name);
    Ok(Outcome::TakeOver(TakeOver::new(move |raw| async move {
        let streams = Streams { history, shim: stream, stdin, detach: tty.then_some(keys) };
        if websocket::run(raw, head, streams, shape).await == End::Detached {
            engine.detached(&name);
        }
    })))
}

pub(crate) async fn logs(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let moment = |name| match query.text(name) {
        "" | "0" => Ok(None),
        text => filters::moment(text).map(Some),
    };
    let request = LogsRequest {
        stdout,
        stderr,
        follow: query.flag("follow"),
        since: moment("since")?,
        until: moment("until")?,
        timestamps: query.flag("timestamps"),
        // `all`, what is no number and what is negative mean everything.
        tail: query.text("tail").parse().ok(),
        details: query.flag("details"),
    };
    let logs = daemon.engine.container_logs(&call.name, request).await?;
    let tty = logs.tty;
    let pieces = stream::unfold(Some(logs.chunks), move |chunks| async move {
        let mut chunks = chunks?;
        match chunks.recv().await? {
            Ok(chunk) => Some((Ok(Bytes::from(chunk)), Some(chunks))),
            Err(error) => Some((Ok(trouble(&error, tty)), None)),
        }
    });
    Ok(reply::stream(kind(tty, call.version), pieces))
}

/// An error where output was expected: the status was sent long ago, so it is a line like the others.
fn trouble(error: &Error, tty: bool) -> Bytes {
    let text = format!("Error grabbing logs: {error}\n");
    if tty { text.into() } else { framed(2, text.as_bytes()).into() }
}

/// A frame of the multiplexed stream; 1 is standard output, 2 standard error.
pub(super) fn framed(stream: u8, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[stream, 0, 0, 0][..], &length, text].concat()
}

/// The head goes out at once (the client starts the container when it has seen it), the body when the container ends.
pub(crate) fn wait(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    // Conditions came with 1.30; before, the container was to end, and nothing was sent until it did.
    let condition = match call.query.text("condition") {
        _ if call.version < ApiVersion::v1(30) => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => {
            return Err(Error::invalid(format!(
                "invalid condition: {:?}",
                other.chars().take(80).collect::<String>()
            )));
        }
    };
    let ended = daemon.engine.wait_container(&call.name, condition)?;
    let body = stream::once(async move {
        let answer = match ended.await {
            Ok(waited) => WaitResponse {
                status_code: waited.code,
                error: waited.error.map(|message| WaitError { message }),
            },
            Err(error) => WaitResponse {
                status_code: -1,
                error: Some(WaitError { message: error.to_string() }),
            },
        };
        let mut text = serde_json::to_vec(&answer).unwrap_or_default();
        text.push(b'\n');
        Ok(Bytes::from(text))
    });
    Ok(reply::stream("application/json", body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn heads_are_dockers() {
        let mut headers = HeaderMap::new();
        assert_eq!(
            raw_head(&headers, false, ApiVersion::v1(45)),
            "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        );
        headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        let upgraded = |kind: &str| {
            format!(
                "HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
        };
        assert_eq!(raw_head(&headers, false, ApiVersion::v1(45)), upgraded(MULTIPLEXED));
        assert_eq!(raw_head(&headers, false, ApiVersion::v1(41)), upgraded(RAW));
        assert_eq!(raw_head(&headers, true, ApiVersion::v1(45)), upgraded(RAW));
    }

    #[test]
    fn frames() {
        assert_eq!(framed(2, b"ab"), b"\x02\0\0\0\0\0\0\x02ab");
    }
}
