//! Containers' lives, from the outside: how long a user waits for each command.

use super::figures::{Report, Turn, interleave};
use super::floor::Floor;
use super::host::{Client, Host};
use super::{Contest, find};
use anyhow::Result;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Time for the kernel to take apart what a turn left: a network namespace takes up to 40 ms.
const REST: Duration = Duration::from_millis(100);

const OURS: &str = "gantry + gantryd";
const THEIR_CLIENT: &str = "docker + gantryd";
const THEIRS: &str = "docker + dockerd";
const FLOOR: &str = "kernel floor";

/// `run --rm busybox true` with each kind of network.
pub(crate) fn run(contest: &Contest) -> Result<Report> {
    let floor = Floor::build(contest)?;
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    let podman = Podman::find(&contest.folder)?;
    let mut report = Report::default();
    for network in ["bridge", "none", "host"] {
        let args = ["run", "--rm", "--network", network, "busybox", "true"];
        let label = |name: &str| format!("{network}: {name}");
        let mut contestants: Vec<(String, Turn<'_>)> = Vec::new();
        for pair in &pairs {
            contestants.push((label(&pair.name), Box::new(move || Ok(vec![pair.time(&args)?]))));
        }
        if let Some(podman) = &podman {
            contestants.push((label("podman"), Box::new(move || Ok(vec![podman.time(&args)?]))));
        }
        contestants.push((label(FLOOR), Box::new(|| Ok(vec![floor.time(network)?]))));
        report.add(interleave(contest.rounds, REST, &[("", "ms")], contestants));
        let bars = (network == "bridge").then_some([1.0 / 5.0, 1.0 / 15.0, 3.0]);
        let bar = |n: usize| bars.map(|b| b[n]);
        report.ratio(&label(THEIR_CLIENT), &label(THEIRS), bar(0));
        report.ratio(&label(OURS), &label(THEIRS), bar(1));
        report.ratio(&label(OURS), &label(FLOOR), bar(2));
    }
    Ok(report)
}

/// podman, which has no daemon, with a store and a host of its own.
#[derive(Debug)]
struct Podman {
    host: Host,
    program: String,
    place: String,
}

impl Podman {
    /// `None` when it is not installed or cannot load an image.
    fn find(folder: &Path) -> Result<Option<Self>> {
        let Some(program) = find("podman") else { return Ok(None) };
        let place = folder.join("podman").display().to_string();
        let podman = Self { host: Host::start()?, program: program.display().to_string(), place };
        let archive = super::image::busybox(folder)?.display().to_string();
        match podman.time(&["load", "-q", "-i", &archive]) {
            Ok(_) => Ok(Some(podman)),
            Err(e) => {
                println!("   podman is out: {e:#}");
                Ok(None)
            }
        }
    }

    fn time(&self, args: &[&str]) -> Result<f64> {
        let mut command = self.host.command(&self.program);
        command.args(["--root", &format!("{}/root", self.place)]);
        command.args(["--runroot", &format!("{}/run", self.place)]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let output = command.output()?;
        let took = start.elapsed();
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "podman {}: {}", args.join(" "), said.trim());
        Ok(took.as_secs_f64() * 1e3)
    }
}

/// Fifty detached containers, one after another, and their removal.
pub(crate) fn detached(contest: &Contest) -> Result<Report> {
    const COUNT: usize = 50;
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    let mut report = Report::default();
    let labels = ["50 × run -d", "rm -f of the 50"];
    let columns = labels.map(|label| (label, "ms"));
    let contestants = pairs
        .iter()
        .map(|pair| {
            let turn: Turn<'_> = Box::new(move || {
                let names: Vec<String> = (0..COUNT).map(|n| format!("d{n}")).collect();
                let mut started = 0.0;
                for name in &names {
                    let args = ["run", "-d", "--name", name, "busybox", "sleep", "1000"];
                    started += pair.time(&args)?;
                }
                let mut remove = vec!["rm", "-f"];
                remove.extend(names.iter().map(String::as_str));
                Ok(vec![started, pair.time(&remove)?])
            });
            (pair.name.clone(), turn)
        })
        .collect();
    report.add(interleave(contest.rounds, Duration::from_millis(500), &columns, contestants));
    for (label, bar) in labels.iter().zip([Some(1.0 / 10.0), None]) {
        let row = |name: &str| format!("{label}: {name}");
        report.ratio(&row(THEIR_CLIENT), &row(THEIRS), None);
        report.ratio(&row(OURS), &row(THEIRS), bar);
    }
    Ok(report)
}

