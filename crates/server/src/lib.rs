//! HTTP edge: the Docker Engine API over Unix sockets and TCP.
//!
//! A request's way, top to bottom: [`edge::listen`] accepts it, [`edge::conn`] lets hyper read it, [`router`] finds its
//! row of `api::ROUTES` and its version, [`handlers`] has one function for each row that is served, [`convert`] turns
//! wire values into the engine's and back, [`reply`] and [`status`] make the answer.
//!
//! **Invariant.** Docker's JSON stops here: the engine knows no HTTP status, no API version and no `null` beside `[]`.
//! **Invariant.** One table from errors to status codes ([`status`]), one from routes to handlers ([`handlers`]).

#![forbid(unsafe_code)]

mod activity;
mod convert;
mod edge;
mod filters;
mod handlers;
mod metrics;
mod query;
mod reply;
mod router;
mod status;

pub use activity::Activity;
pub use edge::listen::{Bind, Listeners, bind};
pub use edge::tls::Tls;
pub use metrics::{bind_metrics, serve_metrics};

use engine::Engine;
use std::sync::Arc;

/// How the API is served.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Older versions of the API are refused; `None`: all that are known are served.
    pub min_version: Option<api::ApiVersion>,
    /// Clients are told that experimental features are on.
    pub experimental: bool,
    /// Names (no addresses) by which clients may call the daemon on plain TCP, beside `localhost`.
    pub names: Vec<String>,
    /// Where requests are noted while they are answered.
    pub activity: Activity,
}

impl Options {
    /// Whether the `Host` of a request is an address or one of the daemon's names.
    pub(crate) fn is_own_name(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((v6, _port)) => v6,
            None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
        };
        let name = name.trim_end_matches('.');
        name.is_empty()
            || name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Answers clients until `stop` turns true, then lets requests finish for two seconds at most and ends streams at once:
/// containers go on without their clients. Sockets of the file system are removed.
pub async fn serve(
    listeners: Listeners,
    engine: Engine,
    options: Options,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let router = Arc::new(router::Router { daemon: handlers::Daemon::new(engine, options) });
    edge::listen::serve(listeners, router, stop).await;
}
