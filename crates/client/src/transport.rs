//! Ways to a daemon, all of which end in a socket: UNIX, TCP, TLS and `ssh`.
//!
//! What comes back is one of two socket types, whatever the way, since attached commands half-close and split it:
//! encrypted bytes are carried between the network and one end of a socket pair by a task, and `ssh` gets one end as its
//! standard input and output.

use crate::error::{Error, Result};
use crate::host::Host;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// How TLS is spoken with a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that may vouch for the daemon; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, if we show one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Any daemon will do.
    pub skip_verify: bool,
}

/// A connection.
#[derive(Debug)]
pub enum Transport {
    /// A UNIX socket, or what stands behind one.
    Unix(UnixStream),
    /// TCP in plain text.
    Tcp(TcpStream),
    /// One end of a pair that a task carries on to the network, encrypted.
    Encrypted(UnixStream, Trouble),
}

/// What TLS had to say against a connection after it was made, if anything: whoever reads sees no more than its end.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<OnceLock<String>>);

impl Trouble {
    /// The text, once there is one.
    pub fn get(&self) -> Option<&String> {
        self.0.get()
    }

    fn note(&self, error: &io::Error) {
        let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        let text = match inner {
            Some(rustls::Error::AlertReceived(alert)) => {
                format!("remote error: {}", words(&format!("{alert:?}")))
            }
            _ => error.to_string(),
        };
        let _first = self.0.set(text);
    }
}

/// `CertificateRequired` as `certificate required`.
fn words(name: &str) -> String {
    let mut text = String::new();
    let mut after_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && after_small {
            text.push(' ');
        }
        after_small = letter.is_lowercase();
        text.extend(letter.to_lowercase());
    }
    text
}

/// Connects.
pub(crate) async fn dial(host: &Host, tls: Option<&Tls>) -> Result<Transport> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Denied { host: host.clone(), source },
        _ => Error::Connect { host: host.clone(), source },
    };
    match host {
        Host::Unix(path) => UnixStream::connect(path).await.map(Transport::Unix).map_err(failed),
        Host::Tcp { authority, .. } => {
            let stream = TcpStream::connect(authority.as_str()).await.map_err(failed)?;
            stream.set_nodelay(true)?;
            match tls {
                None => Ok(Transport::Tcp(stream)),
                Some(tls) => encrypted(stream, authority, tls).await,
            }
        }
        Host::Ssh { .. } => through_ssh(host).map(Transport::Unix),
    }
}

async fn encrypted(stream: TcpStream, authority: &str, tls: &Tls) -> Result<Transport> {
    let name = authority.rsplit_once(':').map_or(authority, |(name, _port)| name);
    let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
        .map_err(|e| Error::Tls(e.to_string()))?;
    let connector = TlsConnector::from(Arc::new(tls.config()?));
    let stream = connector.connect(name, stream).await.map_err(|e| Error::Tls(e.to_string()))?;
    let (ours, bridge) = UnixStream::pair()?;
    let (mut from_daemon, mut to_daemon) = tokio::io::split(stream);
    let (mut from_us, mut to_us) = bridge.into_split();
    let trouble = Trouble::default();
    let noted = trouble.clone();
    tokio::spawn(async move {
        let _gone = tokio::io::copy(&mut from_us, &mut to_daemon).await;
        let _gone = to_daemon.shutdown().await;
    });
    tokio::spawn(async move {
        if let Err(e) = tokio::io::copy(&mut from_daemon, &mut to_us).await {
            noted.note(&e);
        }
        let _gone = to_us.shutdown().await;
    });
    Ok(Transport::Encrypted(ours, trouble))
}

/// Runs `ssh`, which runs a client on the other host that carries bytes to the daemon there.
fn through_ssh(host: &Host) -> Result<UnixStream> {
    let Host::Ssh { user, name, port, path } = host else {
        return Err(Error::Ssh(format!("{host} is no ssh address")));
    };
    let failed = |e: io::Error| Error::Ssh(format!("execute ssh: {e}"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the user's own ssh, in the user's own environment"
    )]
    let mut command = std::process::Command::new("ssh");
    command.args(["-o", "ConnectTimeout=30", "-T"]);
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    if let Some(port) = port {
        command.args(["-p", port]);
    }
    command.args(["--", name]).arg(remote_command(path.as_deref()));
    command.stdin(std::os::fd::OwnedFd::from(theirs.try_clone()?));
    command.stdout(std::os::fd::OwnedFd::from(theirs));
    // What ssh has to say, its questions included, is for the user. It ends when our end of the pair is closed.
    let _child = command.spawn().map_err(failed)?;
    ours.set_nonblocking(true)?;
    Ok(UnixStream::from_std(ours)?)
}

/// Our own client over there, or Docker's.
fn remote_command(path: Option<&str>) -> String {
    let host = path.map_or_else(String::new, |path| format!(" --host unix://{path}"));
    let dial = |program: &str| format!("exec {program}{host} system dial-stdio");
    let text =
        format!("command -v gantry >/dev/null 2>&1 && {}; {}", dial("gantry"), dial("docker"));
    format!("sh -c '{}'", text.replace('\'', "'\\''"))
}

impl Tls {
    fn config(&self) -> Result<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |text: String| Error::Tls(text);
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| wrong(e.to_string()))?;
        let builder = if self.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let mut roots = rustls::RootCertStore::empty();
            let all = match &self.ca {
                Some(ca) => certificates(ca)?,
                None => rustls_native_certs::load_native_certs().certs,
            };
            for certificate in all {
                // One that cannot be read vouches for nobody; the others still do.
                let _added = roots.add(certificate);
            }
            builder.with_root_certificates(roots)
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((cert, key)) => {
                let chain = certificates(cert)?;
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| wrong(format!("{}: {e}", key.display())))?;
                builder.with_client_auth_cert(chain, secret).map_err(|e| wrong(e.to_string()))
            }
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || -> std::result::Result<Vec<_>, rustls::pki_types::pem::Error> {
        CertificateDer::pem_file_iter(path)?.collect()
    };
    read().map_err(|e| Error::Tls(format!("{}: {e}", path.display())))
}

/// Takes every certificate, as `--tls` without `--tlsverify` does; signatures are still checked.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> std::result::Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_read_as_go_writes_them() {
        for (name, text) in [
            ("CertificateRequired", "certificate required"),
            ("BadCertificate", "bad certificate"),
            ("UnknownCA", "unknown ca"),
        ] {
            assert_eq!(words(name), text);
        }
    }

    #[test]
    fn the_remote_client_is_ours_or_dockers() {
        assert_eq!(
            remote_command(Some("/tmp/s")),
            "sh -c 'command -v gantry >/dev/null 2>&1 && exec gantry --host unix:///tmp/s system dial-stdio; exec docker \
             --host unix:///tmp/s system dial-stdio'"
        );
    }
}
