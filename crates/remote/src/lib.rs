//! Registry client: where images come from.
//!
//! ```text
//!   Registry (one, for the daemon's life)          what is configured; clients and schemes that worked
//!      └─ Session (one a request, has credentials) implements content::Fetcher
//!            resolve ─▶ endpoints of the domain, mirrors first ─▶ GET /v2/<path>/manifests/<tag or digest>
//!            fetch   ─▶ GET /v2/<path>/blobs/<digest> ─▶ redirect ─▶ bytes, taken up by Range after a cut
//! ```
//!
//! A registry is a stranger. What it sends is bounded and hashed; what it says about other places (redirects, token
//! realms, URLs in manifests) never gets the user's credentials outside of the scheme, host and port they were given for
//! (security design, R12). Texts of errors are those that Docker's users know.

#![forbid(unsafe_code)]

mod auth;
mod config;
mod endpoint;
mod errors;
mod fetch;
mod transport;
mod wire;

pub use config::{Config, Credentials, Proxies};

use content::{BoxFuture, ByteStream, Fetcher, Resolved};
use endpoint::{Clients, Endpoint};
use fetch::Wanted;
use oci::image::Descriptor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use stdx::{Error, Result};
use types::ImageRef;

/// Makes `ring` this process's provider of cryptography for TLS, unless one is installed already. Once, at start.
pub fn init() {
    // An error says that one is installed: the daemon's own choice wins.
    let _already = rustls::crypto::ring::default_provider().install_default();
}

/// The way to all registries: configuration, and connections that are kept open.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    clients: Clients,
    /// Which scheme of an insecure registry answered last, so that only the first request tries both.
    schemes: Mutex<HashMap<String, &'static str>>,
}

impl Registry {
    /// Nothing is contacted yet.
    pub fn new(config: Config) -> Arc<Self> {
        init();
        let clients =
            Clients::new(config.certificates.clone(), config.idle_timeout, config.proxies.clone());
        Arc::new(Self { config, clients, schemes: Mutex::default() })
    }

    /// Requests on behalf of one user, who may have credentials for the registry of the references asked for.
    pub fn session(self: &Arc<Self>, credentials: Option<Credentials>) -> Session {
        Session {
            registry: Arc::clone(self),
            credentials: credentials.filter(|c| !c.is_empty()).map(Arc::new),
            tokens: Arc::default(),
            chosen: Arc::default(),
        }
    }

    /// Checks credentials as `docker login` does: the registry at `domain` must accept them for its root.
    pub async fn login(self: &Arc<Self>, domain: &str, credentials: Credentials) -> Result<()> {
        let session = self.session(Some(credentials));
        let mut last = None;
        for endpoint in self.endpoints(domain).into_iter().filter(|e| !e.is_mirror) {
            let url = endpoint.url("")?;
            match session.get(&endpoint, url.clone(), transport::Get::root()).await {
                Ok(answer) if answer.status().is_success() => {
                    self.remember(&endpoint);
                    return Ok(());
                }
                Ok(answer) => {
                    let status = answer.status();
                    let error = errors::of_answer(answer).await;
                    let text = format!("login attempt to {url} failed with status: {status}");
                    // Without words of the registry's own: Docker's.
                    return Err(match error.message().starts_with("received unexpected") {
                        true => Error::new(error.kind(), text),
                        false => error,
                    });
                }
                // Only where nobody answered: a refusal over TLS must not send the password again in clear.
                Err(error) if errors::is_no_answer(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::internal(format!("no endpoint for {domain}"))))
    }

    fn endpoints(&self, domain: &str) -> Vec<Endpoint> {
        let known =
            self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(domain).copied();
        endpoint::of(&self.config, domain, known)
    }

    fn remember(&self, endpoint: &Endpoint) {
        if endpoint.is_insecure {
            let scheme = if endpoint.is_plain() { "http" } else { "https" };
            let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
            schemes.insert(endpoint.domain.clone(), scheme);
        }
    }
}

/// Requests on behalf of one user.
#[derive(Debug, Clone)]
pub struct Session {
    registry: Arc<Registry>,
    credentials: Option<Arc<Credentials>>,
    tokens: auth::Tokens,
    /// Which endpoint had the manifest of a repository: its blobs are asked for there first.
    chosen: Arc<Mutex<HashMap<String, Endpoint>>>,
}

impl Session {
    /// Endpoints in the order in which to ask for `reference`.
    fn order(&self, reference: &ImageRef) -> Vec<Endpoint> {
        let mut all = self.registry.endpoints(reference.domain());
        let chosen = self
            .chosen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&reference.name())
            .cloned();
        if let Some(chosen) = chosen {
            all.retain(|e| *e != chosen);
            // An insecure registry speaks one scheme; the other would only hide the error.
            all.retain(|e| e.is_mirror || chosen.is_mirror || !chosen.is_insecure);
            all.insert(0, chosen);
        }
        all
    }

    fn choose(&self, reference: &ImageRef, endpoint: &Endpoint) {
        self.registry.remember(endpoint);
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        chosen.insert(reference.name(), endpoint.clone());
    }

    /// Asks one endpoint after the other until one has what is wanted.
    async fn first<'a, T>(
        &self,
        reference: &ImageRef,
        ask: impl Fn(Endpoint) -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        let mut last: Option<Error> = None;
        for endpoint in self.order(reference) {
            match ask(endpoint.clone()).await {
                Ok(found) => {
                    self.choose(reference, &endpoint);
                    return Ok(found);
                }
                Err(error) => {
                    tracing::debug!(endpoint = %endpoint.base, %error, "endpoint failed");
                    // The registry itself was reached and said no: plain HTTP would not say anything else.
                    let reached = !errors::is_no_answer(&error);
                    if reached && !endpoint.is_mirror {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last
            .unwrap_or_else(|| Error::internal(format!("no endpoint for {}", reference.domain()))))
    }
}

impl Session {
    async fn find_manifest(&self, reference: &ImageRef, wanted: Wanted) -> Result<Resolved> {
        let wanted = &wanted;
        self.first(reference, move |endpoint| {
            Box::pin(async move { self.manifest_at(&endpoint, wanted).await })
        })
        .await
    }
}

impl Fetcher for Session {
    fn resolve<'a>(&'a self, reference: &'a ImageRef) -> BoxFuture<'a, Result<Resolved>> {
        let shown = reference.clone().with_default_tag();
        let digest = reference.digest().cloned();
        let name = match &digest {
            Some(digest) => digest.to_string(),
            None => reference.tag().unwrap_or(types::reference::DEFAULT_TAG).to_owned(),
        };
        Box::pin(self.find_manifest(reference, Wanted { shown, name, digest, size: None }))
    }

    fn manifest<'a>(
        &'a self,
        reference: &'a ImageRef,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Resolved>> {
        let digest = descriptor.digest.clone();
        let wanted = Wanted {
            shown: reference.with_digest(digest.clone()),
            name: digest.to_string(),
            digest: Some(digest),
            size: Some(descriptor.size),
        };
        Box::pin(self.find_manifest(reference, wanted))
    }

    fn fetch<'a>(
        &'a self,
        reference: &'a ImageRef,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<ByteStream>> {
        Box::pin(self.first(reference, move |endpoint| {
            Box::pin(async move { self.blob_at(&endpoint, reference, descriptor).await })
        }))
    }
}
