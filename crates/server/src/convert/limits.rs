//! Limits that can never work, refused with Docker's words before anything is made; those that this kernel lacks are
//! discarded with a warning, as Docker does.

mod adapt;

pub(crate) use adapt::adapt;

use api::HostConfig;
use std::collections::{BTreeMap, BTreeSet};
use stdx::{Error, Result};

/// The least memory a container can start in.
const LEAST_MEMORY: i64 = 6 << 20;
/// The largest CPU or memory node number that is read; what is above cannot exist and would only cost memory.
const LARGEST_INDEX: u32 = 8192;

/// What this host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) cpus: usize,
    /// As the kernel writes lists, such as `0-3`.
    pub(crate) cpuset: String,
    pub(crate) memory_nodes: String,
    /// What the kernel's cgroups can limit, by the names of [`engine::Engine::features`].
    pub(crate) features: BTreeMap<&'static str, bool>,
}

impl Capacity {
    /// What the daemon itself may use.
    pub(crate) fn look(features: &BTreeMap<&'static str, bool>) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or("0").trim().to_owned()
        };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self {
            cpus,
            cpuset: field("Cpus_allowed_list:"),
            memory_nodes: field("Mems_allowed_list:"),
            features: features.clone(),
        }
    }
}

/// Checks resources; texts are `dockerd`'s.
pub(crate) fn check(host: &HostConfig, capacity: &Capacity) -> Result<()> {
    memory(host)?;
    cpu(host, capacity)?;
    block(host)?;
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    for ulimit in host.ulimits.iter().flatten() {
        check_ulimit(ulimit)?;
    }
    Ok(())
}

fn block(host: &HostConfig) -> Result<()> {
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    for device in host.blkio_weight_device.iter().flatten() {
        if device.weight > 0 && !(10..=1000).contains(&device.weight) {
            return Err(Error::invalid(format!(
                "invalid weight for device: {}:{}",
                device.path, device.weight
            )));
        }
    }
    for (given, what) in [(host.io_maximum_bandwidth, "bandwidth"), (host.io_maximum_iops, "IOPs")]
    {
        if given != 0 {
            return Err(Error::invalid(format!(
                "Invalid QoS settings: linux does not support configuration of maximum {what}"
            )));
        }
    }
    Ok(())
}

