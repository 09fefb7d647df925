//! Images, but for lists.

use super::Daemon;
use crate::convert;
use crate::edge::body;
use crate::edge::conn::Outcome;
use crate::reply;
use crate::router::Call;
use api::JsonMessage;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use engine::RegistryAuth;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use image::{Event, Progress};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stdx::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use types::{ImageRef, Platform};

pub(crate) fn inspect(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let summary = daemon.engine.images().inspect(&call.name)?;
    reply::ok(&convert::image::inspect(&summary, call.version))
}

pub(crate) fn history(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let history = daemon.engine.images().history(&call.name)?;
    reply::ok(&history.into_iter().map(convert::image::history).collect::<Vec<_>>())
}

pub(crate) fn tag(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let target = match (call.query.text("repo"), call.query.text("tag")) {
        (repo, "") => repo.to_owned(),
        (repo, tag) => format!("{repo}:{tag}"),
    };
    daemon.engine.tag_image(&call.name, &target)?;
    Ok(reply::empty(StatusCode::CREATED))
}

pub(crate) async fn remove(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    if call.query.has("platforms") {
        return Err(Error::not_implemented(
            "removing single platforms is not implemented yet (see docs/compat.tsv)",
        ));
    }
    let removed = daemon
        .engine
        .remove_image(&call.name, call.query.flag("force"), call.query.flag("noprune"))
        .await?;
    reply::ok(&removed.into_iter().map(convert::image::removed).collect::<Vec<_>>())
}

/// Pull. A failure before the first line is an answer of its own, later it is the last line.
pub(crate) async fn create(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let query = &call.query;
    if query.has("fromSrc") {
        return Err(Error::not_implemented(
            "importing images is not implemented yet (see docs/compat.tsv)",
        ));
    }
    let reference = match (query.text("fromImage"), query.text("tag")) {
        (name, "") => name.to_owned(),
        (name, digest) if digest.contains(':') => format!("{name}@{digest}"),
        (name, tag) => format!("{name}:{tag}"),
    };
    // Before anything is asked of a registry.
    let _valid: ImageRef = reference.parse()?;
    let platform: Option<Platform> = match query.text("platform") {
        "" => None,
        text => Some(text.parse()?),
    };
    let auth = registry_auth(&call.headers);
    let (watch, lines) = watch();
    let engine = daemon.engine.clone();
    let hung_up = watch.lines.clone();
    let work = async move {
        tokio::select! {
            result = engine.pull_image(&reference, platform, auth, watch) => result,
            // Nobody waits for it any more; what was downloaded is kept for the next try.
            () = hung_up.closed() => Err(Error::internal("the client went away")),
        }
    };
    progress_stream(work, lines).await
}

pub(crate) async fn load(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let quiet = call.query.flag_or_true("quiet");
    let (mut archive, taking) = reading(call.body);
    let (watch, lines) = watch();
    let engine = daemon.engine.clone();
    let work = async move {
        let loading = engine::at_a_clients_pace(move || {
            let loud = |event: Event| {
                if !quiet || !matches!(event, Event::Layer { .. }) {
                    watch.event(event);
                }
            };
            engine.load_images(&mut archive, &loud)
        });
        let loaded = loading.await;
        let _all_taken = taking.await;
        loaded
    };
    progress_stream(work, lines).await
}

