//! Limits that this kernel does not have are taken out of a request, and its sender is warned: in `dockerd`'s words.

use super::Capacity;
use api::HostConfig;

/// Takes out what this kernel cannot limit; the warnings.
pub(crate) fn adapt(host: &mut HostConfig, capacity: &Capacity) -> Vec<String> {
    let mut kernel = Kernel { capacity, said: Vec::new() };
    memory(host, &mut kernel);
    cpu(host, &mut kernel);
    block(host, &mut kernel);
    kernel.said
}

/// What the kernel has, and what had to be said about what it has not.
struct Kernel<'a> {
    capacity: &'a Capacity,
    said: Vec<String>,
}

impl Kernel<'_> {
    fn has(&self, feature: &str) -> bool {
        self.capacity.features.get(feature) == Some(&true)
    }

    /// Whether something was asked for that the kernel lacks; says so if it was.
    fn lacks(&mut self, asked: bool, feature: &str, what: &str, then: &str) -> bool {
        let lacking = asked && !self.has(feature);
        if lacking {
            self.said.push(format!(
                "Your kernel does not support {what} or the cgroup is not mounted. {then}"
            ));
        }
        lacking
    }

    fn say(&mut self, if_so: bool, text: &str) {
        if if_so {
            self.said.push(text.to_owned());
        }
    }
}

fn memory(host: &mut HostConfig, kernel: &mut Kernel<'_>) {
    const GONE: &str = "Limitation discarded.";
    // The docker client says -1 when its user said nothing.
    host.memory_swappiness = host.memory_swappiness.filter(|s| *s != -1);
    if kernel.lacks(host.memory > 0, "MemoryLimit", "memory limit capabilities", GONE) {
        (host.memory, host.memory_swap) = (0, -1);
    }
    let swap = host.memory > 0 && host.memory_swap != -1;
    if kernel.lacks(swap, "SwapLimit", "swap limit capabilities", "Memory limited without swap.") {
        host.memory_swap = -1;
    }
    if kernel.lacks(
        host.memory_swappiness.is_some(),
        "MemorySwappiness",
        "memory swappiness capabilities",
        "Memory swappiness discarded.",
    ) {
        host.memory_swappiness = None;
    }
    let reservation = host.memory_reservation > 0;
    if kernel.lacks(reservation, "MemoryReservation", "memory soft limit capabilities", GONE) {
        host.memory_reservation = 0;
    }
    // No kernel since Linux 5.16 has it; old clients still know the flag, and newer ones have it dropped unsaid.
    host.kernel_memory = 0;
    let tcp = host.kernel_memory_tcp > 0;
    if kernel.lacks(tcp, "KernelMemoryTCP", "kernel memory TCP limit capabilities", GONE) {
        host.kernel_memory_tcp = 0;
    }
    let no_killer = host.oom_kill_disable == Some(true);
    if kernel.has("OomKillDisable") {
        kernel.say(
            no_killer && host.memory == 0,
            "OOM killer is disabled for the container, but no memory limit is set, \
             this can result in the system running out of resources.",
        );
    } else {
        kernel.say(
            no_killer,
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        );
        host.oom_kill_disable = None;
    }
    let pids = host.pids_limit.is_some_and(|limit| limit > 0);
    if kernel.lacks(pids, "PidsLimit", "PIDs limit capabilities", "PIDs limit discarded.") {
        host.pids_limit = None;
    }
}

