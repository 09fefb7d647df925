//! Errors in the words that Docker's users know.

use crate::wire::Errors;
use reqwest::{Response, StatusCode, Url};
use std::error::Error as StdError;
use std::io;
use stdx::{Error, Kind, Result};
use types::ImageRef;

/// The largest body of an error or of a token that is read.
const MAX_BODY: usize = 1 << 20;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct NoAnswer {
    reason: String,
    connected: bool,
}

/// The request for `url` got no answer.
pub(crate) fn no_answer(url: &Url, error: &reqwest::Error) -> Error {
    Error::new(Kind::Unavailable, format!("Get \"{}\"", shown(url)))
        .caused_by(NoAnswer { reason: reason(url, error), connected: !error.is_connect() })
}

/// Whether nobody answered, so that another way to the same registry may do better.
pub(crate) fn is_no_answer(error: &Error) -> bool {
    error.source().is_some_and(|s| s.is::<NoAnswer>())
}

/// Whether there was a connection, but it ended before an answer came.
pub(crate) fn was_cut(error: &Error) -> bool {
    error.source().and_then(|s| s.downcast_ref::<NoAnswer>()).is_some_and(|n| n.connected)
}

/// A failure of ours, not of the other side.
pub(crate) fn internal(doing: &str, error: reqwest::Error) -> Error {
    Error::internal(doing).caused_by(error.without_url())
}

/// Why there was no answer, as Go's HTTP client says it.
pub(crate) fn reason(url: &Url, error: &reqwest::Error) -> String {
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    if error.is_timeout() {
        return if error.is_connect() {
            format!("dial tcp {address}: i/o timeout")
        } else {
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()
        };
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(e) = cause {
        if let Some(tls) = inside(e) {
            return of_tls(tls);
        }
        if let Some(io) = e.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return format!("dial tcp {address}: connect: connection refused");
                }
                io::ErrorKind::ConnectionReset => {
                    return "read: connection reset by peer".to_owned();
                }
                io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
                io::ErrorKind::HostUnreachable => {
                    return format!("dial tcp {address}: connect: no route to host");
                }
                io::ErrorKind::NetworkUnreachable => {
                    return format!("dial tcp {address}: connect: network is unreachable");
                }
                _ => {}
            }
        }
        last = e.to_string();
        if last.contains("dns error") {
            return format!("dial tcp: lookup {host}: no such host");
        }
        cause = e.source();
    }
    last
}

/// A TLS error, also within I/O errors within I/O errors: those are no `source()` of each other.
fn inside<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => inside(io.get_ref()?),
        None => error.downcast_ref(),
    }
}

fn of_tls(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error as Tls};
    match error {
        Tls::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".to_owned(),
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .to_owned()
        }
        Tls::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
            .to_owned(),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "tls: failed to verify certificate: x509: certificate is not valid for this name"
            .to_owned(),
        Tls::InvalidCertificate(other) => format!("tls: failed to verify certificate: {other}"),
        other => format!("tls: {other}"),
    }
}

/// The registry answered that something is wrong.
pub(crate) async fn of_answer(answer: Response) -> Error {
    Answer::read(answer).await.into_error()
}

/// The same for a manifest, which Docker words with the reference.
pub(crate) async fn of_manifest(answer: Response, reference: &ImageRef) -> Error {
    let answer = Answer::read(answer).await;
    let code = match (answer.code.as_str(), answer.status) {
        // Registries without JSON in their errors.
        ("", StatusCode::NOT_FOUND) => "MANIFEST_UNKNOWN",
        (code, _) => code,
    };
    let not_found = |text: String, said: String| Error::not_found(format!("{text}: {said}"));
    match code {
        "MANIFEST_UNKNOWN" | "TAG_INVALID" | "NOT_FOUND" => {
            let said = if answer.code.is_empty() {
                "manifest unknown: manifest unknown".to_owned()
            } else {
                answer.said()
            };
            not_found(format!("manifest for {} not found", reference.familiar()), said)
        }
        "NAME_UNKNOWN" => {
            not_found(format!("repository {} not found", reference.familiar_name()), answer.said())
        }
        "DENIED" => denied(reference, &answer.said()),
        _ => answer.into_error(),
    }
}

/// The repository is not for this user, or is not there: registries do not tell which.
pub(crate) fn denied(reference: &ImageRef, said: &str) -> Error {
    Error::not_found(format!(
        "pull access denied for {}, repository does not exist or may require 'docker login': {said}",
        reference.familiar_name()
    ))
}

/// An answer that is an error, read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Its first error's code; empty when the body was no registry's error.
    pub(crate) code: String,
    message: String,
}

impl Answer {
    pub(crate) async fn read(answer: Response) -> Self {
        let status = answer.status();
        let body = body(answer, MAX_BODY).await.unwrap_or_default();
        let first =
            serde_json::from_slice::<Errors>(&body).ok().and_then(|e| e.errors.into_iter().next());
        // Only what the specification allows in a code, so that the text cannot carry anything else.
        let code = first.as_ref().map(|e| e.code.clone()).unwrap_or_default();
        let plain = code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let code = if plain { code } else { String::new() };
        let message =
            first.map(|e| e.message.chars().filter(|c| !c.is_control()).take(500).collect());
        Self { status, code, message: message.unwrap_or_default() }
    }

    /// `manifest unknown: manifest unknown`.
    pub(crate) fn said(&self) -> String {
        format!("{}: {}", self.code.to_lowercase().replace('_', " "), self.message)
    }

    pub(crate) fn into_error(self) -> Error {
        let text = if self.code.is_empty() {
            format!("received unexpected HTTP status: {}", self.status)
        } else {
            self.said()
        };
        Error::new(kind(self.status), text)
    }
}

fn kind(status: StatusCode) -> Kind {
    match status {
        StatusCode::UNAUTHORIZED => Kind::Unauthorized,
        StatusCode::FORBIDDEN => Kind::Forbidden,
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Kind::Timeout,
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Kind::Unavailable
        }
        _ => Kind::Internal,
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn body(mut answer: Response, limit: usize) -> Result<Vec<u8>> {
    let url = answer.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| no_answer(&url, &e))? {
        if body.len() + chunk.len() > limit {
            return Err(Error::new(
                Kind::DataLoss,
                format!("Get \"{}\": answer is over {limit} bytes", shown(&url)),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A URL as it may be printed: queries of redirects carry signatures.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.query().is_some() {
        url.set_query(Some("REDACTED"));
    }
    url.set_fragment(None);
    url.to_string()
}
