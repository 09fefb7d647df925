//! From a request to the handler that answers it.

use crate::convert::info::VERSION;
use crate::edge::body::{self, Body};
use crate::edge::conn::{Boxed, Outcome, Service};
use crate::handlers::{self, Daemon};
use crate::query::{self, Query};
use crate::reply;
use api::{ApiVersion, Method, Stage};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use stdx::{Error, Result};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

pub(crate) const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
                             connect this node to swarm and try again.";

/// A request that found its handler.
#[derive(Debug)]
pub(crate) struct Call {
    /// What stood for `{name}` in the route.
    pub(crate) name: String,
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Call {
    /// The body as `T`, as `dockerd` reads it; a body of length 0 is `None`.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<Option<T>> {
        let Some(text) = self.json_text().await? else { return Ok(None) };
        api::json::from_slice(&text).map(Some).map_err(|e| invalid_json(&e))
    }

    /// The body's text, checked to be meant as JSON.
    pub(crate) async fn json_text(self) -> Result<Option<bytes::Bytes>> {
        let length = http_body::Body::size_hint(&self.body).exact();
        let kind = self.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
        match kind {
            None if length == Some(0) => return Ok(None),
            None => {
                return Err(Error::invalid(
                    "malformed Content-Type header (): mime: no media type",
                ));
            }
            Some(kind) => {
                let bare = kind.split(';').next().unwrap_or_default().trim();
                if !bare.eq_ignore_ascii_case("application/json") {
                    return Err(Error::invalid(format!(
                        "unsupported Content-Type header ({bare}): must be 'application/json'"
                    )));
                }
            }
        }
        if length == Some(0) {
            return Ok(None);
        }
        body::read_whole(self.body, body::JSON_LIMIT).await.map(Some)
    }
}

/// `dockerd`'s words for a body that cannot be read.
pub(crate) fn invalid_json(error: &api::json::Error) -> Error {
    Error::invalid(match error {
        api::json::Error::Empty => "invalid JSON: got EOF while reading request body".to_owned(),
        api::json::Error::Trailing => error.to_string(),
        other => format!("invalid JSON: {other}"),
    })
}

/// The API as a service.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) daemon: Daemon,
}

impl Service for Router {
    fn call(self: Arc<Self>, request: Request<Incoming>) -> Boxed<Outcome> {
        Box::pin(async move {
            let head = request.method() == http::Method::HEAD;
            let _turn = self.daemon.options.activity.begin(request.method(), request.uri().path());
            let span = span(&request);
            let mut outcome = self.dispatch(request, &span).instrument(span.clone()).await;
            if let Outcome::Respond(response) = &outcome {
                span.record("http.response.status_code", response.status().as_u16());
            }
            if head && let Outcome::Respond(response) = &mut outcome {
                // hyper would announce the length of a body that it does not send.
                *response.body_mut() = Body::empty();
            }
            outcome
        })
    }

    fn panicked(&self) -> Response<Body> {
        tracing::error!("a handler panicked; the request is answered with 500");
        self.with_headers(reply::message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error: a handler panicked (see the daemon's log)",
        ))
    }
}

