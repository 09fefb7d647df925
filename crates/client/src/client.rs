//! [`Client`]: versions, the idle connection, and the three ways to ask.

use crate::connection::{self, Body, Sender};
use crate::error::{Error, Result};
use crate::hijack::Hijacked;
use crate::host::Host;
use crate::lines::JsonLines;
use crate::transport::{self, Tls, Transport};
use crate::url::Target;
use api::ApiVersion;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Mutex, PoisonError};

/// How to speak to a daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is.
    pub host: Host,
    /// How TLS is spoken over TCP; `None`: not at all.
    pub tls: Option<Tls>,
    /// A version that the user insists on (`DOCKER_API_VERSION`); nothing is negotiated then.
    pub version: Option<ApiVersion>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Further headers of every request (`HttpHeaders` of `config.json`).
    pub headers: Vec<(String, String)>,
}

/// A client of one daemon.
#[derive(Debug)]
pub struct Client {
    host: Host,
    tls: Option<Tls>,
    headers: HeaderMap,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: ApiVersion,
    /// Nothing is left to find out about the version.
    settled: bool,
    idle: Option<Sender>,
}

/// The largest answer that is held in memory: far above any inspect or list.
const MAX_ANSWER: usize = 256 << 20;
const MAX_ERROR: usize = 1 << 20;

impl Client {
    /// A client that has not connected yet.
    pub fn new(options: Options) -> Self {
        let mut headers = HeaderMap::new();
        let host = match &options.host {
            // What a socket is called does not matter, but HTTP/1.1 wants a name.
            Host::Unix(_) => "localhost".to_owned(),
            Host::Tcp { authority, .. } => authority.clone(),
            Host::Ssh { .. } => "docker.example.com".to_owned(),
        };
        let mut put = |name: &str, value: &str| {
            // Headers that HTTP does not allow are left out: they come from a file that the user wrote.
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            {
                headers.insert(name, value);
            }
        };
        for (name, value) in &options.headers {
            put(name, value);
        }
        put("host", &host);
        put("user-agent", &options.user_agent);
        let settled = options.version.is_some();
        let version = options.version.unwrap_or(api::MAX);
        Self {
            host: options.host,
            tls: options.tls,
            headers,
            state: Mutex::new(State { version, settled, idle: None }),
        }
    }

    /// A connection of its own, on which nothing has been said.
    pub async fn dial(&self) -> Result<Transport> {
        transport::dial(&self.host, self.tls.as_ref()).await
    }

    /// Where the daemon is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The API version that is spoken; before the first answer, the one that will be tried.
    pub fn version(&self) -> ApiVersion {
        self.state().version
    }

    /// Settles the version by `HEAD /_ping`, unless that has happened or the user insists on one.
    pub async fn negotiate(&self) -> Result<ApiVersion> {
        if !self.state().settled {
            let theirs = self.ping().await?.api_version.unwrap_or(OLDEST_NEGOTIATED);
            let mut state = self.state();
            state.version = theirs.min(api::MAX);
            state.settled = true;
        }
        Ok(self.version())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request without body whose answer is JSON.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        target: Target,
        what: &'static str,
    ) -> Result<T> {
        let answer = self.send(Method::GET, &target, None, &[]).await?;
        self.json(answer, what).await
    }

    /// A request without body whose answer is a list in JSON, of which each item is handed on.
    pub(crate) async fn get_each<T: DeserializeOwned>(
        &self,
        target: Target,
        what: &'static str,
        item: impl FnMut(T),
    ) -> Result<()> {
        let answer = self.send(Method::GET, &target, None, &[]).await?;
        let bytes = self.bytes(answer, what).await?;
        api::json::each(&bytes, item).map_err(|e| Error::Answer { what, message: e.to_string() })
    }

    /// A request with a JSON body whose answer is JSON.
    pub(crate) async fn post_json<B: Serialize, T: DeserializeOwned>(
        &self,
        target: Target,
        body: &B,
        what: &'static str,
    ) -> Result<T> {
        let answer = self.send(Method::POST, &target, Some(encode(body)?), &[]).await?;
        self.json(answer, what).await
    }

    /// A request with a JSON body whose answer says nothing but that it is done.
    pub(crate) async fn tell<B: Serialize>(&self, target: Target, body: &B) -> Result<()> {
        let answer = self.send(Method::POST, &target, Some(encode(body)?), &[]).await?;
        self.bytes(answer, "answer").await.map(|_| ())
    }

    /// A request whose answer says nothing but that it is done.
    pub(crate) async fn command(&self, method: Method, target: Target) -> Result<()> {
        let answer = self.send(method, &target, None, &[]).await?;
        self.bytes(answer, "answer").await.map(|_| ())
    }

    /// The whole answer.
    pub(crate) async fn bytes(&self, answer: Answer, what: &'static str) -> Result<Bytes> {
        let Answer { response, sender } = answer;
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let bytes = body.map_err(|e| Error::Answer { what, message: e.to_string() })?.to_bytes();
        self.state().idle = Some(sender);
        Ok(bytes)
    }

