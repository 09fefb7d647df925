//! TLS: whom we believe. The certificates are made by the `openssl` program, without which these are skipped.
#![allow(clippy::disallowed_methods, reason = "a test may start openssl")]

use crate::fake::{Answer, Asked, Fake, config};
use content::Fetcher as _;
use oci::image::media;
use remote::{Config, Registry};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, a server's certificate for 127.0.0.1 and a client's.
struct Papers {
    dir: TempDir,
}

impl Papers {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let status = Command::new("openssl")
                .args(args)
                .current_dir(dir.path())
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|s| s.success())
        };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let made = run(&[
            &[
                "req",
                "-x509",
                "-subj",
                "/CN=authority",
                "-keyout",
                "ca.key",
                "-out",
                "ca.crt",
                "-days",
                "2",
            ],
            &key[..],
        ]
        .concat())
            && [("server", "subjectAltName=IP:127.0.0.1"), ("client", "subjectAltName=DNS:client")]
                .iter()
                .all(|(name, san)| {
                    let (k, csr, crt, ext) = (
                        format!("{name}.key"),
                        format!("{name}.csr"),
                        format!("{name}.crt"),
                        format!("{name}.ext"),
                    );
                    std::fs::write(dir.path().join(&ext), san).unwrap();
                    run(&[&["req", "-subj", "/CN=x", "-keyout", &k, "-out", &csr], &key[..]]
                        .concat())
                        && run(&[
                            "x509",
                            "-req",
                            "-in",
                            &csr,
                            "-CA",
                            "ca.crt",
                            "-CAkey",
                            "ca.key",
                            "-CAcreateserial",
                            "-out",
                            &crt,
                            "-days",
                            "2",
                            "-extfile",
                            &ext,
                        ])
                });
        if !made {
            eprintln!("skipped: no openssl program");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, asks_for_client: bool) -> Arc<rustls::ServerConfig> {
        remote::init();
        let chain = vec![CertificateDer::from_pem_file(self.path("server.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let builder = rustls::ServerConfig::builder();
        let builder = if asks_for_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

fn serve(tls: Arc<rustls::ServerConfig>) -> Fake {
    let answer = |_: &Asked| Answer::new(200, "{}").header("content-type", media::OCI_MANIFEST);
    Fake::on("127.0.0.1".parse().unwrap(), Some(tls), answer)
}

/// Nothing is insecure.
fn strict(certificates: &Path) -> Config {
    Config {
        insecure_hosts: Vec::new(),
        insecure_networks: Vec::new(),
        certificates: vec![certificates.to_owned()],
        ..config()
    }
}

async fn error(config: Config, fake: &Fake) -> String {
    Registry::new(config).session(None).resolve(&fake.image("app")).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_registry_is_believed_by_its_own_authority() {
    let Some(papers) = Papers::new() else { return };
    let fake = serve(papers.server(false));
    let certs = tempfile::tempdir().unwrap();
    let host = certs.path().join(fake.address.to_string());
    let refused = format!(
        "Get \"https://{}/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        fake.address
    );
    assert_eq!(error(strict(certs.path()), &fake).await, refused);
    std::fs::create_dir(&host).unwrap();
    std::fs::copy(papers.path("ca.crt"), host.join("ca.crt")).unwrap();
    Registry::new(strict(certs.path())).session(None).resolve(&fake.image("app")).await.unwrap();
    // Another port is another registry.
    let other = serve(papers.server(false));
    assert!(error(strict(certs.path()), &other).await.contains("unknown authority"));
}

#[tokio::test]
async fn an_insecure_registry_needs_no_authority() {
    let Some(papers) = Papers::new() else { return };
    let fake = serve(papers.server(false));
    Registry::new(config()).session(None).resolve(&fake.image("app")).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_shown_when_asked_for() {
    let Some(papers) = Papers::new() else { return };
    let fake = serve(papers.server(true));
    let certs = tempfile::tempdir().unwrap();
    let host = certs.path().join(fake.address.to_string());
    std::fs::create_dir(&host).unwrap();
    std::fs::copy(papers.path("ca.crt"), host.join("ca.crt")).unwrap();
    error(strict(certs.path()), &fake).await;
    std::fs::copy(papers.path("client.crt"), host.join("client.cert")).unwrap();
    assert!(error(strict(certs.path()), &fake).await.contains("missing key"));
    std::fs::copy(papers.path("client.key"), host.join("client.key")).unwrap();
    Registry::new(strict(certs.path())).session(None).resolve(&fake.image("app")).await.unwrap();
}

#[tokio::test]
async fn tls_is_not_given_up() {
    // Plain HTTP where TLS is wanted: no falling back.
    let plain = Fake::new(|_| Answer::new(200, "{}"));
    let none = tempfile::tempdir().unwrap();
    assert_eq!(
        error(strict(none.path()), &plain).await,
        format!(
            "Get \"https://{}/v2/\": http: server gave HTTP response to HTTPS client",
            plain.address
        )
    );
    assert!(plain.asked().is_empty(), "nothing was said in clear");
    // Nor by a redirect.
    let Some(papers) = Papers::new() else { return };
    let to = format!("http://{}/", plain.address);
    let fake =
        Fake::on("127.0.0.1".parse().unwrap(), Some(papers.server(false)), move |_: &Asked| {
            Answer::new(302, "").header("location", &to)
        });
    let host = none.path().join(fake.address.to_string());
    std::fs::create_dir(&host).unwrap();
    std::fs::copy(papers.path("ca.crt"), host.join("ca.crt")).unwrap();
    assert!(error(strict(none.path()), &fake).await.contains("redirected from https to http"));
    assert!(plain.asked().is_empty());
}
