//! How often, how long, how many: what `--metrics-addr` and `/debug/vars` show.
//!
//! Counting is a handful of relaxed atomic additions; whatever can be looked at instead (states of containers, the
//! process's own figures) is looked at when somebody asks.

mod process;

use crate::Engine;
use crate::containers::view::Status;
use container::Measured;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use process::Process;

/// Upper bounds of the buckets of every distribution, in seconds: Prometheus' own defaults, as dockerd has them.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What can be done with a container and is timed, by dockerd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Changes,
    Commit,
    Create,
    Delete,
    Start,
}

/// By the place of the enum's variants.
const ACTIONS: [&str; 5] = ["changes", "commit", "create", "delete", "start"];

/// What is found out about the host and is timed, by dockerd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostFunction {
    OperatingSystem,
    OsVersion,
    SystemInfo,
}

/// By the place of the enum's variants.
const HOST_FUNCTIONS: [&str; 3] = ["operating_system", "os_version", "system_info"];

/// Durations, by buckets.
#[derive(Debug, Default)]
struct Histogram {
    /// How many fell into each; the last takes what is over every bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    fn take(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|b| seconds <= *b).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn read(&self) -> Distribution {
        let mut count = 0;
        let at_most = std::array::from_fn(|i| {
            count += self.buckets[i].load(Ordering::Relaxed);
            count
        });
        count += self.buckets[BOUNDS.len()].load(Ordering::Relaxed);
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        Distribution { at_most, count, sum }
    }
}

/// A distribution of durations as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// How many took at most as long as the bound of the same place in [`BOUNDS`].
    pub at_most: [u64; BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

/// What is counted while the daemon runs.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    actions: [Histogram; ACTIONS.len()],
    host_functions: [Histogram; HOST_FUNCTIONS.len()],
    probe_launches: Histogram,
    probes: AtomicU64,
    failed_probes: AtomicU64,
}

impl Metrics {
    pub(crate) fn done(&self, action: Action, since: Instant) {
        self.actions[action as usize].take(since.elapsed());
    }

    pub(crate) fn found(&self, function: HostFunction, took: Duration) {
        self.host_functions[function as usize].take(took);
    }

    /// What a container's driver measured.
    pub(crate) fn measured(&self, what: Measured) {
        match what {
            Measured::Start(took) => self.actions[Action::Start as usize].take(took),
            Measured::Removal(took) => self.actions[Action::Delete as usize].take(took),
            Measured::ProbeLaunch(took) => {
                self.probes.fetch_add(1, Ordering::Relaxed);
                self.probe_launches.take(took);
            }
            Measured::ProbeFailure => {
                self.probes.fetch_add(1, Ordering::Relaxed);
                self.failed_probes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Everything that is counted and measured, as it is now.
#[derive(Debug, Clone)]
pub struct Figures {
    /// How long what is done with containers took, by dockerd's words for it.
    pub actions: Vec<(&'static str, Distribution)>,
    /// How long finding things out about the host took, by dockerd's words for it.
    pub host_functions: Vec<(&'static str, Distribution)>,
    /// How long it took until a health check ran.
    pub probe_launches: Distribution,
    /// Health checks so far.
    pub probes: u64,
    /// Those of them that could not be run.
    pub failed_probes: u64,
    /// Events so far.
    pub events: u64,
    /// Who listens to them.
    pub subscribers: usize,
    /// Containers that run, are paused, and all the others.
    pub containers: [(&'static str, usize); 3],
    /// What this host and this daemon are.
    pub host: HostFigures,
    /// The daemon's process.
    pub process: Process,
}

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct HostFigures {
    /// As `uname -m`.
    pub architecture: String,
    /// Processors.
    pub cpus: usize,
    /// The daemon's id.
    pub daemon_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// Bytes of memory.
    pub memory: u64,
    /// The operating system's name.
    pub os: String,
    /// The operating system's version; empty when it has none.
    pub os_version: String,
}

impl Engine {
    /// Everything that is counted and measured, as it is now.
    pub fn figures(&self) -> Figures {
        let (inner, host) = (&self.inner, &self.inner.host);
        let metrics = &inner.metrics;
        let named = |names: &[&'static str], all: &[Histogram]| {
            names.iter().copied().zip(all.iter().map(Histogram::read)).collect()
        };
        let mut containers = [("paused", 0), ("running", 0), ("stopped", 0)];
        for container in inner.containers.all() {
            let place = match crate::containers::view::status(&container.now()) {
                Status::Paused => 0,
                Status::Running | Status::Restarting => 1,
                Status::Created | Status::Exited | Status::Removing | Status::Dead => 2,
            };
            containers[place].1 += 1;
        }
        Figures {
            actions: named(&ACTIONS, &metrics.actions),
            host_functions: named(&HOST_FUNCTIONS, &metrics.host_functions),
            probe_launches: metrics.probe_launches.read(),
            probes: metrics.probes.load(Ordering::Relaxed),
            failed_probes: metrics.failed_probes.load(Ordering::Relaxed),
            events: inner.events.total(),
            subscribers: inner.events.listeners(),
            containers,
            host: HostFigures {
                architecture: host.architecture.clone(),
                cpus: host.cpus,
                daemon_id: inner.daemon_id.clone(),
                kernel: host.kernel.clone(),
                memory: host.memory,
                os: host.os.clone(),
                os_version: host.os_version.clone(),
            },
            process: Process::look(),
        }
    }

    /// What every container is doing, a line each, for whoever wants to know where the daemon stands.
    pub fn state_of_containers(&self) -> Vec<String> {
        let line = |container: container::Container| {
            let now = container.now();
            let live = now.phase.live().map_or_else(String::new, |live| {
                format!(" pid={} requests-to-shim={}", live.pid, live.shim.waiting())
            });
            let (id, name) = (&now.record.id[..12], &now.record.name);
            format!("{id} {name} {}{live} exits={}", now.phase.word(), now.exits)
        };
        self.inner.containers.all().into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_buckets_of_their_bounds() {
        let histogram = Histogram::default();
        for millis in [0, 5, 6, 100, 20_000] {
            histogram.take(Duration::from_millis(millis));
        }
        let read = histogram.read();
        assert_eq!(read.at_most, [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]);
        assert_eq!((read.count, read.sum), (5, 20.111));
    }

    #[test]
    fn a_probe_that_could_not_be_run_is_one_too() {
        let metrics = Metrics::default();
        metrics.measured(Measured::ProbeLaunch(Duration::from_millis(1)));
        metrics.measured(Measured::ProbeFailure);
        let counted = |n: &AtomicU64| n.load(Ordering::Relaxed);
        assert_eq!((counted(&metrics.probes), counted(&metrics.failed_probes)), (2, 1));
        assert_eq!(metrics.probe_launches.read().count, 1);
    }
}