fn memory(host: &HostConfig) -> Result<()> {
    let fail = |text: &str| Err(Error::invalid(text));
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return fail("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return fail("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return fail(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if let Some(swappiness) = host.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return fail(&format!(
            "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        ));
    }
    if host.memory_reservation > 0 && host.memory_reservation < LEAST_MEMORY {
        return fail("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > 0 && host.memory < host.memory_reservation {
        return fail(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    Ok(())
}

fn cpu(host: &HostConfig, capacity: &Capacity) -> Result<()> {
    let fail = |text: &str| Err(Error::invalid(text));
    if host.nano_cpus > 0 {
        if host.cpu_period > 0 {
            return fail("Conflicting options: Nano CPUs and CPU Period cannot both be set");
        }
        if host.cpu_quota > 0 {
            return fail("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
        }
    }
    if host.cpu_shares < 0 {
        return fail("shares: invalid argument");
    }
    let cpus = capacity.cpus;
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if !(0..=most).contains(&host.nano_cpus) {
        return fail(&format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return fail(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return fail("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    let (period, runtime) = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    if (period != 0 || runtime != 0) && capacity.features.get("CpuRealtime") != Some(&true) {
        return fail("Your kernel does not support CPU real-time scheduler");
    }
    if period != 0 && runtime != 0 && runtime > period {
        return fail("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    subset(&host.cpuset_cpus, &capacity.cpuset, "CPUs", "cpuset cpus")?;
    subset(&host.cpuset_mems, &capacity.memory_nodes, "memory nodes", "cpuset mems")
}

fn subset(asked: &str, available: &str, what: &str, option: &str) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let wanted = indices(asked).map_err(|why| {
        Error::invalid(format!("Invalid value {} for {option}: {why}", shortened(asked)))
    })?;
    let there = indices(available).map_err(|why| Error::internal(format!("{available}: {why}")))?;
    if wanted.is_subset(&there) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Requested {what} are not available - requested {}, available: {available}",
        shortened(asked)
    )))
}

/// `0-2,5` → 0, 1, 2, 5.
fn indices(text: &str) -> Result<BTreeSet<u32>, String> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let invalid = || format!("invalid format: {}", shortened(text));
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) =
            (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
        if last < first {
            return Err(invalid());
        }
        if last > LARGEST_INDEX {
            return Err(format!("value of out range, maximum is {LARGEST_INDEX}"));
        }
        all.extend(first..=last);
    }
    Ok(all)
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

fn check_ulimit(ulimit: &api::Ulimit) -> Result<()> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let api::Ulimit { name, soft, hard } = ulimit;
    if !NAMES.contains(&name.as_str()) {
        return Err(Error::invalid(format!("invalid ulimit type: {}", shortened(name))));
    }
    if *hard != -1 && (*soft == -1 || soft > hard) {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    if *soft < -1 || *hard < -1 {
        return Err(Error::invalid(format!("invalid ulimit: {name}={soft}:{hard}")));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two processors, one memory node, and a kernel that has everything.
    pub(crate) fn capacity() -> Capacity {
        let features = [
            "MemoryLimit",
            "SwapLimit",
            "MemoryReservation",
            "MemorySwappiness",
            "KernelMemoryTCP",
            "OomKillDisable",
            "PidsLimit",
            "CPUShares",
            "CpuCfsQuota",
            "CpuRealtime",
            "CPUSet",
            "BlkioWeight",
            "BlkioThrottle",
        ];
        Capacity {
            cpus: 2,
            cpuset: "0-1".to_owned(),
            memory_nodes: "0".to_owned(),
            features: features.into_iter().map(|name| (name, true)).collect(),
        }
    }

    fn check(json: &str, wanted: &str) {
        let host: HostConfig = api::json::from_slice(json.as_bytes()).unwrap();
        let capacity = capacity();
        let got = super::check(&host, &capacity)
            .err()
            .map(|e| e.message().to_owned())
            .unwrap_or_default();
        assert_eq!(got, wanted, "{json}");
    }

    /// All but the last group were recorded from dockerd 26.1.
    #[test]
    fn refusals_are_dockers() {
        check(r#"{"Memory":1}"#, "Minimum memory limit allowed is 6MB");
        check(
            r#"{"Memory":10000000,"MemorySwap":1}"#,
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        );
        check(
            r#"{"MemorySwap":1}"#,
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
        check(
            r#"{"MemorySwappiness":101}"#,
            "Invalid value: 101, valid memory swappiness range is 0-100",
        );
        check(r#"{"MemoryReservation":1}"#, "Minimum memory reservation allowed is 6MB");
        check(
            r#"{"Memory":10000000,"MemoryReservation":20000000}"#,
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
        check(
            r#"{"NanoCpus":9000000000}"#,
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        );
        check(
            r#"{"NanoCpus":1000000000,"CpuQuota":10000}"#,
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        );
        check(
            r#"{"NanoCpus":1000000000,"CpuPeriod":10000}"#,
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        );
        check(r#"{"CpuShares":-1}"#, "shares: invalid argument");
        check(r#"{"CpuQuota":10}"#, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
        check(
            r#"{"CpuPeriod":10}"#,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
        check(
            r#"{"CpusetCpus":"99"}"#,
            "Requested CPUs are not available - requested 99, available: 0-1",
        );
        check(r#"{"CpusetCpus":"x"}"#, "Invalid value x for cpuset cpus: invalid format: x");
        check(
            r#"{"CpusetMems":"99"}"#,
            "Requested memory nodes are not available - requested 99, available: 0",
        );
        check(
            r#"{"OomScoreAdj":-2000}"#,
            "Invalid value -2000, range for oom score adj is [-1000, 1000]",
        );
        check(r#"{"ShmSize":-1}"#, "SHM size can not be less than 0");

        check(
            r#"{"CpuRealtimePeriod":1000,"CpuRealtimeRuntime":2000}"#,
            "cpu real-time runtime cannot be higher than cpu real-time period",
        );
        check(
            r#"{"IOMaximumIOps":1}"#,
            "Invalid QoS settings: linux does not support configuration of maximum IOPs",
        );
        check(
            r#"{"IOMaximumBandwidth":1}"#,
            "Invalid QoS settings: linux does not support configuration of maximum bandwidth",
        );
        check(r#"{"CpusetCpus":"0,"}"#, "Invalid value 0, for cpuset cpus: invalid format: 0,");
        check(r#"{"CpusetCpus":"1-0"}"#, "Invalid value 1-0 for cpuset cpus: invalid format: 1-0");

        check(
            r#"{"BlkioWeightDevice":[{"Path":"/dev/x","Weight":5}]}"#,
            "invalid weight for device: /dev/x:5",
        );
        check(r#"{"BlkioWeight":5}"#, "Range of blkio weight is from 10 to 1000");
        check(r#"{"Ulimits":[{"Name":"foo","Soft":1,"Hard":1}]}"#, "invalid ulimit type: foo");
        check(
            r#"{"Ulimits":[{"Name":"nofile","Soft":3,"Hard":1}]}"#,
            "ulimit soft limit must be less than or equal to hard limit: 3 > 1",
        );
        check(
            r#"{"CpusetCpus":"0-2147483647"}"#,
            "Invalid value 0-2147483647 for cpuset cpus: value of out range, maximum is 8192",
        );
    }

    #[test]
    fn what_works_is_let_through() {
        check("{}", "");
        check(r#"{"Memory":6291456,"MemorySwap":-1,"MemorySwappiness":-1,"NanoCpus":1}"#, "");
        check(r#"{"CpusetCpus":"0-1","CpusetMems":"0","PidsLimit":-5,"CpuQuota":-1}"#, "");
        check(
            r#"{"Ulimits":[{"Name":"nofile","Soft":1,"Hard":-1},{"Name":"core","Soft":-1,"Hard":-1}]}"#,
            "",
        );
    }
}
