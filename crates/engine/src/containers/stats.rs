//! What a running container uses: its cgroup's counters, its interfaces', and the host's for comparison.

use crate::Engine;
use cgroups::{Group, Hierarchies};
use container::Container;
use std::collections::BTreeMap;
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Context as _, Error, Result};

pub use cgroups::{CpuStats, IoEntry, MemoryStats, PidsStats, Stats};

/// One look at a container.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub read: Timestamp,
    /// What its cgroup counts.
    pub usage: Stats,
    /// Counters of its interfaces but the loopback one, by name; none for the host's own network.
    pub networks: BTreeMap<String, Interface>,
    /// Nanoseconds that all processors of the host have passed, idle ones included.
    pub system_cpu: u64,
    /// The host's processors.
    pub online_cpus: u32,
    /// The host's memory in bytes.
    pub host_memory: u64,
    /// Its limits are cgroup v1's.
    pub v1: bool,
}

/// Counters of a network interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the kernel's")]
pub struct Interface {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// A container that is looked at again and again.
#[derive(Debug)]
pub struct Watch {
    engine: Engine,
    container: Container,
}

impl Engine {
    /// Prepares for looking at what a container uses.
    pub fn watch_stats(&self, name: &str) -> Result<Watch> {
        Ok(Watch { engine: self.clone(), container: self.inner.containers.find(name)? })
    }
}

impl Watch {
    /// The container's id and name.
    pub fn identity(&self) -> (String, String) {
        let record = self.container.now().record;
        (record.id.clone(), record.name.clone())
    }

    /// Whether it has been removed.
    pub fn is_gone(&self) -> bool {
        matches!(self.container.now().phase, container::Phase::Gone)
    }

    /// Looks at it; `None`: it does not run.
    pub async fn sample(&self) -> Result<Option<Sample>> {
        let now = self.container.now();
        let Some(live) = now.phase.live() else { return Ok(None) };
        let services = &self.engine.inner.services;
        let (hierarchies, group) =
            (services.hierarchies.clone(), container::cgroup_path(services, &now.record));
        let netns = (now.record.host.network_mode != "host").then_some(live.pid);
        let host_memory = self.engine.inner.host.memory;
        let v1 = self.engine.inner.host.cgroup_version == "1";
        let taken = tokio::task::spawn_blocking(move || -> Result<Sample> {
            let hierarchies: Hierarchies = hierarchies.parse()?;
            let usage = Group::open(&hierarchies, &group)?.stats()?;
            let (system_cpu, online_cpus) = host_cpu(&read("/proc/stat")?);
            let networks = match netns {
                Some(pid) => interfaces(&read(&format!("/proc/{pid}/net/dev"))?),
                None => BTreeMap::new(),
            };
            let read = Timestamp::now();
            Ok(Sample { read, usage, networks, system_cpu, online_cpus, host_memory, v1 })
        });
        match taken.await.map_err(|e| Error::internal(e.to_string()))? {
            Ok(sample) => Ok(Some(sample)),
            Err(e) => {
                // It may have ended while it was looked at, which is about to be told.
                let mut news = self.container.follow();
                let ended = news.wait_for(|p| p.phase.live().is_none_or(|l| l.pid != live.pid));
                match tokio::time::timeout(PATIENCE, ended).await {
                    Ok(_) => Ok(None),
                    Err(_) => Err(e),
                }
            }
        }
    }
}

/// How long the news of a container's end may take.
const PATIENCE: Duration = Duration::from_secs(5);

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).context(|| format!("read {path}"))
}

/// From `/proc/stat`: the first seven columns of its first line, in ticks of a hundredth of a second, and how many
/// processors there are.
fn host_cpu(stat: &str) -> (u64, u32) {
    const NANOS_PER_TICK: u64 = 10_000_000;
    let mut ticks = 0_u64;
    let mut cpus = 0;
    for line in stat.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                ticks = words.take(7).filter_map(|w| w.parse::<u64>().ok()).sum();
            }
            Some(word) if word.starts_with("cpu") => cpus += 1,
            _ => break,
        }
    }
    (ticks.saturating_mul(NANOS_PER_TICK), cpus)
}

/// From `/proc/PID/net/dev`.
fn interfaces(text: &str) -> BTreeMap<String, Interface> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let n: Vec<u64> = counters.split_ascii_whitespace().map_while(|w| w.parse().ok()).collect();
        let counters = Interface {
            rx_bytes: *n.first()?,
            rx_packets: *n.get(1)?,
            rx_errors: *n.get(2)?,
            rx_dropped: *n.get(3)?,
            tx_bytes: *n.get(8)?,
            tx_packets: *n.get(9)?,
            tx_errors: *n.get(10)?,
            tx_dropped: *n.get(11)?,
        };
        Some((name.trim().to_owned(), counters))
    };
    text.lines().filter_map(line).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_time_is_all_of_it_but_what_guests_count_twice() {
        let stat = "cpu  1 2 3 4 5 6 7 800 900 1000\ncpu0 1 1 1\ncpu1 0 1 2\nintr 5\ncpu9 1\n";
        assert_eq!(host_cpu(stat), (280_000_000, 2));
        assert_eq!(host_cpu(""), (0, 0));
    }

    #[test]
    fn interfaces_are_all_but_the_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:646 7 1 2 0 0 0 0 9 3 4 5 0 0 0 0\n";
        let all = interfaces(text);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth = all["eth0"];
        assert_eq!((eth.rx_bytes, eth.rx_packets, eth.rx_errors, eth.rx_dropped), (646, 7, 1, 2));
        assert_eq!((eth.tx_bytes, eth.tx_packets, eth.tx_errors, eth.tx_dropped), (9, 3, 4, 5));
    }
}
