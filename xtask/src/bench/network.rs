//! What networks cost: a start, ten thousand ports.

use super::figures::{Report, Row, Turn, interleave};
use super::host::{Client, Daemon};
use super::{Contest, proc};
use anyhow::{Context as _, Result};
use std::time::Duration;

const OURS: &str = "gantry + gantryd";
const THEIRS: &str = "docker + dockerd";

/// `start` of a container that was created before, by the networks it is on.
pub(crate) fn join(contest: &Contest) -> Result<Report> {
    /// The kernel takes a network namespace apart after its last process.
    const REST: Duration = Duration::from_millis(100);
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    for daemon in &daemons {
        let client = contest.client(daemon)?;
        client.quiet(&["network", "create", "front"])?;
        client.quiet(&["network", "create", "--ipv6", "--subnet", "fd99:1::/64", "both"])?;
    }
    let mut contestants: Vec<(String, Turn<'_>)> = Vec::new();
    for pair in pairs.iter().filter(|pair| [OURS, THEIRS].contains(&pair.name.as_str())) {
        for network in ["none", "bridge", "front", "both"] {
            let turn: Turn<'_> = Box::new(move || Ok(vec![start(pair, network)?]));
            contestants.push((format!("{network}: {}", pair.name), turn));
        }
    }
    let mut report = Report::default();
    report.add(interleave(contest.rounds, REST, &[("", "ms")], contestants));
    for (who, bar) in [(OURS, Some(3.0)), (THEIRS, None)] {
        for network in ["bridge", "front", "both"] {
            report.beyond(&format!("{network}: {who}"), &format!("none: {who}"), bar);
        }
    }
    Ok(report)
}

fn start(client: &Client, network: &str) -> Result<f64> {
    client.quiet(&[
        "create",
        "--name",
        "join",
        "--network",
        network,
        "busybox",
        "sleep",
        "1000",
    ])?;
    let took = client.time(&["start", "join"])?;
    client.quiet(&["rm", "-f", "join"])?;
    Ok(took)
}

/// Ten thousand published ports, beside a container that publishes none.
pub(crate) fn ports(contest: &Contest) -> Result<Report> {
    const RANGE: &str = "20000-29999:20000-29999";
    let daemons = contest.daemons()?;
    // The reference would start twenty thousand processes.
    let daemon = daemons.first().context("no daemon of ours")?;
    let client = contest.gantry(daemon)?;
    // What there is once for all containers, the helper among it, is there before it is counted.
    client.quiet(&["run", "-d", "-p", "19999:80", "busybox", "sleep", "1000"])?;
    let turn = |publish: bool| -> Result<Vec<f64>> {
        let mut args = vec!["run", "-d", "--name", "many"];
        args.extend(if publish { &["-p", RANGE][..] } else { &[] });
        args.extend(["busybox", "sleep", "1000"]);
        let before = Taken::of(daemon)?;
        let took = client.time(&args)?;
        let after = Taken::of(daemon)?;
        client.quiet(&["rm", "-f", "many"])?;
        Ok(vec![
            took,
            (after.own - before.own) / 1e3,
            (after.kernel - before.kernel) / 1e3,
            after.processes - before.processes,
            after.sockets - before.sockets,
        ])
    };
    let columns = [
        ("run -d", "ms"),
        ("our memory", "MB"),
        ("kernel's memory", "MB"),
        ("processes", ""),
        ("sockets", ""),
    ];
    let contestants: Vec<(String, Turn<'_>)> = vec![
        ("no ports".into(), Box::new(|| turn(false))),
        ("10,000 ports".into(), Box::new(|| turn(true))),
    ];
    let rows = interleave(contest.rounds, Duration::from_millis(500), &columns, contestants);
    let total = |who: &str| {
        let of = |what: &str| rows.iter().find(|r| r.name == format!("{what}: {who}"));
        let sum = |own: &Row, kernel: &Row| {
            own.samples.iter().zip(&kernel.samples).map(|(a, b)| a + b).collect::<Vec<_>>()
        };
        of("our memory").zip(of("kernel's memory")).map(|(a, b)| sum(a, b)).unwrap_or_default()
    };
    let totals = ["no ports", "10,000 ports"].map(|who| {
        let name = format!("memory of all: {who}");
        Row::new(name, "MB", total(who))
    });
    let mut report = Report::default();
    report.add(rows);
    report.add(totals);
    report.at_most("run -d: 10,000 ports", 1000.0);
    report.beyond("memory of all: 10,000 ports", "memory of all: no ports", Some(5.0));
    report.beyond("processes: 10,000 ports", "processes: no ports", Some(0.0));
    report.beyond("sockets: 10,000 ports", "sockets: no ports", Some(0.0));
    Ok(report)
}

/// What a daemon has of the machine, in kilobytes and numbers.
#[derive(Debug)]
struct Taken {
    own: f64,
    kernel: f64,
    processes: f64,
    sockets: f64,
}

impl Taken {
    fn of(daemon: &Daemon) -> Result<Self> {
        let processes = daemon.processes();
        let own: u64 = processes.iter().map(|p| proc::proportional_memory(p.pid)).sum();
        let files = ["tcp", "tcp6", "udp", "udp6"].map(|name| format!("/proc/net/{name}"));
        let listed = daemon.host().command("cat").args(files).output().context("list sockets")?;
        Ok(Self {
            own: own as f64,
            kernel: proc::kernel_memory() as f64,
            processes: processes.len() as f64,
            sockets: listed.stdout.iter().filter(|b| **b == b'\n').count() as f64,
        })
    }
}