impl Router {
    /// The headers of every answer, by which clients negotiate.
    fn with_headers(&self, mut response: Response<Body>) -> Response<Body> {
        static API: std::sync::LazyLock<HeaderValue> = std::sync::LazyLock::new(|| {
            HeaderValue::from_str(&api::MAX.to_string())
                .expect("digits and a dot are a header value")
        });
        static SERVER: std::sync::LazyLock<HeaderValue> = std::sync::LazyLock::new(|| {
            HeaderValue::from_str(&format!("Gantry/{VERSION} (linux)"))
                .expect("a version is a header value")
        });
        let experimental = if self.daemon.options.experimental { "true" } else { "false" };
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("api-version"), API.clone());
        headers.insert(
            HeaderName::from_static("docker-experimental"),
            HeaderValue::from_static(experimental),
        );
        headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
        headers.insert(header::SERVER, SERVER.clone());
        response
    }

    /// Why a version is not served, if it is not.
    fn refusal(&self, version: ApiVersion, text: &str) -> Option<String> {
        match self.daemon.options.min_version {
            Some(min) if version < min => Some(format!(
                "client version {text} is too old. Minimum supported API version is {min}, please upgrade your client to a \
                 newer version"
            )),
            _ => version.refusal(text),
        }
    }

    async fn dispatch(&self, request: Request<Incoming>, span: &Span) -> Outcome {
        let (parts, body) = request.into_parts();
        if parts.headers.contains_key(header::ORIGIN) {
            // No client of the API is a web page; one that asks is somebody else's (DNS rebinding, forged requests).
            return respond(reply::message(
                StatusCode::FORBIDDEN,
                "requests of web pages are not answered",
            ));
        }
        if parts.extensions.get::<crate::edge::conn::Open>().is_some()
            && let Some(host) = parts.headers.get(header::HOST)
            && !self.daemon.options.is_own_name(host.to_str().unwrap_or_default())
        {
            // A page whose name leads here is of the same origin as what it asks: only its name tells it (DNS rebinding).
            return respond(reply::message(
                StatusCode::FORBIDDEN,
                "this name is not the daemon's: use its address, or listen on the name with -H tcp://NAME:PORT",
            ));
        }
        let path = match query::decode(parts.uri.path(), false) {
            Ok(path) => path,
            Err(error) => return respond(reply::error(&error)),
        };
        let (asked, path) = ApiVersion::split_path(&path);
        let method = match parts.method {
            http::Method::GET => Method::Get,
            http::Method::HEAD => Method::Head,
            http::Method::POST => Method::Post,
            http::Method::PUT => Method::Put,
            http::Method::DELETE => Method::Delete,
            http::Method::OPTIONS => {
                return respond(self.with_headers(Response::new(Body::empty())));
            }
            _ => return not_found(),
        };
        let Some((route, name)) = api::routes::find(method, path) else { return not_found() };
        if !span.is_disabled() {
            span.record("otel.name", format!("{} {}", parts.method, route.path));
            span.record("http.route", route.path);
        }
        let version = match asked.map(|text| (text, text.parse::<ApiVersion>())) {
            None => api::MAX,
            Some((text, Ok(version))) => match self.refusal(version, text) {
                None => version,
                Some(refusal) => {
                    return respond(
                        self.with_headers(reply::message(StatusCode::BAD_REQUEST, &refusal)),
                    );
                }
            },
            Some((_, Err(_))) => return not_found(),
        };
        if version < route.since {
            return not_found();
        }
        let result = match route.stage {
            Stage::Swarm => {
                Ok(respond(reply::message(StatusCode::SERVICE_UNAVAILABLE, NOT_A_MANAGER)))
            }
            // There are no plugins, so none of that name; `docker inspect` asks this last before it gives up.
            Stage::NotYet if route.handler == api::routes::Handler::PluginInspect => {
                Err(Error::not_found(format!("plugin \"{name}\" not found")))
            }
            Stage::NotYet => Err(Error::not_implemented(format!(
                "{} {} is not implemented yet (see docs/compat.tsv)",
                parts.method, route.path
            ))),
            Stage::Served => match Query::parse(parts.uri.query().unwrap_or_default()) {
                Err(error) => Err(error),
                Ok(query) => {
                    let call = Call {
                        name: name.to_owned(),
                        version,
                        query,
                        headers: parts.headers,
                        body,
                    };
                    handlers::answer(&self.daemon, route.handler, call).await
                }
            },
        };
        match result {
            Ok(Outcome::Respond(response)) => respond(self.with_headers(response)),
            Ok(taken) => taken,
            Err(error) => {
                if matches!(
                    error.kind(),
                    stdx::Kind::Internal | stdx::Kind::DataLoss | stdx::Kind::NoSpace
                ) {
                    tracing::error!(%error, method = %parts.method, path = %parts.uri.path(), "request failed");
                }
                let response = reply::error(&error);
                if response.status().is_server_error() {
                    span.record("error", tracing::field::display(&error));
                }
                respond(self.with_headers(response))
            }
        }
    }
}

/// A request's span, below its caller's. Names and attributes are those of OpenTelemetry's conventions for HTTP servers.
fn span(request: &Request<Incoming>) -> Span {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    tracing::trace_span!(
        target: stdx::TRACES,
        "request",
        otel.name = request.method().as_str(),
        otel.kind = "server",
        traceparent = header("traceparent"),
        http.request.method = request.method().as_str(),
        url.path = request.uri().path(),
        user_agent.original = header("user-agent"),
        http.route = Empty,
        http.response.status_code = Empty,
        error = Empty,
    )
}

fn respond(response: Response<Body>) -> Outcome {
    Outcome::Respond(response)
}

fn not_found() -> Outcome {
    respond(reply::message(StatusCode::NOT_FOUND, "page not found"))
}
