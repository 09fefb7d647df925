//! Proportional memory: what would be free again if it were not there.

use super::Contest;
use super::figures::{Report, Row};
use super::host::Daemon;
use super::proc;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;

/// Containers to spread the growth over.
const COUNT: usize = 20;

pub(crate) fn memory(contest: &Contest) -> Result<Report> {
    let mut report = Report::default();
    // Both are up and have loaded an image; now they have time to come to rest.
    let daemons = contest.daemons()?;
    std::thread::sleep(Duration::from_secs(3));
    for daemon in &daemons {
        let client = contest.client(daemon)?;
        let idle = measure(daemon);
        let names: Vec<String> = (0..COUNT).map(|n| format!("m{n}")).collect();
        for name in &names {
            client.quiet(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
        }
        std::thread::sleep(Duration::from_secs(3));
        let busy = measure(daemon);
        let mut remove = vec!["rm", "-f"];
        remove.extend(names.iter().map(String::as_str));
        client.quiet(&remove)?;
        let row = |what: &str, unit, value| {
            Row::new(format!("{what}: {}", daemon.name), unit, vec![value])
        };
        let total = |all: &BTreeMap<String, f64>| all.values().sum::<f64>();
        let per_container = (total(&busy) - total(&idle)) / COUNT as f64;
        report.add([
            row("idle", "MB", total(&idle) / 1e3),
            row("per running container", "kB", per_container),
        ]);
        let detail = |all: &BTreeMap<String, f64>| {
            let parts: Vec<String> =
                all.iter().map(|(name, kb)| format!("{name} {kb:.0} kB")).collect();
            parts.join(", ")
        };
        report.note(format!("{} idle: {}", daemon.name, detail(&idle)));
        report.note(format!("{} with {COUNT} containers: {}", daemon.name, detail(&busy)));
    }
    report.at_most("idle: gantryd", 20.0);
    report.at_most("per running container: gantryd", 400.0);
    report.ratio("idle: gantryd", "idle: dockerd", None);
    report.ratio("per running container: gantryd", "per running container: dockerd", None);
    Ok(report)
}

/// Kilobytes (of 1000) by program.
fn measure(daemon: &Daemon) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for process in daemon.processes() {
        let kb = proc::proportional_memory(process.pid) as f64 * 1.024;
        *all.entry(process.name).or_insert(0.0) += kb;
    }
    all
}