fn cpu(host: &mut HostConfig, kernel: &mut Kernel<'_>) {
    if kernel.lacks(host.cpu_shares > 0, "CPUShares", "CPU shares", "Shares discarded.") {
        host.cpu_shares = 0;
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !kernel.has("CpuCfsQuota") {
        let text = "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.";
        kernel.say(true, text);
        (host.cpu_period, host.cpu_quota) = (0, 0);
    }
    let count = std::mem::take(&mut host.cpu_count);
    kernel.say(count != 0, "linux does not support CPU count. Count discarded.");
    let percent = std::mem::take(&mut host.cpu_percent);
    kernel.say(percent != 0, "linux does not support CPU percent. Percent discarded.");
    let sets = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    if kernel.lacks(sets, "CPUSet", "cpuset", "Cpuset discarded.") {
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
    }
}

fn block(host: &mut HostConfig, kernel: &mut Kernel<'_>) {
    let weight = host.blkio_weight > 0;
    if kernel.lacks(weight, "BlkioWeight", "Block I/O weight", "Weight discarded.") {
        host.blkio_weight = 0;
    }
    let weights = host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty());
    let gone = "Weight-device discarded.";
    if kernel.lacks(weights, "BlkioWeight", "Block I/O weight_device", gone) {
        host.blkio_weight_device = None;
    }
    for (list, what, gone) in [
        (&mut host.blkio_device_read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit"),
        (
            &mut host.blkio_device_write_bps,
            "BPS Block I/O write limit",
            "Block I/O BPS write limit",
        ),
        (&mut host.blkio_device_read_iops, "IOPS Block read limit", "Block I/O IOPS read limit"),
        (&mut host.blkio_device_write_iops, "IOPS Block write limit", "Block I/O IOPS write limit"),
    ] {
        let rates = list.as_ref().is_some_and(|list| !list.is_empty());
        if kernel.lacks(rates, "BlkioThrottle", what, &format!("{gone} discarded.")) {
            *list = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::capacity;
    use super::*;

    const EVERYTHING: &str = r#"{
        "Memory":10000000,"MemorySwap":20000000,"MemorySwappiness":5,"MemoryReservation":7000000,
        "KernelMemory":7000000,"KernelMemoryTCP":7000000,"OomKillDisable":true,"PidsLimit":5,"CpuShares":5,
        "CpuPeriod":1000,"CpuQuota":1000,"CpuPercent":5,"CpusetCpus":"0","CpusetMems":"0","BlkioWeight":50,
        "BlkioWeightDevice":[{"Path":"/dev/x","Weight":50}],"BlkioDeviceReadBps":[{"Path":"/dev/x","Rate":1}],
        "BlkioDeviceWriteBps":[{"Path":"/dev/x","Rate":1}],"BlkioDeviceReadIOps":[{"Path":"/dev/x","Rate":1}],
        "BlkioDeviceWriteIOps":[{"Path":"/dev/x","Rate":1}]}"#;

    fn adapted(json: &str, capacity: &Capacity) -> (HostConfig, Vec<String>) {
        let mut host: HostConfig = api::json::from_slice(json.as_bytes()).unwrap();
        let said = adapt(&mut host, capacity);
        (host, said)
    }

    #[test]
    fn what_the_kernel_has_stays() {
        let (host, said) = adapted(EVERYTHING, &capacity());
        assert_eq!(said, ["linux does not support CPU percent. Percent discarded."]);
        assert_eq!(
            (host.memory, host.memory_swap, host.kernel_memory),
            (10_000_000, 20_000_000, 0)
        );
        assert_eq!((host.blkio_weight, host.memory_swappiness), (50, Some(5)));
        let (host, said) = adapted(r#"{"OomKillDisable":true,"MemorySwappiness":-1}"#, &capacity());
        assert!(
            said[0].starts_with("OOM killer is disabled for the container, but no memory"),
            "{said:?}"
        );
        assert_eq!(host.memory_swappiness, None);
    }

    #[test]
    fn what_the_kernel_lacks_is_discarded_and_said() {
        let mut nothing = capacity();
        nothing.features.clear();
        let (host, said) = adapted(EVERYTHING, &nothing);
        // One by one; the swap limit went with that of memory, and nothing is said of kernel memory.
        assert_eq!(said.len(), 16, "{said:#?}");
        for text in [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
        ] {
            assert!(said.iter().any(|said| said == text), "{text}: {said:#?}");
        }
        let unlimited = HostConfig { memory_swap: -1, ..HostConfig::default() };
        assert_eq!(host, unlimited);
        nothing.features.insert("MemoryLimit", true);
        let (host, said) = adapted(r#"{"Memory":10000000}"#, &nothing);
        assert_eq!((host.memory, host.memory_swap), (10_000_000, -1));
        assert_eq!(
            said,
            [
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
            ]
        );
    }
}
