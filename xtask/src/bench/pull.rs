//! Pulling a real image from a real registry on the loopback device.

use super::figures::{Report, Turn, interleave};
use super::host::{Daemon, Host};
use super::{Contest, find, image, proc};
use crate::sh;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

const NAME: &str = "127.0.0.1:5000/bench/python:latest";

/// What is in the image beside a minimal Debian: with it the layers' tar files are about 300 MB.
const PACKAGES: &str = "python3,python3-dev,python3-numpy,python3-pip-whl,gcc,git";

/// The layers, bottom first: every path of the tree is in one of them.
const LAYERS: [&[&str]; 5] = [
    &["--exclude=./usr/lib", "--exclude=./usr/share", "--exclude=./usr/bin", "."],
    &["./usr/bin"],
    &["./usr/share"],
    &["--exclude=./usr/lib/python3", "--exclude=./usr/lib/python3.11", "./usr/lib"],
    &["./usr/lib/python3", "./usr/lib/python3.11"],
];

pub(crate) fn pull(contest: &Contest) -> Result<Report> {
    let storage = stored_image()?;
    let daemons = contest.daemons()?;
    let _registries = daemons
        .iter()
        .map(|daemon| Registry::start(daemon.host(), &storage, daemon.folder()))
        .collect::<Result<Vec<_>>>()?;
    let pairs = contest.pairs(&daemons)?;
    let columns = [("time", "ms"), ("processor time", "ms"), ("peak memory of the daemon", "MB")];
    let contestants = pairs
        .iter()
        .map(|pair| {
            let daemon = daemons.iter().find(|d| pair.name.ends_with(d.name));
            let turn: Turn<'_> = Box::new(move || {
                let daemon = daemon.context("no daemon")?;
                let before = used(daemon);
                daemon.processes().iter().for_each(|p| proc::forget_peak(p.pid));
                let took = pair.time(&["pull", "-q", NAME])?;
                let peak: u64 = daemon.processes().iter().map(|p| proc::peak_memory(p.pid)).sum();
                let used = used(daemon) - before;
                pair.quiet(&["rmi", NAME])?;
                Ok(vec![took, used, peak as f64 * 1.024e-3])
            });
            (pair.name.clone(), turn)
        })
        .collect();
    let mut report = Report::default();
    report.add(interleave(contest.rounds, Duration::from_secs(2), &columns, contestants));
    report.ratio("time: docker + gantryd", "time: docker + dockerd", Some(0.5));
    report.ratio("time: gantry + gantryd", "time: docker + dockerd", Some(0.5));
    report.ratio("processor time: docker + gantryd", "processor time: docker + dockerd", None);
    report.at_most("peak memory of the daemon: docker + gantryd", 100.0);
    report.note(
        "processor time is the daemon's with its helpers; the registry's is the same for all",
    );
    Ok(report)
}

/// Milliseconds of processor time that a daemon and its helpers have used.
fn used(daemon: &Daemon) -> f64 {
    daemon.processes().iter().map(|p| proc::processor_time(p.pid)).sum()
}

/// A running `docker-registry`.
#[derive(Debug)]
struct Registry {
    child: Child,
}

impl Registry {
    /// Starts one inside a host, over a storage folder.
    fn start(host: &Host, storage: &Path, folder: &Path) -> Result<Self> {
        ensure!(
            find("docker-registry").is_some(),
            "docker-registry is missing (package of that name)"
        );
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n",
            storage.display()
        );
        std::fs::write(&config, text).context("write registry.yml")?;
        let child = host
            .command("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("run docker-registry")?;
        // Its port is in another network namespace: asking there takes a program there.
        super::host::wait_for("docker-registry", || {
            let mut bash = host.command("bash");
            bash.args(["-c", "exec 3<>/dev/tcp/127.0.0.1/5000"]).stderr(Stdio::null());
            bash.status().is_ok_and(|s| s.success()).then_some(())
        })?;
        Ok(Self { child })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for pid in proc::children(self.child.id()) {
            let _asked = std::process::Command::new("kill").arg(pid.to_string()).status();
        }
        let _ended = self.child.wait();
    }
}

/// A registry's storage with the image in it, made on the first call and kept in `target/images`.
fn stored_image() -> Result<PathBuf> {
    let folder = sh::root().join("target/images/bench");
    let storage = folder.join("registry");
    if folder.join("done").exists() {
        return Ok(storage);
    }
    for (program, package) in [("mmdebstrap", "mmdebstrap"), ("skopeo", "skopeo")] {
        ensure!(find(program).is_some(), "{program} is missing (package {package})");
    }
    println!("   making the image of Debian packages, once");
    let _old = std::fs::remove_dir_all(&folder);
    let tree = folder.join("tree");
    std::fs::create_dir_all(&storage).context("make target/images/bench")?;
    let include = format!("--include={PACKAGES}");
    let shown = tree.display().to_string();
    sh::run("mmdebstrap", &["--quiet", "--variant=minbase", &include, "bookworm", &shown])?;
    let mut layers = Vec::new();
    for (number, what) in LAYERS.iter().enumerate() {
        let layer = folder.join(format!("{number}.tar"));
        image::pack(&tree, &layer, what)?;
        layers.push(layer);
    }
    let archive = folder.join("python.tar");
    image::wrap(&folder, "python", &layers, &["python3"], &archive)?;
    let host = Host::start()?;
    let registry = Registry::start(&host, &storage, &folder)?;
    let status = host
        .command("skopeo")
        .args(["copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("docker-archive:{}", archive.display()))
        .arg(format!("docker://{NAME}"))
        .status()
        .context("run skopeo")?;
    ensure!(status.success(), "skopeo failed: {status}");
    drop(registry);
    std::fs::remove_dir_all(&tree).context("remove the tree")?;
    std::fs::write(folder.join("done"), "").context("remember that it is done")?;
    Ok(storage)
}
