//! TLS with an own authority, a client certificate, or without looking.

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use stdx::{Error, Result};

/// An encrypted stream.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// How to be sure of whom one speaks to.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities; `None`: the host's.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Do not look at the server's certificate.
    pub skip_verify: bool,
}

impl Tls {
    /// Whether the files are there and are what they should be. The errors are Docker's.
    pub fn check(&self) -> Result<()> {
        self.config().map(drop)
    }

    /// The client's end over a connection that somebody else has made and bounds; the handshake comes with the first
    /// bytes.
    pub fn over<S: io::Read + io::Write>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<StreamOwned<ClientConnection, S>> {
        let config = self.config().map_err(io::Error::other)?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }

    pub(crate) fn connect(&self, address: &str, stream: TcpStream) -> io::Result<Stream> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let mut stream = self.over(host, stream)?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    fn config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("TLS: {e}")))?;
        let builder = if self.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let pair = |e: String| {
            Error::invalid(format!(
                "Could not load X509 key pair: {e}. Make sure the key is not encrypted"
            ))
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|e| pair(format!("{}: {e}", cert.display())))?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| pair(format!("{}: {e}", key.display())))?;
        builder.with_client_auth_cert(chain, key).map_err(|e| pair(e.to_string()))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        let bytes = std::fs::read(ca).map_err(|e| {
            let why = if e.kind() == io::ErrorKind::NotFound {
                "no such file or directory".to_owned()
            } else {
                e.to_string()
            };
            let ca = ca.display();
            Error::invalid(format!("could not read CA certificate \"{ca}\": open {ca}: {why}"))
        })?;
        for certificate in CertificateDer::pem_slice_iter(&bytes).flatten() {
            let _unusable = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(Error::invalid(format!(
                "failed to append certificates from PEM file: \"{}\"",
                ca.display()
            )));
        }
        Ok(roots)
    }
}

/// Whoever answers is right; signatures are checked still.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
