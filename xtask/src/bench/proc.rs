//! What `/proc` knows of processes: who belongs together, memory, processor time.

use std::path::Path;

/// A process as the machine numbers it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// The children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    pids().filter(|p| stat(*p).is_some_and(|fields| fields[1] == pid.to_string())).collect()
}

/// The children of a process, and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let own = children(pid);
    let theirs: Vec<u32> = own.iter().flat_map(|child| descendants(*child)).collect();
    [own, theirs].concat()
}

/// The processes in the process namespace of `first`, without those of namespaces inside it.
pub(crate) fn in_namespace_of(first: u32) -> Vec<Process> {
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(first) else { return Vec::new() };
    pids()
        .filter(|pid| namespace(*pid).as_ref() == Some(&wanted))
        .map(|pid| Process { pid, name: name(pid) })
        .collect()
}

/// The name by which its program was called, as long as it is: `comm` is cut at 15 bytes.
pub(crate) fn name(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|b| *b == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first).into_owned();
    Path::new(&first).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Proportional memory in kilobytes; 0 when it is gone.
pub(crate) fn proportional_memory(pid: u32) -> u64 {
    value(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// What the whole kernel has for itself, in kilobytes: slabs, `vmalloc`, stacks, page tables and per-processor memory.
pub(crate) fn kernel_memory() -> u64 {
    ["Slab:", "VmallocUsed:", "KernelStack:", "PageTables:", "Percpu:"]
        .map(|key| value("/proc/meminfo", key))
        .iter()
        .sum()
}

/// The most memory that it ever had at once since [`forget_peak`], in kilobytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    value(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// Starts [`peak_memory`] anew.
pub(crate) fn forget_peak(pid: u32) {
    // 5: reset the high-water mark (proc(5)). A kernel without it only makes the figure larger.
    let _done = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Processor time in milliseconds of a process and those children that it has waited for.
pub(crate) fn processor_time(pid: u32) -> f64 {
    let Some(fields) = stat(pid) else { return 0.0 };
    // utime, stime, cutime, cstime, counted in hundredths of a second on every Linux of today (USER_HZ).
    let ticks: f64 = fields.iter().skip(11).take(4).filter_map(|f| f.parse::<f64>().ok()).sum();
    ticks * 10.0
}

/// The threads of a process.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    numbers(&format!("/proc/{pid}/task")).collect()
}

fn value(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(key));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The fields of `/proc/PID/stat` from the third on: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn pids() -> impl Iterator<Item = u32> {
    numbers("/proc")
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}
