//! One request: authorised when challenged, redirected with care, tried again while that can help.

use crate::Session;
use crate::auth;
use crate::config::Config;
use crate::endpoint::{Endpoint, authority};
use crate::errors;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;
use stdx::{Error, Kind, Result};

const MAX_REDIRECTS: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What to ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Get {
    /// `Accept`, joined.
    pub(crate) accept: Option<String>,
    /// From which byte on.
    pub(crate) from: u64,
    /// What a token must be good for.
    pub(crate) scope: String,
}

impl Get {
    /// Something that needs no permission of its own.
    pub(crate) fn root() -> Self {
        Self::default()
    }
}

impl Session {
    /// Asks `endpoint` for `url`, and whomever it points to. Answers whatever came, except challenges that could be met
    /// and failures that went away. An error means that there was no answer.
    pub(crate) async fn get(&self, endpoint: &Endpoint, url: Url, get: Get) -> Result<Response> {
        let config = &self.registry.config;
        let mut attempt = 0;
        loop {
            let answer = self.authorized(endpoint, url.clone(), &get).await;
            let wait = match &answer {
                Ok(answer) if is_transient(answer.status()) => retry_after(answer),
                // Not there at all, or a handshake that failed: then the next endpoint is the better idea.
                Err(error) if errors::was_cut(error) => None,
                _ => return answer,
            };
            if attempt >= config.retries {
                return answer;
            }
            attempt += 1;
            pause(config, attempt, wait).await;
        }
    }

    async fn authorized(&self, endpoint: &Endpoint, url: Url, get: &Get) -> Result<Response> {
        let known = self.known_authorization(endpoint, &get.scope);
        let answer = self.redirected(endpoint, url.clone(), get, known.as_ref()).await?;
        // Only the endpoint's own challenges are met: those of a redirect's target are somebody else's.
        let own =
            authority(answer.url()) == authority(&url) && answer.url().scheme() == url.scheme();
        if answer.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(answer);
        }
        let challenges = auth::challenges(answer.headers());
        if challenges.is_empty() {
            return Ok(answer);
        }
        let authorization = self.authorize(endpoint, &challenges, &get.scope, &url).await?;
        self.redirected(endpoint, url, get, Some(&authorization)).await
    }

    async fn redirected(
        &self,
        endpoint: &Endpoint,
        url: Url,
        get: &Get,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response> {
        let config = &self.registry.config;
        let origin = (url.scheme().to_owned(), authority(&url));
        let mut next = url;
        for _ in 0..=MAX_REDIRECTS {
            let here = (next.scheme().to_owned(), authority(&next));
            let is_own = here == origin;
            let is_insecure =
                if is_own { endpoint.is_insecure } else { config.is_insecure(&here.1) };
            let mut request = self.registry.clients.get(&next, is_insecure)?.get(next.clone());
            if let Some(accept) = &get.accept {
                request = request.header(ACCEPT, accept);
            }
            if get.from > 0 {
                request = request.header(RANGE, format!("bytes={}-", get.from));
            }
            if let Some(authorization) = authorization.filter(|_| is_own) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let answer = request.send().await.map_err(|e| {
                // Docker asks for the root first, and users know that URL in this message.
                let root = endpoint.url("").ok().filter(|_| is_own && e.is_connect());
                errors::no_answer(root.as_ref().unwrap_or(&next), &e)
            })?;
            if !is_redirect(answer.status()) {
                return Ok(answer);
            }
            next = target(&next, &answer, config)?;
        }
        Err(Error::new(
            Kind::Unavailable,
            format!("Get \"{}\": stopped after {MAX_REDIRECTS} redirects", errors::shown(&next)),
        ))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// Where a redirect leads; never from TLS to a host without it, unless that host is listed as insecure.
fn target(from: &Url, answer: &Response, config: &Config) -> Result<Url> {
    let wrong = |why: &str| {
        Error::new(Kind::Unavailable, format!("Get \"{}\": {why}", errors::shown(from)))
    };
    let location = answer
        .headers()
        .get(LOCATION)
        .and_then(|l| l.to_str().ok())
        .ok_or_else(|| wrong("redirected to nowhere"))?;
    let mut url = from.join(location).map_err(|_| wrong("redirected to what is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("redirected to another protocol"));
    }
    if from.scheme() == "https" && url.scheme() == "http" && !config.is_insecure(&authority(&url)) {
        return Err(wrong("redirected from https to http"));
    }
    // A user in the URL would become an Authorization header.
    let _removed = (url.set_username(""), url.set_password(None));
    Ok(url)
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Waits before another attempt: twice as long each time, and not for as long as everybody else.
pub(crate) async fn pause(config: &Config, attempt: u32, asked: Option<Duration>) {
    let doubled =
        config.pause.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    // A new RandomState is seeded by the system: good enough to spread clients.
    let jitter = RandomState::new().build_hasher().finish() % 1000;
    let jitter = doubled / 2 * u32::try_from(jitter).unwrap_or(0) / 1000;
    tokio::time::sleep(asked.unwrap_or_default().max(doubled / 2 + jitter)).await;
}
