//! `GET /metrics` on an address of its own, as dockerd's `--metrics-addr` has it: no API there, no other page.

use crate::convert::metrics;
use crate::edge::body::Body;
use crate::edge::conn::{Boxed, Outcome, Service};
use crate::edge::listen::{self, Listeners};
use engine::Engine;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::sync::Arc;
use stdx::{Error, Result};

/// Binds the address (`HOST:PORT`; without a host every address of this machine, as with Docker). Must run inside a
/// tokio runtime.
pub fn bind_metrics(address: &str) -> Result<Listeners> {
    listen::bind_plain(address).map_err(|e| Error::io(format!("listen tcp {address}"), e))
}

/// Answers whoever asks for the figures, until `stop` turns true.
pub async fn serve_metrics(
    listeners: Listeners,
    engine: Engine,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    listen::serve(listeners, Arc::new(Metrics { engine }), stop).await;
}

#[derive(Debug)]
struct Metrics {
    engine: Engine,
}

impl Service for Metrics {
    fn call(self: Arc<Self>, request: Request<Incoming>) -> Boxed<Outcome> {
        Box::pin(async move { Outcome::Respond(self.answer(&request)) })
    }

    fn panicked(&self) -> Response<Body> {
        plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    }
}

impl Metrics {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let mut response = match *request.method() {
            Method::GET => Response::new(metrics::text(&self.engine.figures()).into_bytes().into()),
            Method::HEAD => Response::new(Body::empty()),
            _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
        };
        let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
