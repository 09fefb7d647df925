//! `events`: what a container uses, now and then, and when it runs out of memory.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use cgroups::{Group, IoEntry, Stats};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};
use stdx::{Context as _, Error, Result};

use crate::args::Global;
use crate::state::{self, Dir, Status};

/// Prints a line of JSON an event until the container ends; the figures alone with `once`. `interval`: seconds.
pub(crate) fn events(global: &Global, id: &str, once: bool, interval: u64) -> Result<()> {
    let dir = Dir::of(&global.root, id)?;
    let record = dir.load()?;
    if dir.status(&record) == Status::Stopped {
        return Err(Error::conflict(format!("container with id {id} is not running")));
    }
    let group = state::group(&record)?;
    let figures = |group: &Group| -> Result<()> {
        println!("{}", json!({ "type": "stats", "id": id, "data": describe(&group.stats()?) }));
        Ok(())
    };
    figures(&group)?;
    if once {
        return Ok(());
    }
    let process = super::process(&record)?;
    // Where there is no memory controller nobody runs out of it.
    let mut memory = group.oom_watch().ok();
    let mut next = Instant::now() + Duration::from_secs(interval);
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let (ended, out_of_memory, ready) = {
            let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
            fds.extend(memory.as_ref().map(|m| PollFd::from_borrowed_fd(m.as_fd(), PollFlags::IN)));
            let ready = match rustix::event::poll(&mut fds, Some(&left)) {
                Err(rustix::io::Errno::INTR) => continue,
                ready => ready.map_err(std::io::Error::from).context(|| "wait for events")?,
            };
            (
                !fds[0].revents().is_empty(),
                fds.get(1).is_some_and(|fd| !fd.revents().is_empty()),
                ready,
            )
        };
        if out_of_memory && memory.as_mut().map_or(Ok(false), cgroups::OomWatch::check)? {
            println!("{}", json!({ "type": "oom", "id": id }));
        }
        if ended {
            return Ok(());
        }
        if ready == 0 {
            figures(&group)?;
            next = Instant::now() + Duration::from_secs(interval);
        }
    }
}

/// The figures in runc's form.
fn describe(stats: &Stats) -> Value {
    let mut data = json!({ "cpu": {}, "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": null });
    if let Some(cpu) = &stats.cpu {
        data["cpu"] = json!({
            "usage": { "total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user },
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled,
            },
        });
    }
    if let Some(memory) = &stats.memory {
        let cache = memory.details.get("cache").or_else(|| memory.details.get("file"));
        data["memory"] = json!({
            "cache": cache,
            "usage": {
                "limit": memory.limit.unwrap_or(u64::MAX),
                "usage": memory.usage,
                "max": memory.max_usage,
                "failcnt": memory.failures,
            },
            "swap": { "usage": memory.swap_usage },
            "raw": memory.details,
        });
    }
    if let Some(pids) = &stats.pids {
        data["pids"] = json!({ "current": pids.current, "limit": pids.limit.unwrap_or(0) });
    }
    let entries = |list: &[IoEntry]| -> Vec<Value> {
        list.iter()
            .map(|e| json!({ "major": e.major, "minor": e.minor, "op": e.operation, "value": e.value }))
            .collect()
    };
    data["blkio"] = json!({
        "ioServiceBytesRecursive": entries(&stats.io_bytes),
        "ioServicedRecursive": entries(&stats.io_operations),
    });
    data
}
