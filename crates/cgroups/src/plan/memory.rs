//! Memory limits. On v1 swap is part of a sum with its own ordering; on v2 the two are independent.

use oci::runtime::Memory;
use stdx::{Error, Result};

use super::{On, OnError, Plan, not_on_v2};
use crate::convert::{max_or, swap_max};

pub(super) fn plan(memory: &Memory, out: &mut Plan<'_>) -> Result<()> {
    // 0 is "unset" everywhere in Docker's and runc's world.
    let limit = memory.limit.filter(|v| *v != 0);
    let swap = memory.swap.filter(|v| *v != 0);
    let reservation = memory.reservation.filter(|v| *v != 0);
    for (name, value) in
        [("memory", limit), ("memory+swap", swap), ("memory reservation", reservation)]
    {
        if let Some(value) = value.filter(|v| *v < -1) {
            return Err(Error::invalid(format!("invalid {name} value: {value}")));
        }
    }
    if memory.swappiness.is_some_and(|s| s > 100) {
        let value = memory.swappiness.unwrap_or(0);
        return Err(Error::invalid(format!(
            "invalid memory swappiness value: {value} (valid range is 0-100)"
        )));
    }
    // Kernel memory alone has not been limitable since Linux 5.16 and everybody ignores the field.
    let anything = limit.is_some()
        || swap.is_some()
        || reservation.is_some()
        || memory.swappiness.is_some()
        || memory.disable_oom_killer == Some(true)
        || memory.kernel_tcp.is_some_and(|v| v != 0);
    if !anything {
        return Ok(());
    }
    match out.need("memory", "memory limit")? {
        On::V1 => v1(memory, limit, swap, reservation, out),
        On::V2 => v2(memory, limit, swap, reservation, out),
    }
}

fn v1(
    memory: &Memory,
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
    out: &mut Plan<'_>,
) -> Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    let write_limit = |out: &mut Plan<'_>, value: i64| {
        out.push("memory", vec![LIMIT.to_owned()], value, OnError::ExplainUsage);
    };
    match (limit, swap) {
        // Memory without limit while memory plus swap has one is refused by the kernel: lift that first.
        (Some(-1), None) => {
            out.push("memory", vec![SWAP.to_owned()], -1, OnError::IgnoreMissing);
            write_limit(out, -1);
        }
        (Some(limit), Some(swap)) => {
            // The kernel holds memory ≤ memory+swap at every moment, so the order depends on the direction.
            let current = out.present.current("memory", LIMIT)?.and_then(|t| t.parse::<i64>().ok());
            let raising = swap == -1 || current.is_some_and(|current| current < swap);
            if raising {
                out.write("memory", SWAP, swap);
                write_limit(out, limit);
            } else {
                write_limit(out, limit);
                out.write("memory", SWAP, swap);
            }
        }
        (Some(limit), None) => write_limit(out, limit),
        (None, Some(swap)) => out.write("memory", SWAP, swap),
        (None, None) => {}
    }
    if let Some(reservation) = reservation {
        out.write("memory", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(tcp) = memory.kernel_tcp.filter(|v| *v != 0) {
        out.write("memory", "memory.kmem.tcp.limit_in_bytes", tcp);
    }
    if memory.disable_oom_killer == Some(true) {
        out.write("memory", "memory.oom_control", 1);
    }
    if let Some(swappiness) = memory.swappiness {
        out.write("memory", "memory.swappiness", swappiness);
    }
    Ok(())
}

fn v2(
    memory: &Memory,
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
    out: &mut Plan<'_>,
) -> Result<()> {
    if memory.swappiness.is_some() {
        return Err(not_on_v2("memory swappiness"));
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(not_on_v2("disable OOM killer"));
    }
    if memory.kernel_tcp.is_some_and(|v| v != 0) {
        return Err(not_on_v2("kernel TCP memory limit"));
    }
    // An update of swap alone is measured against the limit that stands.
    let base = match (limit, swap) {
        (None, Some(swap)) if swap > 0 => {
            out.present.current("memory", "memory.max")?.and_then(|t| t.parse::<i64>().ok())
        }
        _ => limit,
    };
    if let Some(limit) = limit.filter(|l| *l > 0)
        && memory.check_before_update == Some(true)
        && let Some(usage) =
            out.present.current("memory", "memory.current")?.and_then(|t| t.parse::<i64>().ok())
        && usage > limit
    {
        return Err(Error::invalid(format!("rejecting memory limit {limit} < usage {usage}")));
    }
    if let Some(value) = swap_max(swap, base)? {
        let harmless = value == "max" || value == "0";
        let on_error = if harmless { OnError::IgnoreMissing } else { OnError::Fail };
        out.push("memory", vec!["memory.swap.max".to_owned()], value, on_error);
    }
    if let Some(limit) = limit {
        out.write("memory", "memory.max", max_or(limit));
    }
    if let Some(reservation) = reservation {
        out.write("memory", "memory.low", max_or(reservation));
    }
    Ok(())
}
