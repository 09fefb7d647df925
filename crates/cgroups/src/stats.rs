//! What a group uses, in one shape for both versions.

use std::collections::BTreeMap;

use stdx::Result;

use crate::dir::Dir;
use crate::group::Group;

/// What a group and all groups beneath it use and have used. What the host does not measure is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Processor time.
    pub cpu: Option<CpuStats>,
    /// Tasks.
    pub pids: Option<PidsStats>,
    /// Bytes moved, by device and operation.
    pub io_bytes: Vec<IoEntry>,
    /// Operations done, by device and operation.
    pub io_operations: Vec<IoEntry>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// In use now, file cache included.
    pub usage: u64,
    /// Most that was in use; v2 has it since Linux 5.19.
    pub max_usage: Option<u64>,
    /// The limit; `None` when there is none.
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub failures: u64,
    /// Swap in use: on v1 what memory plus swap is above memory.
    pub swap_usage: Option<u64>,
    /// Every line of `memory.stat`, names as the kernel's version has them (`total_inactive_file` or `inactive_file`).
    pub details: BTreeMap<String, u64>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// By processor; only v1 tells.
    pub per_cpu: Vec<u64>,
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Periods in which the group was held back.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled: u64,
}

/// Number of tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Tasks now.
    pub current: u64,
    /// The limit; `None` when there is none.
    pub limit: Option<u64>,
}

/// One device, one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoEntry {
    /// Major number of the device.
    pub major: u32,
    /// Minor number of the device.
    pub minor: u32,
    /// `read`, `write`, and on v1 `sync`, `async`, `discard`, `total`.
    pub operation: String,
    /// Bytes or operations.
    pub value: u64,
}

/// v1 says "no limit" with the largest multiple of the page size (64-bit counters of pages).
const UNLIMITED_V1: u64 = 0x7fff_ffff_0000_0000;

/// `cpuacct.stat` counts in USER_HZ, which is 100 on every Linux that has this interface.
const NANOS_PER_TICK: u64 = 10_000_000;

impl Group {
    /// Reads every counter once.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        if let Some(member) = self.home("memory") {
            let read = if member.unified { memory_v2 } else { memory_v1 };
            stats.memory = read(&member.dir)?;
        }
        stats.cpu = match (self.home("cpuacct"), self.home("cpu"), self.unified()) {
            (Some(account), cpu, _) => cpu_v1(&account.dir, cpu.map(|m| &m.dir))?,
            // cpu.stat is there on v2 whether or not the controller is.
            (None, _, Some(member)) => cpu_v2(&member.dir)?,
            (None, _, None) => None,
        };
        if let Some(member) = self.home("pids") {
            let current = number(&member.dir, "pids.current")?;
            stats.pids = match current {
                Some(current) => {
                    Some(PidsStats { current, limit: number(&member.dir, "pids.max")? })
                }
                None => None,
            };
        }
        if let Some(member) = self.home("blkio") {
            stats.io_bytes = blkio_v1(&member.dir, "io_service_bytes")?;
            stats.io_operations = blkio_v1(&member.dir, "io_serviced")?;
        } else if let Some(member) = self.home("io") {
            let text = member.dir.read_if_any("io.stat")?.unwrap_or_default();
            stats.io_bytes = io_v2(&text, &[("rbytes", "read"), ("wbytes", "write")]);
            stats.io_operations = io_v2(&text, &[("rios", "read"), ("wios", "write")]);
        }
        Ok(stats)
    }
}

fn memory_v1(dir: &Dir) -> Result<Option<MemoryStats>> {
    let Some(usage) = number(dir, "memory.usage_in_bytes")? else { return Ok(None) };
    Ok(Some(MemoryStats {
        usage,
        max_usage: number(dir, "memory.max_usage_in_bytes")?,
        limit: number(dir, "memory.limit_in_bytes")?.filter(|l| *l < UNLIMITED_V1),
        failures: number(dir, "memory.failcnt")?.unwrap_or(0),
        swap_usage: number(dir, "memory.memsw.usage_in_bytes")?
            .map(|both| both.saturating_sub(usage)),
        details: table(&dir.read_if_any("memory.stat")?.unwrap_or_default()),
    }))
}