    /// The whole answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        answer: Answer,
        what: &'static str,
    ) -> Result<T> {
        let bytes = self.bytes(answer, what).await?;
        api::json::from_slice(&bytes).map_err(|e| Error::Answer { what, message: e.to_string() })
    }

    /// A request whose answer is JSON line by line.
    pub(crate) fn lines(answer: Answer) -> JsonLines {
        JsonLines::new(answer.response.into_body())
    }

    /// A request that turns its connection into a stream both ways.
    pub(crate) async fn hijack(&self, target: Target, body: Option<Bytes>) -> Result<Hijacked> {
        let upgrade = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "tcp")];
        let answer =
            self.send(Method::POST, &target, Some(body.unwrap_or_default()), &upgrade).await?;
        Hijacked::from_answer(answer.response).await
    }

    /// Sends and waits for the head of the answer; an error answer becomes an [`Error`].
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &Target,
        body: Option<Bytes>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer> {
        // Over a network a refused first try is a visible delay, and the daemon's age is anyone's guess: ask first.
        if !matches!(self.host, Host::Unix(_)) {
            Box::pin(self.negotiate()).await?;
        }
        let first = self.send_once(&method, target, body.clone(), headers).await;
        match first {
            Err(Error::Daemon { status: 400, message }) if self.is_too_new(&message) => {
                Box::pin(self.negotiate()).await?;
                self.send_once(&method, target, body, headers).await
            }
            other => {
                if other.is_ok() {
                    self.state().settled = true;
                }
                other
            }
        }
    }

    fn is_too_new(&self, message: &str) -> bool {
        !self.state().settled && message.contains("is too new")
    }

    async fn send_once(
        &self,
        method: &Method,
        target: &Target,
        body: Option<Bytes>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer> {
        let path = format!("/v{}{}", self.version(), target.as_str());
        let idle = self.state().idle.take().filter(|sender| !sender.is_closed());
        if let Some(sender) = idle {
            let request = self.request(method, &path, body.clone().map(connection::full), headers);
            match self.exchange(sender, request).await {
                // The daemon closed the idle connection at the same moment: the request was never taken.
                Err(Error::Http(e)) if e.is_canceled() => {}
                other => return other,
            }
        }
        let request = self.request(method, &path, body.map(connection::full), headers);
        self.exchange(connection::open(&self.host, self.tls.as_ref()).await?, request).await
    }

    /// Sends a body that cannot be sent twice, always on a new connection.
    pub(crate) async fn upload(
        &self,
        method: &Method,
        target: &Target,
        body: Body,
        content_type: &str,
    ) -> Result<Answer> {
        self.negotiate().await?;
        let path = format!("/v{}{}", self.version(), target.as_str());
        let headers = [(header::CONTENT_TYPE, content_type)];
        let request = self.request(method, &path, Some(body), &headers);
        self.exchange(connection::open(&self.host, self.tls.as_ref()).await?, request).await
    }

    /// Sends to a path without a version.
    pub(crate) async fn send_plain(&self, method: Method, path: &str) -> Result<Answer> {
        let request = self.request(&method, path, None, &[]);
        self.exchange(connection::open(&self.host, self.tls.as_ref()).await?, request).await
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Option<Body>,
        headers: &[(HeaderName, &str)],
    ) -> Request<Body> {
        let prefix = match &self.host {
            Host::Tcp { prefix, .. } => prefix.as_str(),
            Host::Unix(_) | Host::Ssh { .. } => "",
        };
        let has_body = body.is_some();
        let mut request = Request::new(body.unwrap_or_else(|| connection::full(Bytes::new())));
        *request.method_mut() = method.clone();
        *request.uri_mut() =
            format!("{prefix}{path}").parse().expect("paths are escaped where they are made");
        *request.headers_mut() = self.headers.clone();
        if has_body {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in headers {
            let value =
                HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""));
            request.headers_mut().insert(name, value);
        }
        request
    }

    async fn exchange(&self, mut sender: Sender, request: Request<Body>) -> Result<Answer> {
        let response = sender.send(request).await?;
        if response.status().as_u16() < 400 {
            return Ok(Answer { response, sender });
        }
        let status = response.status();
        let is_head = response.body().size_hint_exact() == Some(0);
        let text = Limited::new(response.into_body(), MAX_ERROR).collect().await;
        let text = text.map(|body| body.to_bytes()).unwrap_or_default();
        self.state().idle = Some(sender);
        let message = match api::json::from_slice::<api::ErrorBody>(&text) {
            Ok(body) if !body.message.is_empty() => body.message.trim().to_owned(),
            _ if is_head || text.is_empty() => format!(
                "request returned {status} for API version {}: check if the server supports it",
                self.version()
            ),
            _ => String::from_utf8_lossy(&text).trim().to_owned(),
        };
        Err(Error::Daemon { status: status.as_u16(), message })
    }
}

/// A daemon that does not say its version is older than versions in `/_ping`.
const OLDEST_NEGOTIATED: ApiVersion = ApiVersion::v1(24);

/// The head of an answer, and the connection on which its body comes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    sender: Sender,
}

fn encode<B: Serialize>(body: &B) -> Result<Bytes> {
    let encoded = serde_json::to_vec(body)
        .map_err(|e| Error::Answer { what: "request", message: e.to_string() });
    encoded.map(Bytes::from)
}

trait ExactSize {
    fn size_hint_exact(&self) -> Option<u64>;
}

impl ExactSize for Incoming {
    fn size_hint_exact(&self) -> Option<u64> {
        hyper::body::Body::size_hint(self).exact()
    }
}