/// One container's life, command by command.
pub(crate) fn verbs(contest: &Contest) -> Result<Report> {
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    let labels =
        ["create", "start", "exec true", "stop -t0", "rm", "run -d", "rm -f running", "version"];
    let columns = labels.map(|label| (label, "ms"));
    let contestants = pairs
        .iter()
        .map(|pair| {
            let turn: Turn<'_> = Box::new(move || life(pair));
            (pair.name.clone(), turn)
        })
        .collect();
    let mut report = Report::default();
    report.add(interleave(contest.rounds, REST, &columns, contestants));
    for label in labels {
        let row = |name: &str| format!("{label}: {name}");
        let bar = match label {
            "exec true" => Some(1.0 / 8.0),
            "create" | "start" | "stop -t0" | "rm -f running" => Some(1.0 / 5.0),
            _ => None,
        };
        report.ratio(&row(OURS), &row(THEIRS), bar);
        let client = format!("version: {THEIR_CLIENT}");
        report.beyond(&row(THEIR_CLIENT), &client, bar.map(|_| 10.0));
    }
    report.note("version is the client's own floor: what it takes to start and ask once");
    Ok(report)
}

fn life(pair: &Client) -> Result<Vec<f64>> {
    let container = ["busybox", "sleep", "1000"];
    let with = |start: &[&'static str]| -> Vec<&'static str> {
        start.iter().chain(&container).copied().collect()
    };
    let mut took = Vec::new();
    for args in [
        with(&["create", "--name", "one"]),
        vec!["start", "one"],
        vec!["exec", "one", "true"],
        vec!["stop", "-t", "0", "one"],
        vec!["rm", "one"],
        with(&["run", "-d", "--name", "two"]),
        vec!["rm", "-f", "two"],
        vec!["version"],
    ] {
        took.push(pair.time(&args)?);
        // A namespace that was just left is not to slow the next command down.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(took)
}

/// Text from a container to the client that started it.
pub(crate) fn throughput(contest: &Contest) -> Result<Report> {
    const MEBIBYTES: usize = 128;
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    let line =
        "0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456";
    let lines = format!("yes '{line}' | head -c {}", MEBIBYTES << 20);
    let blocks = format!("yes '{line}' | dd bs=65536 iflag=fullblock count={}", MEBIBYTES * 16);
    let mut report = Report::default();
    // Three times the reference's when all goes to the client too, twice for what is mostly the log's work.
    for (label, script, bar) in
        [("lines", &lines, 1.0 / 2.0), ("64 KiB writes", &blocks, 1.0 / 3.0)]
    {
        let contestants = pairs
            .iter()
            .map(|pair| {
                let turn: Turn<'_> = Box::new(move || {
                    let took = pair.time(&["run", "--rm", "busybox", "sh", "-c", script])?;
                    Ok(vec![MEBIBYTES as f64 / (took / 1e3)])
                });
                (format!("{label}: {}", pair.name), turn)
            })
            .collect();
        report.add(interleave(contest.rounds, REST, &[("", "MiB/s")], contestants));
        let row = |name: &str| format!("{label}: {name}");
        report.ratio(&row(THEIR_CLIENT), &row(THEIRS), None);
        report.ratio(&row(THEIRS), &row(THEIR_CLIENT), Some(bar));
    }
    report.note("every line also goes to a json-file log; higher is better");
    Ok(report)
}
