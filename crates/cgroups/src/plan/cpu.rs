//! Processor time and placement.

use oci::runtime::Cpu;
use stdx::{Error, Result};

use super::{On, OnError, Plan, not_on_v2};
use crate::convert::weight_of_shares;

/// The kernel's bounds of `cpu.shares`; it clamps silently, and runc tells the user instead.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// The period that v2 has when nobody set one, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

pub(super) fn plan(cpu: &Cpu, out: &mut Plan<'_>) -> Result<()> {
    let shares = cpu.shares.filter(|v| *v != 0);
    if let Some(shares) = shares {
        if shares < *SHARES.start() {
            return Err(Error::invalid(format!(
                "the minimum allowed cpu-shares is {}",
                SHARES.start()
            )));
        }
        if shares > *SHARES.end() {
            return Err(Error::invalid(format!(
                "the maximum allowed cpu-shares is {}",
                SHARES.end()
            )));
        }
    }
    let quota = cpu.quota.filter(|v| *v != 0);
    let period = cpu.period.filter(|v| *v != 0);
    let realtime = cpu.realtime_runtime.filter(|v| *v != 0).is_some()
        || cpu.realtime_period.filter(|v| *v != 0).is_some();
    let time = shares.is_some()
        || quota.is_some()
        || period.is_some()
        || cpu.burst.is_some()
        || cpu.idle.is_some();
    if time || realtime {
        match out.need("cpu", "cpu limit")? {
            On::V1 => v1(cpu, shares, quota, period, out),
            On::V2 => v2(cpu, shares, quota, period, realtime, out)?,
        }
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            out.need("cpuset", "cpuset")?;
            out.write("cpuset", file, value);
        }
    }
    Ok(())
}

fn v1(cpu: &Cpu, shares: Option<u64>, quota: Option<i64>, period: Option<u64>, out: &mut Plan<'_>) {
    if let Some(shares) = shares {
        out.write("cpu", "cpu.shares", shares);
    }
    if let Some(period) = period {
        // A period shorter than the quota that stands may be refused until the new quota is there.
        let on_error = if quota.is_some() { OnError::RetryAfterNext } else { OnError::Fail };
        out.push("cpu", vec!["cpu.cfs_period_us".to_owned()], period, on_error);
    }
    if let Some(quota) = quota {
        out.write("cpu", "cpu.cfs_quota_us", quota);
    }
    if let Some(burst) = cpu.burst {
        out.write("cpu", "cpu.cfs_burst_us", burst);
    }
    let runtime = cpu.realtime_runtime.filter(|v| *v != 0);
    if let Some(period) = cpu.realtime_period.filter(|v| *v != 0) {
        // As with the other period.
        let on_error = if runtime.is_some() { OnError::RetryAfterNext } else { OnError::Fail };
        out.push("cpu", vec!["cpu.rt_period_us".to_owned()], period, on_error);
    }
    if let Some(runtime) = runtime {
        out.push("cpu", vec!["cpu.rt_runtime_us".to_owned()], runtime, OnError::ExplainBudget);
    }
    if let Some(idle) = cpu.idle {
        out.write("cpu", "cpu.idle", idle);
    }
}

fn v2(
    cpu: &Cpu,
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    realtime: bool,
    out: &mut Plan<'_>,
) -> Result<()> {
    if realtime {
        return Err(not_on_v2("real-time cpu limit"));
    }
    // The weight of an idle group cannot be written, so idle goes first when it ends and last when it begins.
    if let Some(idle) = cpu.idle.filter(|i| *i == 0) {
        out.write("cpu", "cpu.idle", idle);
    }
    if let Some(shares) = shares {
        out.write("cpu", "cpu.weight", weight_of_shares(shares));
    }
    if quota.is_some() || period.is_some() {
        // One file holds both: what was not given keeps its value.
        let current = match (quota, period) {
            (Some(_), Some(_)) => None,
            _ => out.present.current("cpu", "cpu.max")?,
        };
        let (old_quota, old_period) = current
            .as_deref()
            .and_then(|t| t.split_once(' '))
            .map_or(("max", DEFAULT_PERIOD), |(q, p)| (q, p.parse().unwrap_or(DEFAULT_PERIOD)));
        let quota = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            Some(_) => "max".to_owned(),
            None => old_quota.to_owned(),
        };
        out.write("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(old_period)));
    }
    if let Some(burst) = cpu.burst {
        out.write("cpu", "cpu.max.burst", burst);
    }
    if let Some(idle) = cpu.idle.filter(|i| *i != 0) {
        out.write("cpu", "cpu.idle", idle);
    }
    Ok(())
}
