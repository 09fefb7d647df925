//! Manifests and blobs of one endpoint.

use crate::Session;
use crate::endpoint::Endpoint;
use crate::errors;
use crate::transport::{Get, pause};
use bytes::Bytes;
use content::{ByteStream, Resolved};
use futures_util::StreamExt as _;
use oci::image::{Descriptor, MAX_DOCUMENT, media};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use std::collections::BTreeMap;
use std::pin::Pin;
use stdx::{Error, Kind, Result};
use types::{Algorithm, Digest, ImageRef};

/// What the registry says the digest of a manifest is.
const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";

/// Which manifest is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The reference for the human.
    pub(crate) shown: ImageRef,
    /// A tag or a digest.
    pub(crate) name: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) size: Option<u64>,
}

impl Session {
    /// The manifest, if this endpoint has it and does not lie.
    pub(crate) async fn manifest_at(
        &self,
        endpoint: &Endpoint,
        wanted: &Wanted,
    ) -> Result<Resolved> {
        let Wanted { shown, name, digest, size } = wanted;
        let url = endpoint.url(&format!("{}/manifests/{name}", shown.path()))?;
        let get = Get { accept: Some(media::ACCEPT.join(", ")), from: 0, scope: scope(shown) };
        let answer = self.get(endpoint, url, get).await?;
        if !answer.status().is_success() {
            return Err(errors::of_manifest(answer, shown).await);
        }
        let header =
            |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.trim().to_owned());
        let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let said = header(DOCKER_CONTENT_DIGEST);
        let body = errors::body(answer, usize::try_from(MAX_DOCUMENT).expect("4 MiB fit")).await?;
        let algorithm = digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let actual = digest_of(algorithm, &body);
        if let Some(wanted) = digest.as_ref().filter(|d| **d != actual) {
            return Err(Error::new(
                Kind::DataLoss,
                format!("manifest verification failed for digest {wanted}"),
            ));
        }
        if let Some(said) = said.and_then(|s| s.parse::<Digest>().ok()) {
            let actual = digest_of(said.algorithm(), &body);
            if said != actual {
                return Err(Error::new(
                    Kind::DataLoss,
                    format!("manifest verification failed for digest {said}"),
                ));
            }
        }
        let length = body.len() as u64;
        if let Some(wanted) = size.filter(|s| *s != length) {
            return Err(content::wrong_size(&actual, wanted, length));
        }
        let descriptor = Descriptor {
            media_type,
            digest: actual,
            size: length,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
        };
        Ok(Resolved { descriptor, bytes: body.into() })
    }

    /// A stream of the whole blob. The request is made at once, so that its failure can still lead to another endpoint.
    pub(crate) async fn blob_at(
        &self,
        endpoint: &Endpoint,
        reference: &ImageRef,
        descriptor: &Descriptor,
    ) -> Result<ByteStream> {
        let mut blob = Blob {
            session: self.clone(),
            endpoint: endpoint.clone(),
            reference: reference.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            done: 0,
            attempts: 0,
            body: None,
        };
        let answer = blob.ask().await?;
        blob.accept(answer)?;
        Ok(Box::pin(futures_util::stream::unfold(Some(blob), |blob| async {
            let mut blob = blob?;
            match blob.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(blob))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })))
    }
}

type Body = Pin<Box<dyn futures_core::Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// A blob on its way.
struct Blob {
    session: Session,
    endpoint: Endpoint,
    reference: ImageRef,
    digest: Digest,
    size: u64,
    /// Bytes handed on.
    done: u64,
    /// Cuts in a row without a byte in between.
    attempts: u32,
    body: Option<(Body, u64)>,
}

impl Blob {
    async fn ask(&mut self) -> Result<Response> {
        let url = self.endpoint.url(&format!("{}/blobs/{}", self.reference.path(), self.digest))?;
        let get = Get { accept: None, from: self.done, scope: scope(&self.reference) };
        let answer = self.session.get(&self.endpoint, url, get).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let answer = errors::Answer::read(answer).await;
        Err(match answer.code.as_str() {
            "DENIED" => errors::denied(&self.reference, &answer.said()),
            _ => answer.into_error(),
        })
    }

    /// Looks at what the answer says before its body counts.
    fn accept(&mut self, answer: Response) -> Result<()> {
        let number =
            |name| -> Option<u64> { answer.headers().get(name)?.to_str().ok()?.parse().ok() };
        // Bytes to throw away: some servers ignore Range and begin anew.
        let skip = if answer.status() == StatusCode::PARTIAL_CONTENT {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|r| r.to_str().ok());
            let start = range
                .and_then(|r| r.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
            if start != Some(self.done) {
                return Err(Error::new(
                    Kind::DataLoss,
                    format!(
                        "registry answered for {} with bytes that were not asked for",
                        self.digest
                    ),
                ));
            }
            0
        } else {
            self.done
        };
        if let Some(length) = number(CONTENT_LENGTH) {
            let whole = length.saturating_add(if skip == 0 { self.done } else { 0 });
            if whole != self.size {
                return Err(content::wrong_size(&self.digest, self.size, whole));
            }
        }
        self.body = Some((Box::pin(answer.bytes_stream()), skip));
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some((body, skip)) = &mut self.body else {
                self.resume().await?;
                continue;
            };
            match body.next().await {
                Some(Ok(mut bytes)) => {
                    let skipped = (*skip).min(bytes.len() as u64);
                    *skip -= skipped;
                    let _skipped =
                        bytes.split_to(usize::try_from(skipped).expect("at most the chunk"));
                    if bytes.is_empty() {
                        continue;
                    }
                    self.attempts = 0;
                    self.done += bytes.len() as u64;
                    if self.done > self.size {
                        return Err(content::wrong_size(&self.digest, self.size, self.done));
                    }
                    return Ok(Some(bytes));
                }
                None if self.done == self.size => return Ok(None),
                // A cut: the connection ended, or the body did before its time.
                other => {
                    let cause = other.and_then(std::result::Result::err);
                    tracing::debug!(digest = %self.digest, at = self.done, ?cause, "transfer was cut");
                    self.body = None;
                    if self.done == self.size {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Asks for the rest after a pause, until the registry gave up too often.
    async fn resume(&mut self) -> Result<()> {
        let config = self.session.registry.config.clone();
        if self.attempts >= config.retries {
            return Err(Error::new(
                Kind::Unavailable,
                format!(
                    "transfer of {} was cut {} times in a row, last at byte {} of {}",
                    self.digest,
                    self.attempts + 1,
                    self.done,
                    self.size
                ),
            ));
        }
        self.attempts += 1;
        pause(&config, self.attempts, None).await;
        match self.ask().await {
            Ok(answer) => self.accept(answer),
            // Nobody answers now; the next attempt may be luckier.
            Err(error) if error.kind() == Kind::Unavailable && self.attempts < config.retries => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn scope(reference: &ImageRef) -> String {
    format!("repository:{}:pull", reference.path())
}

fn digest_of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    use ring::digest::{SHA256, SHA512, digest};
    match algorithm {
        Algorithm::Sha256 => Digest::from_sha256(
            digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes"),
        ),
        Algorithm::Sha512 => Digest::from_sha512(
            digest(&SHA512, bytes).as_ref().try_into().expect("SHA-512 has 64 bytes"),
        ),
    }
}