/// A request's body for code that blocks, and the task that takes it off the connection.
pub(super) fn reading(mut body: Incoming) -> (Pieces, JoinHandle<()>) {
    let (bytes, coming) = mpsc::channel(8);
    let taking = tokio::spawn(async move {
        loop {
            let piece = match body::next_piece(&mut body).await {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => return,
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            // Nobody reads on once the archive has ended or is refused. The rest is taken all the same: a client that
            // is still sending does not look for the answer.
            let failed = piece.is_err();
            let _unread = bytes.send(piece).await;
            if failed {
                return;
            }
        }
    });
    (Pieces { coming, piece: Bytes::new() }, taking)
}

/// A request's body for code that blocks.
pub(super) struct Pieces {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.coming.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// The lines of work that goes on, and its error at the end. The work alone holds the senders of `lines`.
async fn progress_stream(
    work: impl Future<Output = Result<()>> + Send + 'static,
    mut lines: mpsc::Receiver<Bytes>,
) -> Result<Outcome> {
    let working = tokio::spawn(work);
    let finished = |result: std::result::Result<Result<()>, tokio::task::JoinError>| match result {
        Ok(result) => result,
        Err(panic) => Err(Error::internal("internal error").caused_by(panic)),
    };
    let Some(first) = lines.recv().await else {
        finished(working.await)?;
        return Ok(reply::stream("application/json", stream::empty()));
    };
    let state = (Some(first), lines, Some(working));
    let pieces = stream::unfold(state, move |(mut first, mut lines, mut working)| async move {
        let next = match first.take() {
            Some(first) => Some(first),
            None => lines.recv().await,
        };
        if let Some(line) = next {
            return Some((Ok(line), (None, lines, working)));
        }
        let error = finished(working.take()?.await).err()?;
        Some((Ok(line(&JsonMessage::failure(error.to_string()))), (None, lines, None)))
    });
    Ok(reply::stream("application/json", pieces))
}

fn line(message: &JsonMessage) -> Bytes {
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.extend_from_slice(b"\r\n");
    text.into()
}

/// How often one layer's progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Turns events into lines, and leaves out ticks that come too fast.
struct Watch {
    lines: mpsc::Sender<Bytes>,
    told: Mutex<HashMap<String, Instant>>,
}

fn watch() -> (Arc<Watch>, mpsc::Receiver<Bytes>) {
    // A client that reads nothing for this long misses lines; the work must not wait for it.
    let (lines, receiver) = mpsc::channel(4096);
    (Arc::new(Watch { lines, told: Mutex::default() }), receiver)
}

impl Progress for Watch {
    fn event(&self, event: Event) {
        if let Event::Layer { id, .. } = &event
            && convert::image::is_tick(&event)
        {
            let now = Instant::now();
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match told.get_mut(id) {
                Some(last) if now.duration_since(*last) < TICK => return,
                Some(last) => *last = now,
                None => drop(told.insert(id.clone(), now)),
            }
        }
        let _full = self.lines.try_send(line(&convert::image::progress(&event)));
    }
}

/// `X-Registry-Auth`. What cannot be read counts as none, as with `dockerd`: the registry will say what it wants.
fn registry_auth(headers: &HeaderMap) -> Option<RegistryAuth> {
    let text = headers.get("x-registry-auth")?.as_bytes();
    let decoded = [URL_SAFE, URL_SAFE_NO_PAD, STANDARD, STANDARD_NO_PAD]
        .iter()
        .find_map(|e| e.decode(text).ok())?;
    let auth = to_engine(api::json::from_slice(&decoded).ok()?);
    let empty = auth.username.is_empty()
        && auth.identity_token.is_empty()
        && auth.registry_token.is_empty();
    (!empty).then_some(auth)
}

/// Credentials as clients send them.
pub(super) fn to_engine(auth: api::AuthConfig) -> RegistryAuth {
    let mut auth = RegistryAuth {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
        server_address: auth.serveraddress,
    }
    .or_pair(&auth.auth);
    if auth.server_address.is_empty() {
        auth.server_address = "docker.io".to_owned();
    }
    auth
}

/// Fills in user and password from base64 of `user:password`.
trait OrPair {
    fn or_pair(self, encoded: &str) -> Self;
}

impl OrPair for RegistryAuth {
    fn or_pair(mut self, encoded: &str) -> Self {
        if self.username.is_empty()
            && let Some(pair) =
                STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok())
            && let Some((username, password)) = pair.split_once(':')
        {
            username.clone_into(&mut self.username);
            password.clone_into(&mut self.password);
        }
        self
    }
}