fn memory_v2(dir: &Dir) -> Result<Option<MemoryStats>> {
    let Some(usage) = number(dir, "memory.current")? else { return Ok(None) };
    let events = table(&dir.read_if_any("memory.events")?.unwrap_or_default());
    Ok(Some(MemoryStats {
        usage,
        max_usage: number(dir, "memory.peak")?,
        limit: number(dir, "memory.max")?,
        failures: events.get("max").copied().unwrap_or(0),
        swap_usage: number(dir, "memory.swap.current")?,
        details: table(&dir.read_if_any("memory.stat")?.unwrap_or_default()),
    }))
}

fn cpu_v1(account: &Dir, cpu: Option<&Dir>) -> Result<Option<CpuStats>> {
    let Some(total) = number(account, "cpuacct.usage")? else { return Ok(None) };
    let modes = table(&account.read_if_any("cpuacct.stat")?.unwrap_or_default());
    let ticks = |name| modes.get(name).copied().unwrap_or(0).saturating_mul(NANOS_PER_TICK);
    let per_cpu = account.read_if_any("cpuacct.usage_percpu")?.unwrap_or_default();
    let held = match cpu {
        Some(dir) => table(&dir.read_if_any("cpu.stat")?.unwrap_or_default()),
        None => BTreeMap::new(),
    };
    let count = |name| held.get(name).copied().unwrap_or(0);
    Ok(Some(CpuStats {
        total,
        user: ticks("user"),
        system: ticks("system"),
        per_cpu: per_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
        periods: count("nr_periods"),
        throttled_periods: count("nr_throttled"),
        throttled: count("throttled_time"),
    }))
}

fn cpu_v2(dir: &Dir) -> Result<Option<CpuStats>> {
    let Some(text) = dir.read_if_any("cpu.stat")? else { return Ok(None) };
    let table = table(&text);
    let count = |name| table.get(name).copied().unwrap_or(0);
    let nanos = |name| count(name).saturating_mul(1000);
    Ok(Some(CpuStats {
        total: nanos("usage_usec"),
        user: nanos("user_usec"),
        system: nanos("system_usec"),
        per_cpu: Vec::new(),
        periods: count("nr_periods"),
        throttled_periods: count("nr_throttled"),
        throttled: nanos("throttled_usec"),
    }))
}

fn blkio_v1(dir: &Dir, what: &str) -> Result<Vec<IoEntry>> {
    // The throttling layer counts every device; bfq only those it schedules.
    for file in [format!("blkio.throttle.{what}_recursive"), format!("blkio.throttle.{what}")] {
        if let Some(text) = dir.read_if_any(&file)? {
            return Ok(io_v1(&text));
        }
    }
    Ok(Vec::new())
}

/// Lines such as `8:0 Read 4096`; the sum at the end has no device and is left out.
fn io_v1(text: &str) -> Vec<IoEntry> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let operation = words.next()?.to_lowercase();
        Some(IoEntry { major, minor, operation, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 …`.
fn io_v2(text: &str, keys: &[(&str, &str)]) -> Vec<IoEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (name, value) in words.filter_map(|w| w.split_once('=')) {
            let operation = keys
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, operation)| (*operation).to_owned());
            if let (Some(operation), Ok(value)) = (operation, value.parse()) {
                entries.push(IoEntry { major, minor, operation, value });
            }
        }
    }
    entries
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `name value` lines.
fn table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        .collect()
}

/// One number, or `None` for `max` and for files that are not there.
fn number(dir: &Dir, file: &str) -> Result<Option<u64>> {
    Ok(dir.read_if_any(file)?.and_then(|text| text.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(entries: &[IoEntry]) -> Vec<String> {
        entries
            .iter()
            .map(|e| format!("{}:{} {} {}", e.major, e.minor, e.operation, e.value))
            .collect()
    }

    #[test]
    fn v1_block_lines() {
        let text = "254:0 Read 4096\n254:0 Write 0\n254:0 Total 4096\nTotal 4096\n";
        assert_eq!(show(&io_v1(text)), ["254:0 read 4096", "254:0 write 0", "254:0 total 4096"]);
    }

    #[test]
    fn v2_block_lines() {
        let text = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0\n";
        let entries = io_v2(text, &[("rbytes", "read"), ("wbytes", "write")]);
        assert_eq!(show(&entries), ["8:16 read 1459200", "8:16 write 314773504"]);
    }

    #[test]
    fn tables_skip_what_is_no_number() {
        let table = table("anon 5\nfile max\n\nslab 7\n");
        assert_eq!(
            table.into_iter().collect::<Vec<_>>(),
            [("anon".to_owned(), 5), ("slab".to_owned(), 7)]
        );
    }
}
