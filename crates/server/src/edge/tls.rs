//! TLS for `tcp://`: certificates, and the bridge between an encrypted connection and the rest of the edge.
//!
//! Everything behind this file works on sockets: half-closed connections, taking over from hyper, noticing that a client
//! has gone. So an encrypted connection is decrypted into one end of a socket pair, and the other end is served like any
//! UNIX connection. It costs one more copy, beside encryption that costs more.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stdx::{Error, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client that was told everything may take to close its end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The files of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Clients must show a certificate that one of these authorities signed; `None`: anybody may connect.
    pub ca: Option<PathBuf>,
    /// Our certificate, and those between it and an authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    /// Reads the files. Versions 1.3, and 1.2 with authenticated encryption.
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |text: String| Error::invalid(format!("invalid TLS configuration: {text}"));
        let pair = format!(
            "Could not load X509 key pair (cert: {:?}, key: {:?})",
            self.cert.display().to_string(),
            self.key.display().to_string()
        );
        let chain = certificates(&self.cert).map_err(|e| wrong(format!("{pair}: {e}")))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| wrong(format!("{pair}: {}", pem_text(&self.key, &e))))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| wrong(e.to_string()))?;
        let builder = match &self.ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let text = |e: &dyn std::fmt::Display| {
                    wrong(format!(
                        "could not read CA certificate {:?}: {e}",
                        ca.display().to_string()
                    ))
                };
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca).map_err(|e| text(&e))? {
                    roots.add(certificate).map_err(|e| text(&e))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|e| text(&e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|e| wrong(format!("{pair}: {e}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || -> Result<Vec<_>, rustls::pki_types::pem::Error> {
        CertificateDer::pem_file_iter(path)?.collect()
    };
    let all = read().map_err(|e| pem_text(path, &e))?;
    if all.is_empty() {
        return Err(format!("no certificate in {}", path.display()));
    }
    Ok(all)
}

fn pem_text(path: &Path, error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(e) if e.kind() == io::ErrorKind::NotFound => {
            format!("open {}: no such file or directory", path.display())
        }
        other => format!("{}: {other}", path.display()),
    }
}

/// A client that has shown who it is.
pub(crate) struct Bridge {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    outer: UnixStream,
}

/// Shakes hands; answers the end to serve, and the bridge that must run beside.
pub(crate) async fn accept(
    acceptor: &TlsAcceptor,
    client: TcpStream,
) -> io::Result<(UnixStream, Bridge)> {
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(client))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let (inner, outer) = UnixStream::pair()?;
    Ok((inner, Bridge { stream, outer }))
}

impl Bridge {
    /// Carries bytes both ways until the daemon's end is closed, or the client is gone.
    pub(crate) async fn run(self) {
        let (mut from_client, mut to_client) = tokio::io::split(self.stream);
        let (mut from_daemon, mut to_daemon) = self.outer.into_split();
        let up = async {
            let copied = tokio::io::copy(&mut from_client, &mut to_daemon).await;
            // The end of the client's stream is the end of stdin; what is still to come the other way comes.
            let _gone = to_daemon.shutdown().await;
            copied
        };
        let down = async {
            let copied = tokio::io::copy(&mut from_daemon, &mut to_client).await;
            let _gone = to_client.shutdown().await;
            copied
        };
        let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
        tokio::select! {
            // Everything is said.
            _ = &mut down => {
                let _late = tokio::time::timeout(FAREWELL, up).await;
            }
            read = &mut up => match read {
                Ok(_) => {
                    let _said = down.await;
                }
                // A connection that broke: dropping our ends tells the daemon's.
                Err(error) => tracing::debug!(%error, "a TLS connection broke"),
            },
        }
    }
}
