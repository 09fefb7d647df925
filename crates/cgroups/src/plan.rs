//! Resources → the writes that make them so. Pure; [`Group`](crate::Group) carries them out in order.

mod block;
mod cpu;
mod memory;
#[cfg(test)]
mod tests;

use oci::runtime::Resources;
use stdx::{Error, Result};

/// One write to one interface file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The controller in whose hierarchy the file is.
    pub(crate) controller: &'static str,
    /// Files to try in order; the next only when the one before does not exist.
    pub(crate) files: Vec<String>,
    /// What is written.
    pub(crate) value: String,
    /// What a failure means to the caller.
    pub(crate) on_error: OnError,
}

/// What a failed write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The error is the answer.
    Fail,
    /// `cpu.cfs_period_us` and `cpu.rt_period_us`: EINVAL may be the old quota not fitting; try again after the new one was
    /// written.
    RetryAfterNext,
    /// `cpu.rt_runtime_us`: EINVAL means that the groups above have less left.
    ExplainBudget,
    /// v1 memory limit: EBUSY means that more is in use and cannot be reclaimed.
    ExplainUsage,
    /// `memory.swap.max` being `max` or `0` where the kernel accounts no swap: it is so already.
    IgnoreMissing,
    /// A `unified` entry: a missing file is explained by its controller.
    ExplainUnified,
}

/// The version that a controller is on, as the plan needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// cgroup v1
    V1,
    /// cgroup v2
    V2,
}

/// What the plan must know of the group as it is.
pub(crate) trait Present {
    /// Where `controller` lives, or `None` when nowhere.
    fn on(&self, controller: &str) -> Option<On>;
    /// Text of an interface file of `controller`, trimmed; `None` when there is no such file.
    fn current(&self, controller: &str, file: &str) -> Result<Option<String>>;
}

/// Everything that `resources` asks for except devices, in the order in which it must be written.
pub(crate) fn plan(resources: &Resources, present: &dyn Present) -> Result<Vec<Write>> {
    let mut out = Plan { writes: Vec::new(), present };
    if let Some(cpu) = &resources.cpu {
        cpu::plan(cpu, &mut out)?;
    }
    if let Some(memory) = &resources.memory {
        memory::plan(memory, &mut out)?;
    }
    if let Some(pids) = &resources.pids
        && pids.limit != 0
    {
        // 0 is unset for Docker, and every negative number has meant "no limit" to runc.
        let value = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
        out.need("pids", "pids limit")?;
        out.write("pids", "pids.max", value);
    }
    if let Some(block_io) = &resources.block_io {
        block::plan(block_io, &mut out)?;
    }
    for huge in &resources.hugepage_limits {
        let size = &huge.page_size;
        if !size.bytes().all(|b| b.is_ascii_alphanumeric()) || size.is_empty() {
            return Err(Error::invalid(format!("invalid huge page size \"{size}\"")));
        }
        let file = match out.need("hugetlb", "huge page limit")? {
            On::V1 => format!("hugetlb.{size}.limit_in_bytes"),
            On::V2 => format!("hugetlb.{size}.max"),
        };
        out.write("hugetlb", file, huge.limit);
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|c| *c != 0) {
            out.need_v1("net_cls", "network class")?;
            out.write("net_cls", "net_cls.classid", class);
        }
        for priority in &network.priorities {
            out.need_v1("net_prio", "network priority")?;
            out.write(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{} {}", priority.name, priority.priority),
            );
        }
    }
    for (device, limit) in &resources.rdma {
        out.need("rdma", "rdma limit")?;
        let handles = limit.hca_handles.map(|n| format!(" hca_handle={n}")).unwrap_or_default();
        let objects = limit.hca_objects.map(|n| format!(" hca_object={n}")).unwrap_or_default();
        if !handles.is_empty() || !objects.is_empty() {
            out.write("rdma", "rdma.max", format!("{device}{handles}{objects}"));
        }
    }
    unified(resources, &mut out)?;
    Ok(out.writes)
}

/// The controller name that stands for the v2 directory itself, whatever controllers it has.
pub(crate) const UNIFIED: &str = "";

fn unified(resources: &Resources, out: &mut Plan<'_>) -> Result<()> {
    for (file, value) in &resources.unified {
        if out.present.on(UNIFIED) != Some(On::V2) {
            return Err(Error::invalid(
                "cannot set unified resources: they are for cgroup v2, and cgroup v1 is in use",
            ));
        }
        if file.contains('/') || file.starts_with("..") {
            return Err(Error::invalid(format!(
                "unified resource \"{file}\" must be a file name (no slashes)"
            )));
        }
        if file
            .split_once('.')
            .is_none_or(|(controller, name)| controller.is_empty() || name.is_empty())
        {
            return Err(Error::invalid(format!(
                "unified resource \"{file}\" must be in the form CONTROLLER.PARAMETER"
            )));
        }
        // `cgroup.procs` and its kind move or kill processes: that is no resource.
        if file.starts_with("cgroup.") && !file.starts_with("cgroup.max.") {
            return Err(Error::invalid(format!("unified resource \"{file}\" is no limit")));
        }
        // Some files take one line per write, such as io.max with several devices.
        for line in value.lines().filter(|l| !l.trim().is_empty()) {
            out.push(UNIFIED, vec![file.clone()], line, OnError::ExplainUnified);
        }
    }
    Ok(())
}

/// The plan being made.
struct Plan<'a> {
    writes: Vec<Write>,
    present: &'a dyn Present,
}

impl Plan<'_> {
    fn write(&mut self, controller: &'static str, file: impl Into<String>, value: impl ToString) {
        self.push(controller, vec![file.into()], value, OnError::Fail);
    }

    fn push(
        &mut self,
        controller: &'static str,
        files: Vec<String>,
        value: impl ToString,
        on_error: OnError,
    ) {
        self.writes.push(Write { controller, files, value: value.to_string(), on_error });
    }

    /// Where `controller` lives; `what` was asked of it.
    fn need(&self, controller: &str, what: &str) -> Result<On> {
        self.present.on(controller).ok_or_else(|| {
            Error::invalid(format!(
                "cannot set {what}: the {controller} cgroup controller is not available"
            ))
        })
    }

    /// As [`need`](Self::need) for what only v1 has.
    fn need_v1(&self, controller: &str, what: &str) -> Result<()> {
        if self.present.on(controller).is_none() && self.present.on(UNIFIED) == Some(On::V2) {
            return Err(not_on_v2(what));
        }
        self.need(controller, what).map(drop)
    }
}

fn not_on_v2(what: &str) -> Error {
    Error::invalid(format!("cannot set {what}: not supported on cgroup v2"))
}
