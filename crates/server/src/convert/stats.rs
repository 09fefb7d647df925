//! Samples as `GET /containers/{id}/stats` prints them.

use api::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    Throttling,
};
use engine::stats::{IoEntry, Sample};
use stdx::time::Timestamp;

/// What is printed for a container that does not run.
pub(crate) fn nothing() -> Stats {
    let zero = Timestamp::ZERO.to_string();
    Stats { read: zero.clone(), preread: zero, ..Stats::default() }
}

/// A sample; the processor figures of the one before are for the caller to fill in.
pub(crate) fn to_wire(sample: &Sample) -> Stats {
    let usage = &sample.usage;
    let pids = usage.pids.unwrap_or_default();
    Stats {
        read: sample.read.to_string(),
        preread: Timestamp::ZERO.to_string(),
        pids_stats: PidsStats { current: pids.current, limit: pids.limit.unwrap_or_default() },
        blkio_stats: blkio(sample),
        cpu_stats: cpu(sample),
        memory_stats: memory(sample),
        networks: sample
            .networks
            .iter()
            .map(|(name, n)| {
                let counters = NetworkStats {
                    rx_bytes: n.rx_bytes,
                    rx_packets: n.rx_packets,
                    rx_errors: n.rx_errors,
                    rx_dropped: n.rx_dropped,
                    tx_bytes: n.tx_bytes,
                    tx_packets: n.tx_packets,
                    tx_errors: n.tx_errors,
                    tx_dropped: n.tx_dropped,
                };
                (name.clone(), counters)
            })
            .collect(),
        ..Stats::default()
    }
}

fn cpu(sample: &Sample) -> CpuStats {
    let cpu = sample.usage.cpu.clone().unwrap_or_default();
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.total,
            percpu_usage: cpu.per_cpu,
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: sample.system_cpu,
        online_cpus: sample.online_cpus,
        throttling_data: Throttling {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled,
        },
    }
}

fn memory(sample: &Sample) -> MemoryStats {
    let Some(memory) = sample.usage.memory.clone() else { return MemoryStats::default() };
    let limit = memory.limit.unwrap_or(u64::MAX);
    MemoryStats {
        usage: memory.usage,
        max_usage: memory.max_usage.filter(|_| sample.v1).unwrap_or_default(),
        stats: memory.details,
        failcnt: memory.failures,
        limit: limit.min(sample.host_memory),
    }
}

/// cgroup v1 fills all lists, even if with nothing; v2 knows bytes alone.
fn blkio(sample: &Sample) -> BlkioStats {
    let entries = |list: &[IoEntry]| -> Option<Vec<BlkioEntry>> {
        let entry = |e: &IoEntry| BlkioEntry {
            major: e.major.into(),
            minor: e.minor.into(),
            op: if sample.v1 { capitalised(&e.operation) } else { e.operation.clone() },
            value: e.value,
        };
        Some(list.iter().map(entry).collect())
    };
    let bytes = entries(&sample.usage.io_bytes);
    if !sample.v1 {
        return BlkioStats { io_service_bytes_recursive: bytes, ..BlkioStats::default() };
    }
    let none = || Some(Vec::new());
    BlkioStats {
        io_service_bytes_recursive: bytes,
        io_serviced_recursive: entries(&sample.usage.io_operations),
        io_queue_recursive: none(),
        io_service_time_recursive: none(),
        io_wait_time_recursive: none(),
        io_merged_recursive: none(),
        io_time_recursive: none(),
        sectors_recursive: none(),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sample(v1: bool) -> Sample {
        let io = IoEntry { major: 8, minor: 0, operation: "read".to_owned(), value: 4096 };
        Sample {
            read: Timestamp::from_unix(5, 0),
            usage: engine::stats::Stats {
                memory: Some(engine::stats::MemoryStats {
                    usage: 10,
                    max_usage: Some(20),
                    ..engine::stats::MemoryStats::default()
                }),
                io_bytes: vec![io],
                ..engine::stats::Stats::default()
            },
            networks: BTreeMap::new(),
            system_cpu: 7,
            online_cpus: 2,
            host_memory: 1000,
            v1,
        }
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing() {
        let text = serde_json::to_string(&nothing()).unwrap();
        assert!(text.starts_with(
            r#"{"read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{},"blkio_stats":{"io_service_bytes_recursive":null,"#
        ));
        assert!(text.ends_with(
            r#""precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{}}"#
        ));
    }

    #[test]
    fn the_two_versions_differ_as_under_docker() {
        let v1 = serde_json::to_string(&to_wire(&sample(true))).unwrap();
        assert!(v1.contains(r#"[{"major":8,"minor":0,"op":"Read","value":4096}]"#), "{v1}");
        assert!(v1.contains(r#""sectors_recursive":[]"#) && v1.contains(r#""max_usage":20"#));
        let v2 = serde_json::to_string(&to_wire(&sample(false))).unwrap();
        assert!(v2.contains(r#""op":"read""#) && v2.contains(r#""sectors_recursive":null"#));
        assert!(!v2.contains("max_usage") && v2.contains(r#""limit":1000"#), "{v2}");
    }
}
