//! The daemon's own process, from proc(5).

/// The figures that every Prometheus client library tells of its process; `None` where the kernel did not say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Seconds of processor time, user and system.
    pub cpu_seconds: Option<f64>,
    /// When it was started, in seconds since 1970.
    pub start_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Bytes of address space.
    pub virtual_bytes: Option<u64>,
    /// Bytes of address space that it may have; `u64::MAX`: no limit.
    pub virtual_limit: Option<u64>,
    /// Bytes of memory that it has.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<usize>,
    /// Descriptors that it may have.
    pub descriptors_limit: Option<u64>,
    /// Bytes that its network namespace received and sent.
    pub network: Option<(u64, u64)>,
}

impl Process {
    pub(super) fn look() -> Self {
        let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
        let mut process = Self::from_stat(&read("/proc/self/stat"), boot_time(&read("/proc/stat")));
        let limits = read("/proc/self/limits");
        process.virtual_limit = limit(&limits, "Max address space");
        process.descriptors_limit = limit(&limits, "Max open files");
        process.descriptors = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        process.network = octets(&read("/proc/self/net/netstat"));
        process
    }

    /// Fields 14, 15, 20, 22, 23 and 24 of `stat`.
    fn from_stat(stat: &str, booted: Option<u64>) -> Self {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as u64;
        // The name, field 2, may contain anything; what follows its last parenthesis are fields 3 and on.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_ascii_whitespace().collect())
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, sys)| (user + sys) as f64 / ticks),
            start_seconds: field(22)
                .zip(booted)
                .map(|(at, booted)| booted as f64 + at as f64 / ticks),
            threads: field(20),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page),
            ..Self::default()
        }
    }
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of this name.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// `InOctets` and `OutOctets` of the pair of `IpExt` lines: names, then values.
fn octets(netstat: &str) -> Option<(u64, u64)> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let names = lines.next()?.split_ascii_whitespace();
    let values: Vec<(&str, &str)> = names.zip(lines.next()?.split_ascii_whitespace()).collect();
    let value = |wanted| values.iter().find(|(name, _)| *name == wanted)?.1.parse().ok();
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 200 4096 3 18446744073709551615 1";
        let process = Process::from_stat(stat, boot_time("cpu 1\nbtime 1000\n"));
        assert_eq!(process.cpu_seconds, Some(2.0));
        assert_eq!(process.start_seconds, Some(1002.0));
        assert_eq!((process.threads, process.virtual_bytes), (Some(9), Some(4096)));
        assert_eq!(process.resident_bytes, Some(3 * rustix::param::page_size() as u64));
        assert_eq!(Process::from_stat("", None), Process::default());
        let limits = "Max open files            20000                20000                files\nMax address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(20_000));
        assert_eq!(limit(limits, "Max address space"), Some(u64::MAX));
        let netstat = "TcpExt: A\nTcpExt: 1\nIpExt: X InOctets OutOctets\nIpExt: 1 361 441\n";
        assert_eq!(octets(netstat), Some((361, 441)));
        assert_eq!(octets("IpExt: InOctets\nIpExt: x"), None);
    }

    #[test]
    fn this_process_has_them_all() {
        let process = Process::look();
        assert!(
            process.resident_bytes > Some(100_000) && process.descriptors > Some(2),
            "{process:?}"
        );
        assert!(
            process.start_seconds > Some(1.6e9) && process.virtual_limit.is_some(),
            "{process:?}"
        );
        assert!(process.network.is_some() && process.cpu_seconds.is_some(), "{process:?}");
    }
}
