//! Certificates for tests of TLS, made by `openssl`.

use crate::process;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// An authority `ca`, and `server` (for 127.0.0.1 and localhost) and `client`, which it signed; `other` is known to
/// nobody. Each is a `NAME.pem` and a `NAME.key`.
#[derive(Debug)]
pub struct Papers(TempDir);

impl Papers {
    /// Makes them all.
    ///
    /// # Panics
    /// When `openssl` is missing.
    pub fn make() -> Self {
        let papers = Self(tempfile::tempdir().expect("make a folder"));
        papers.own("ca");
        papers.own("other");
        std::fs::write(papers.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost")
            .expect("write the names");
        for name in ["server", "client"] {
            papers.sign(name);
        }
        papers
    }

    /// Where `NAME.pem` or `NAME.key` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// [`Self::path`] as an argument.
    pub fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn own(&self, name: &str) {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let what = ["req", "-x509", "-keyout", &key, "-out", &pem, "-subj", &subject, "-days", "2"];
        self.openssl(&[&what[..], &CURVE].concat());
    }

    fn sign(&self, name: &str) {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let (request, subject) = (format!("{name}.csr"), format!("/CN={name}"));
        let ask = ["req", "-keyout", &key, "-out", &request, "-subj", &subject];
        self.openssl(&[&ask[..], &CURVE].concat());
        let sign = ["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key"];
        let rest = ["-CAcreateserial", "-out", &pem, "-days", "2", "-extfile", "names"];
        self.openssl(&[&sign[..], &rest].concat());
    }

    fn openssl(&self, args: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(self.0.path());
        process::run(command).ok();
    }
}

/// Keys that take no time to make.
const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
