//! Many containers: lists of them, many starts at once, a crowd that does nothing.

use super::figures::{Report, Row, Turn, interleave};
use super::host::Client;
use super::{Contest, proc};
use anyhow::{Context as _, Result, anyhow};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const OURS: &str = "gantry + gantryd";
const THEIR_CLIENT: &str = "docker + gantryd";
const THEIRS: &str = "docker + dockerd";

/// `ps -a` with a hundred containers that have ended.
pub(crate) fn list(contest: &Contest) -> Result<Report> {
    const COUNT: usize = 100;
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    for daemon in &daemons {
        let client = contest.client(daemon)?;
        for number in 0..COUNT {
            let name = format!("ended{number}");
            client.quiet(&["run", "--network", "none", "--name", &name, "busybox", "true"])?;
        }
    }
    let mut contestants: Vec<(String, Turn<'_>)> = Vec::new();
    for pair in &pairs {
        let turn: Turn<'_> =
            Box::new(move || Ok(vec![pair.time(&["version"])?, pair.time(&["ps", "-a"])?]));
        contestants.push((pair.name.clone(), turn));
    }
    let mut report = Report::default();
    let columns = [("version", "ms"), ("ps -a of 100", "ms")];
    report.add(interleave(contest.rounds, Duration::from_millis(20), &columns, contestants));
    report.ratio(
        &format!("ps -a of 100: {OURS}"),
        &format!("ps -a of 100: {THEIRS}"),
        Some(1.0 / 5.0),
    );
    report.beyond(
        &format!("ps -a of 100: {THEIR_CLIENT}"),
        &format!("version: {THEIR_CLIENT}"),
        Some(10.0),
    );
    Ok(report)
}

/// Fifty starts, eight at a time.
pub(crate) fn parallel(contest: &Contest) -> Result<Report> {
    const COUNT: usize = 50;
    const AT_ONCE: usize = 8;
    let daemons = contest.daemons()?;
    let pairs = contest.pairs(&daemons)?;
    let names: Vec<String> = (0..COUNT).map(|n| format!("p{n}")).collect();
    let names = names.as_slice();
    let mut contestants: Vec<(String, Turn<'_>)> = Vec::new();
    for pair in &pairs {
        let turn: Turn<'_> = Box::new(move || {
            for name in names {
                pair.quiet(&["create", "--name", name, "busybox", "sleep", "1000"])?;
            }
            let took = all_at_once(pair, names, AT_ONCE)?;
            let mut remove = vec!["rm", "-f"];
            remove.extend(names.iter().map(String::as_str));
            pair.quiet(&remove)?;
            Ok(vec![took])
        });
        contestants.push((pair.name.clone(), turn));
    }
    let mut report = Report::default();
    report.add(interleave(contest.rounds, Duration::from_millis(500), &[("", "ms")], contestants));
    report.ratio(OURS, THEIRS, Some(1.0 / 8.0));
    report.ratio(THEIR_CLIENT, THEIRS, None);
    Ok(report)
}

/// Milliseconds until all are started by `threads` clients at a time.
fn all_at_once(pair: &Client, names: &[String], threads: usize) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                pair.quiet(&["start", name])?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a client's thread died"))?)
    })?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Five hundred containers that sleep: what they cost the daemon that holds them.
pub(crate) fn crowd(contest: &Contest) -> Result<Report> {
    const COUNT: usize = 500;
    const REST: Duration = Duration::from_secs(10);
    let daemons = contest.daemons()?;
    let daemon = daemons.first().context("no daemon of ours")?;
    let client = contest.gantry(daemon)?;
    let names: Vec<String> = (0..COUNT).map(|n| format!("c{n}")).collect();
    for name in &names {
        client.quiet(&["run", "-d", "--name", name, "busybox", "sleep", "10000"])?;
    }
    std::thread::sleep(Duration::from_secs(3));
    let memory = proc::proportional_memory(daemon.pid) as f64 * 1.024 / 1e3;
    let before = proc::processor_time(daemon.pid);
    std::thread::sleep(REST);
    let busy = (proc::processor_time(daemon.pid) - before) / (REST.as_secs_f64() * 1e3) * 100.0;
    let ps: Vec<f64> = (0..10).map(|_| client.time(&["ps"])).collect::<Result<_>>()?;
    for some in names.chunks(50) {
        let mut remove = vec!["rm", "-f"];
        remove.extend(some.iter().map(String::as_str));
        client.quiet(&remove)?;
    }
    let mut report = Report::default();
    report.add([
        Row::new("gantryd's memory", "MB", vec![memory]),
        Row::new("gantryd's processor while nothing happens", "% of a core", vec![busy]),
        Row::new("ps", "ms", ps),
    ]);
    report.at_most("gantryd's memory", 60.0);
    report.at_most("gantryd's processor while nothing happens", 1.0);
    report.at_most("ps", 20.0);
    Ok(report)
}
