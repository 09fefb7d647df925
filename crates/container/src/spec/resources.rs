//! Limits and device rules of the container's cgroup.

use super::Surroundings;
use crate::strict;
use oci::runtime as oci;
use stdx::{Error, Result};
use store::records::container::{HostConfig, Resources};

/// Everything that the container's cgroup is told.
pub(super) fn resources(host: &HostConfig, around: &Surroundings<'_>) -> Result<oci::Resources> {
    let mut limits = limits(&host.resources, around.default_pids_limit);
    let weight = limits.block_io.take().and_then(|block| block.weight);
    let block = oci::BlockIo { weight, ..around.block_io.clone() };
    limits.block_io = (block != oci::BlockIo::default()).then_some(block);
    limits.devices = device_rules(host, around)?;
    // Without a limit of memory there is no sum to write (`memory_swap`), but on cgroup v2 swap is counted alone.
    let silent = host.resources.memory == 0 && host.resources.memory_swap == 0;
    if around.swap_alone && silent && strict::is_strict(&host.security_opt) {
        limits.unified.insert("memory.swap.max".to_owned(), "0".to_owned());
    }
    Ok(limits)
}

/// The limits alone, as an update sends them; those of single block devices need a look at the devices and are not among
/// them.
pub fn limits(r: &Resources, default_pids_limit: i64) -> oci::Resources {
    let positive = |n: i64| (n != 0).then_some(n);
    let unsigned = |n: i64| u64::try_from(n).ok().filter(|n| *n != 0);
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let swap = match (r.memory, r.memory_swap) {
        (_, swap) if swap != 0 => Some(swap),
        (memory, _) if memory > 0 => Some(memory.saturating_mul(2)),
        _ => None,
    };
    let memory = oci::Memory {
        limit: positive(r.memory),
        reservation: positive(r.memory_reservation),
        swap,
        swappiness: r.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        disable_oom_killer: r.oom_kill_disable.filter(|disabled| *disabled),
        kernel_tcp: positive(r.kernel_memory_tcp),
        ..oci::Memory::default()
    };
    // `--cpus` is a quota over the default period (moby: NanoCPUs × period / 1e9).
    let (period, quota) = if r.nano_cpus > 0 {
        (Some(100_000), Some(r.nano_cpus / 10_000))
    } else {
        (unsigned(r.cpu_period), positive(r.cpu_quota))
    };
    let cpu = oci::Cpu {
        shares: unsigned(r.cpu_shares),
        quota,
        period,
        realtime_period: unsigned(r.cpu_realtime_period),
        realtime_runtime: positive(r.cpu_realtime_runtime),
        cpus: text(&r.cpuset_cpus),
        mems: text(&r.cpuset_mems),
        ..oci::Cpu::default()
    };
    let pids = match r.pids_limit {
        // Clients send 0 when their users say nothing.
        None | Some(0) => default_pids_limit,
        Some(n) if n < 0 => -1,
        Some(n) => n,
    };
    oci::Resources {
        memory: (memory != oci::Memory::default()).then_some(memory),
        cpu: (cpu != oci::Cpu::default()).then_some(cpu),
        pids: Some(oci::Pids { limit: pids }),
        block_io: (r.blkio_weight != 0)
            .then(|| oci::BlockIo { weight: Some(r.blkio_weight), ..oci::BlockIo::default() }),
        ..oci::Resources::default()
    }
}

fn device_rules(host: &HostConfig, around: &Surroundings<'_>) -> Result<Vec<oci::DeviceRule>> {
    let rule = |allow, kind: Option<&str>, major, minor, access: &str| oci::DeviceRule {
        allow,
        kind: kind.map(str::to_owned),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    if host.privileged {
        return Ok(vec![rule(true, None, None, None, "rwm")]);
    }
    let mut rules = vec![
        rule(false, None, None, None, "rwm"),
        // Making nodes is harmless as long as they cannot be opened.
        rule(true, Some("c"), None, None, "m"),
        rule(true, Some("b"), None, None, "m"),
    ];
    // null, zero, full, random, urandom, tty, console, ptmx, and every pseudo terminal.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(true, Some("c"), Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(true, Some("c"), Some(136), None, "rwm"));
    for (device, permissions) in around.devices {
        rules.push(rule(true, Some(&device.kind), device.major, device.minor, permissions));
    }
    for text in &host.resources.device_cgroup_rules {
        rules.push(parse_device_rule(text)?);
    }
    Ok(rules)
}

/// `c 13:* rwm`
pub(super) fn parse_device_rule(text: &str) -> Result<oci::DeviceRule> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = parts[..] else { return Err(invalid()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |n: &str| match n {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| invalid()),
    };
    if !matches!(kind, "a" | "b" | "c")
        || access.is_empty()
        || !access.chars().all(|c| "rwm".contains(c))
    {
        return Err(invalid());
    }
    Ok(oci::DeviceRule {
        allow: true,
        kind: (kind != "a").then(|| kind.to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: Some(access.to_owned()),
    })
}
