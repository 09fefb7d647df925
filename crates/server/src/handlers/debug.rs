//! `/debug`: what can be told of the daemon from inside. Go's profiles are of a Go program; here they say so.

use super::Daemon;
use crate::edge::body::Body;
use crate::edge::conn::Outcome;
use crate::reply;
use http::{HeaderValue, Response, header};
use serde_json::json;
use stdx::{Error, Result};

/// Counters and the command line, as Go's `expvar` shapes them.
pub(crate) fn vars(daemon: &Daemon) -> Result<Outcome> {
    let figures = daemon.engine.figures();
    let runtime = tokio::runtime::Handle::current().metrics();
    let (running, total) = daemon.options.activity.count();
    let process = &figures.process;
    let actions: serde_json::Map<String, serde_json::Value> = figures
        .actions
        .iter()
        .map(|(name, d)| ((*name).to_owned(), json!({ "count": d.count, "seconds": d.sum })))
        .collect();
    reply::ok(&json!({
        "cmdline": std::env::args().collect::<Vec<_>>(),
        "containers": figures.containers.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        "container_actions": actions,
        "events": { "total": figures.events, "subscribers": figures.subscribers },
        "health_checks": { "total": figures.probes, "failed": figures.failed_probes },
        "requests": { "total": total, "running": running },
        "tasks": { "alive": runtime.num_alive_tasks(), "queued": runtime.global_queue_depth() },
        "process": {
            "threads": process.threads,
            "descriptors": process.descriptors,
            "resident_bytes": process.resident_bytes,
            "cpu_seconds": process.cpu_seconds,
        },
    }))
}

/// A page of Go's `pprof`: the command line is one that every program has.
pub(crate) fn pprof(name: &str) -> Result<Outcome> {
    if name != "cmdline" {
        return Err(Error::not_found(format!(
            "/debug/pprof/{name}: gantryd is no Go program and has no pprof profiles; /debug/vars has its counters, \
             SIGUSR1 has it write down what it is doing, and perf(1) profiles it"
        )));
    }
    let words: Vec<String> = std::env::args().collect();
    let mut response = Response::new(Body::from(words.join("\0").into_bytes()));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(Outcome::Respond(response))
}
