//! Exec sessions.

use super::{Daemon, containers, streams};
use crate::convert;
use crate::edge::conn::{Outcome, TakeOver};
use crate::edge::detach::DetachKeys;
use crate::edge::pump::{self, End, Streams};
use crate::reply;
use crate::router::Call;
use api::{ApiVersion, ExecCreateBody, ExecStartBody, IdResponse};
use engine::StartExec;
use http::StatusCode;
use std::time::Duration;
use stdx::{Kind, Result};

/// How long a client may wait for an exit code after the end of the output.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn create(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let (name, version) = (call.name.clone(), call.version);
    let mut body: ExecCreateBody = call.json().await?.unwrap_or_default();
    if version < ApiVersion::v1(42) {
        body.console_size = None;
    }
    let id = daemon.engine.create_exec(&name, convert::exec::create(body)?)?;
    reply::json(StatusCode::CREATED, &IdResponse { id })
}

pub(crate) async fn start(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let (id, version, headers) = (call.name.clone(), call.version, call.headers.clone());
    let body: ExecStartBody = call.json().await?.unwrap_or_default();
    let view = daemon.engine.inspect_exec(&id)?;
    let size = body.console_size.filter(|_| version >= ApiVersion::v1(42));
    let request = StartExec {
        detach: body.detach,
        tty: body.tty,
        console_size: size.map(|size| convert::exec::resize(size.0)).transpose()?,
    };
    let tty = view.config.tty;
    let keys = DetachKeys::parse(&view.config.detach_keys)?;
    let stdin = view.config.attach_stdin;
    let head = streams::raw_head(&headers, tty, version);
    let engine = daemon.engine.clone();
    match daemon.engine.start_exec(&id, request).await {
        Err(error) if body.detach || error.kind() == Kind::NotFound => Err(error),
        Ok(None) if body.detach => Ok(reply::empty(StatusCode::OK)),
        started => Ok(Outcome::TakeOver(TakeOver::new(move |raw| async move {
            let mut history = head.into_bytes();
            let shim = match started {
                Ok(attached) => attached.and_then(|attached| {
                    history.extend_from_slice(&attached.history);
                    attached.stream
                }),
                Err(error) => {
                    // The client has no other way to learn it: it reads the stream, then asks for the exit code.
                    let text = format!("{error}\r\n");
                    let text =
                        if tty { text.into_bytes() } else { streams::framed(1, text.as_bytes()) };
                    history.extend(text);
                    None
                }
            };
            let streams = Streams { history, shim, stdin, detach: tty.then_some(keys) };
            if pump::run(raw, streams).await == End::Output {
                // The client asks for the exit code when it sees the connection end. A process that closed its output
                // and goes on holds it only so long.
                let _known = tokio::time::timeout(PATIENCE, engine.exec_ended(&id)).await;
            }
        }))),
    }
}

pub(crate) async fn resize(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    daemon.engine.resize_exec(&call.name, containers::size(call)?).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) fn inspect(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    reply::ok(&convert::exec::inspect(daemon.engine.inspect_exec(&call.name)?))
}
