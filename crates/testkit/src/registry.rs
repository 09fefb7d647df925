//! A registry to pull from: Debian's `docker-registry`, on a daemon's own loopback.

use crate::process::{eventually, must, tail};
use crate::{Host, images};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The user that a registry with [`Access::Basic`] knows, and the password.
pub const USER: (&str, &str) = ("tester", "correct horse");
/// bcrypt of that password.
const HTPASSWD: &str = "tester:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n";

/// How a registry may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Plain HTTP, everyone.
    Plain,
    /// Plain HTTP with a user and a password.
    Basic,
    /// HTTPS with a certificate of an authority of its own.
    Tls,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    folder: TempDir,
    place: String,
    access: Access,
}

impl Registry {
    /// Starts one inside `host` at `127.0.0.1:port`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(host: &Host, port: u16, access: Access) -> Self {
        Self::start_at(host, "127.0.0.1", port, access)
    }

    /// Starts one inside `host` at an IPv4 address that the host has.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_at(host: &Host, address: &str, port: u16, access: Access) -> Self {
        let folder =
            tempfile::Builder::new().prefix("gantry-registry-").tempdir().expect("make a folder");
        let place = |name: &str| folder.path().join(name);
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}:{port}\n",
            place("storage").display()
        );
        if access == Access::Tls {
            certificate(folder.path(), address);
            let (cert, key) = (place("server.crt"), place("server.key"));
            write!(
                config,
                "  tls:\n    certificate: {}\n    key: {}\n",
                cert.display(),
                key.display()
            )
            .expect("text");
        }
        if access == Access::Basic {
            std::fs::write(place("htpasswd"), HTPASSWD).expect("write the password file");
            let path = place("htpasswd");
            write!(config, "auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display())
                .expect("text");
        }
        std::fs::write(place("config.yml"), config).expect("write the configuration");
        let log = std::fs::File::create(place("log")).expect("make the log");
        let child = host
            .command("docker-registry")
            .arg("serve")
            .arg(place("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("start docker-registry");
        let mut registry = Self { child, folder, place: format!("{address}:{port}"), access };
        let listening = format!("/proc/{}/net/tcp", host.first());
        // The kernel prints addresses as numbers in the machine's own byte order.
        let octets: Vec<u8> = address.split('.').filter_map(|o| o.parse().ok()).collect();
        let number = u32::from_ne_bytes(octets.try_into().expect("an IPv4 address"));
        let wanted = format!("{number:08X}:{port:04X} 00000000:0000 0A");
        eventually("the registry listens", Duration::from_secs(20), || {
            if let Ok(Some(status)) = registry.child.try_wait() {
                panic!(
                    "docker-registry ended: {status}\n{}",
                    tail(&registry.folder.path().join("log"), 20)
                );
            }
            std::fs::read_to_string(&listening).is_ok_and(|t| t.contains(&wanted))
        });
        registry
    }

    /// The name that images in it have.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    /// The certificate of the authority that signed this registry's.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// Where it keeps its blobs.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// Pushes an image of the test archive, as `skopeo copy` does.
    pub fn push(&self, host: &Host, image: &str, name: &str, flags: &[&str]) {
        let source = format!("docker-archive:{}:{image}:latest", images::archive().display());
        self.copy(host, &source, name, flags);
    }

    /// Pushes an image from anywhere that skopeo can read.
    pub fn copy(&self, host: &Host, source: &str, name: &str, flags: &[&str]) {
        let mut command = host.command("skopeo");
        command.args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"]).args(flags);
        if self.access == Access::Basic {
            command.args(["--dest-creds", &format!("{}:{}", USER.0, USER.1)]);
        }
        command.arg(source).arg(format!("docker://{}", self.image(name)));
        crate::process::Running::start(command, None).end(Duration::from_secs(300)).ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The child is nsenter; the registry below it ends with its host at the latest.
        for (pid, ..) in crate::process::descendants(self.child.id().cast_signed()) {
            crate::process::send(pid, rustix::process::Signal::KILL);
        }
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Makes an authority and a certificate for this address.
fn certificate(folder: &Path, address: &str) {
    let path = |name: &str| folder.join(name).display().to_string();
    let days = ["-days", "2", "-nodes", "-newkey", "rsa:2048"];
    let mut authority = vec!["req", "-x509", "-subj", "/CN=Test Authority"];
    authority.extend(days);
    let (ca_key, ca, key, request, own) = (
        path("ca.key"),
        path("ca.crt"),
        path("server.key"),
        path("server.csr"),
        path("server.crt"),
    );
    authority.extend(["-keyout", &ca_key, "-out", &ca]);
    must("openssl", &authority);
    must(
        "openssl",
        &[
            "req",
            "-subj",
            "/CN=registry",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-keyout",
            &key,
            "-out",
            &request,
        ],
    );
    let names = path("names");
    std::fs::write(&names, format!("subjectAltName=IP:{address}\n")).expect("write the names");
    let sign = [
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "2",
    ];
    let mut command = Command::new("openssl");
    command.args(sign).args(["-extfile", &names, "-out", &own]);
    crate::process::run(command).ok();
}
