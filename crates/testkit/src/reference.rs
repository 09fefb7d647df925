//! The reference: Debian's dockerd 26.1 in a host of its own, fetched by `cargo xtask peers`.

use crate::process::{Running, eventually, tail};
use crate::{Cli, Client, Host, images, need, root};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Where the reference's programs are: `target/peers/bin`, or `GANTRY_PEERS`.
pub fn programs() -> PathBuf {
    std::env::var_os("GANTRY_PEERS").map_or_else(|| root().join("target/peers/bin"), PathBuf::from)
}

/// Why it cannot be had on this machine, if it cannot.
pub fn missing() -> Option<String> {
    for name in ["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "runc"] {
        if !programs().join(name).exists() {
            let why =
                std::fs::read_to_string(root().join("target/peers/missing")).unwrap_or_default();
            let why = if why.is_empty() {
                "run `cargo xtask peers`".to_owned()
            } else {
                why.trim().to_owned()
            };
            return Some(format!("the reference's {name} is not there: {why}"));
        }
    }
    need::find("iptables")
        .is_none()
        .then(|| "the reference needs iptables (Debian's package of that name)".to_owned())
}

/// A reference daemon with the test images.
#[derive(Debug)]
pub struct Reference {
    nsenter: std::process::Child,
    host: Host,
    folder: TempDir,
    cgroup: String,
}

impl Reference {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start; ask [`missing`] first.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts it with more flags.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(flags: &[&str]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("gantry-reference-").tempdir().expect("make a folder");
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir(place("home")).expect("make a folder");
        std::fs::write(place("daemon.json"), "{}").expect("write the configuration");
        let log = std::fs::File::create(place("log")).expect("make the log");
        let host = Host::start();
        let cgroup = format!("gantry-reference-{}", std::process::id());
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs().display());
        let mut command = host.command("env");
        command
            .args(["-i", &format!("PATH={path}"), "HOME=/root", "TMPDIR=/tmp", "dockerd"])
            .arg(format!("--host=unix://{}", place("docker.sock").display()))
            .arg("--data-root")
            .arg(place("data"))
            .arg("--exec-root")
            .arg(place("exec"))
            .arg("--pidfile")
            .arg(place("pid"))
            .arg("--config-file")
            .arg(place("daemon.json"))
            .args(["--cgroup-parent", &format!("/{cgroup}")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        let nsenter = command.spawn().expect("start nsenter (package util-linux)");
        let mut reference = Self { nsenter, host, folder, cgroup };
        let socket = reference.socket();
        eventually("dockerd answers", Duration::from_secs(60), || {
            if let Ok(Some(status)) = reference.nsenter.try_wait() {
                panic!(
                    "dockerd ended at its start: {status}\n{}",
                    tail(&reference.folder.path().join("log"), 20)
                );
            }
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        let archive = images::archive().display().to_string();
        reference.client(Cli::Reference).run(&["load", "-q", "-i", &archive]).ok();
        reference
    }

    /// A client of it.
    pub fn client(&self, cli: Cli) -> Client {
        Client::new(cli, &self.socket(), &self.folder.path().join("home"))
    }

    /// The home of its clients.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The host it lives in.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // Asked to stop first: it takes its containers and their cgroups along.
        if let Some(pid) = self.host.inner(&self.nsenter) {
            crate::process::send(pid, rustix::process::Signal::TERM);
        }
        let nsenter = i32::try_from(self.nsenter.id()).expect("a pid is an i32");
        if !crate::process::wait_end(nsenter, Duration::from_secs(15)) {
            let _killed = self.nsenter.kill();
        }
        let _reaped = self.nsenter.wait();
        self.host.end();
        crate::leaks::remove_cgroups(&self.cgroup);
    }
}

/// Fetches the reference if it is not there; `false` when it cannot be had.
pub fn fetch() -> bool {
    if missing().is_some() {
        let mut command = Command::new(env!("CARGO"));
        command.args(["xtask", "peers"]).current_dir(root());
        let _said = Running::start(command, None).end(Duration::from_secs(600));
    }
    missing().is_none()
}
