//! How a process is scheduled and where its memory and processors are.

use oci::runtime::{IoPriority, MemoryPolicy, Process, Scheduler};
use rustix::thread::CpuSet;
use sys::schedule::{self, Attributes};

use super::invalid;
use crate::error::{Result, Step as _};

/// What is set before capabilities are given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    attributes: Option<Attributes>,
    /// Class and priority.
    io: Option<(u32, u32)>,
    /// Mode with flags, and nodes.
    pub(crate) memory: Option<(u32, Vec<u32>)>,
    /// Processors before and after entering the container's cgroup.
    pub(crate) affinity: [Option<Vec<u32>>; 2],
}

impl Schedule {
    /// Reads `process` of a specification.
    pub(crate) fn from_spec(process: &Process) -> Result<Self> {
        let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
        let cpus = |text: Option<String>| {
            text.filter(|t| !t.is_empty()).map(|t| list("execCPUAffinity", &t)).transpose()
        };
        Ok(Self {
            attributes: process.scheduler.as_ref().map(scheduler).transpose()?,
            io: process.io_priority.as_ref().map(io_priority).transpose()?,
            memory: None,
            affinity: [cpus(affinity.initial)?, cpus(affinity.last)?],
        })
    }

    /// Sets everything but processors for this process.
    pub(crate) fn apply(&self) -> Result<()> {
        if let Some((mode, nodes)) = &self.memory {
            schedule::set_memory_policy(*mode, nodes).step(|| "set the memory policy")?;
        }
        if let Some((class, priority)) = self.io {
            schedule::set_io_priority(class, priority).step(|| "set the I/O priority")?;
        }
        self.attributes.map_or(Ok(()), |a| schedule::set(a).step(|| "set the scheduler"))
    }
}

/// Lets this process run on these processors only.
pub(crate) fn set_affinity(cpus: Option<&Vec<u32>>) -> Result<()> {
    let Some(cpus) = cpus else { return Ok(()) };
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu as usize));
    rustix::thread::sched_setaffinity(None, &set).step(|| format!("run on processors {cpus:?}"))
}

/// Reads a memory policy.
pub(crate) fn memory_policy(policy: &MemoryPolicy) -> Result<(u32, Vec<u32>)> {
    // uapi linux/mempolicy.h
    const MODES: [&str; 7] = [
        "MPOL_DEFAULT",
        "MPOL_PREFERRED",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ];
    let mode = place(&MODES, &policy.mode)
        .ok_or_else(|| invalid(format!("unknown memory policy mode {:?}", policy.mode)))?;
    let flags = policy.flags.iter().try_fold(0_u32, |flags, name| match name.as_str() {
        "MPOL_F_NUMA_BALANCING" => Ok(flags | 1 << 13),
        "MPOL_F_RELATIVE_NODES" => Ok(flags | 1 << 14),
        "MPOL_F_STATIC_NODES" => Ok(flags | 1 << 15),
        other => Err(invalid(format!("unknown memory policy flag {other:?}"))),
    })?;
    let nodes = if policy.nodes.is_empty() { Vec::new() } else { list("nodes", &policy.nodes)? };
    if matches!(policy.mode.as_str(), "MPOL_BIND" | "MPOL_INTERLEAVE") && nodes.is_empty() {
        return Err(invalid(format!("memory policy {} needs nodes", policy.mode)));
    }
    Ok((mode | flags, nodes))
}

fn scheduler(wanted: &Scheduler) -> Result<Attributes> {
    // uapi linux/sched.h; 4 is reserved.
    const POLICIES: [&str; 7] = [
        "SCHED_OTHER",
        "SCHED_FIFO",
        "SCHED_RR",
        "SCHED_BATCH",
        "SCHED_ISO",
        "SCHED_IDLE",
        "SCHED_DEADLINE",
    ];
    let name = wanted.policy.as_str();
    let policy = place(&POLICIES, name)
        .ok_or_else(|| invalid(format!("invalid scheduler policy: {name:?}")))?;
    let nice = wanted.nice.unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(invalid(format!("invalid scheduler.nice: {nice}")));
    }
    let priority = wanted.priority.unwrap_or(0);
    let real_time = matches!(name, "SCHED_FIFO" | "SCHED_RR");
    if priority != 0 && !real_time {
        return Err(invalid(
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ));
    }
    let deadline = [wanted.runtime, wanted.deadline, wanted.period].map(|n| n.unwrap_or(0));
    if name != "SCHED_DEADLINE" && deadline != [0; 3] {
        return Err(invalid(
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ));
    }
    let flags = wanted.flags.iter().try_fold(0, |flags, flag| {
        Ok(flags
            | match flag.as_str() {
                "SCHED_FLAG_RESET_ON_FORK" => schedule::FLAG_RESET_ON_FORK,
                "SCHED_FLAG_RECLAIM" => schedule::FLAG_RECLAIM,
                "SCHED_FLAG_DL_OVERRUN" => schedule::FLAG_DL_OVERRUN,
                "SCHED_FLAG_KEEP_POLICY" => schedule::FLAG_KEEP_POLICY,
                "SCHED_FLAG_KEEP_PARAMS" => schedule::FLAG_KEEP_PARAMS,
                "SCHED_FLAG_UTIL_CLAMP_MIN" => schedule::FLAG_UTIL_CLAMP_MIN,
                "SCHED_FLAG_UTIL_CLAMP_MAX" => schedule::FLAG_UTIL_CLAMP_MAX,
                other => return Err(invalid(format!("invalid scheduler flag: {other:?}"))),
            })
    })?;
    let priority = u32::try_from(priority)
        .map_err(|_| invalid(format!("invalid scheduler.priority: {priority}")))?;
    let [runtime, deadline, period] = deadline;
    Ok(Attributes {
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
        ..Attributes::default()
    })
}

fn io_priority(wanted: &IoPriority) -> Result<(u32, u32)> {
    const CLASSES: [&str; 4] = ["", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
    let class = place(&CLASSES, &wanted.class).filter(|n| *n > 0);
    let class =
        class.ok_or_else(|| invalid(format!("invalid ioPriority.class: {:?}", wanted.class)))?;
    match u32::try_from(wanted.priority) {
        Ok(priority @ 0..=7) => Ok((class, priority)),
        _ => Err(invalid(format!("invalid ioPriority.priority: {}", wanted.priority))),
    }
}

fn place(names: &[&str], name: &str) -> Option<u32> {
    names.iter().position(|n| *n == name).and_then(|at| u32::try_from(at).ok())
}

/// Numbers of a list such as `0-3,7`.
fn list(what: &str, text: &str) -> Result<Vec<u32>> {
    let wrong = || invalid(format!("{what}: {text:?} is not a list of numbers"));
    let number = |t: &str| t.trim().parse::<u32>().ok().filter(|n| *n < 1024).ok_or_else(wrong);
    let mut all = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(wrong());
                }
                all.extend(first..=last);
            }
            None => all.push(number(part)?),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_ranges_and_numbers() {
        let check = |text| list("x", text).map_err(|e| e.to_string());
        assert_eq!(check("0-2,7"), Ok(vec![0, 1, 2, 7]));
        assert_eq!(check("5"), Ok(vec![5]));
        for bad in ["", "a", "3-1", "1,", "-1", "0-99999"] {
            assert_eq!(check(bad), Err(format!("x: {bad:?} is not a list of numbers")));
        }
    }

    #[test]
    fn schedulers_are_checked() {
        let check = |policy: &str, priority, nice, runtime| {
            let wanted = Scheduler {
                policy: policy.into(),
                priority,
                nice,
                runtime,
                ..Scheduler::default()
            };
            scheduler(&wanted).map(|a| (a.policy, a.priority, a.nice)).map_err(|e| e.to_string())
        };
        assert_eq!(check("SCHED_BATCH", None, Some(3), None), Ok((3, 0, 3)));
        assert_eq!(check("SCHED_RR", Some(9), None, None), Ok((2, 9, 0)));
        assert!(
            check("SCHED_NONE", None, None, None).unwrap_err().contains("invalid scheduler policy")
        );
        assert!(
            check("SCHED_OTHER", Some(1), None, None).unwrap_err().contains("scheduler.priority")
        );
        assert!(check("SCHED_OTHER", None, Some(20), None).unwrap_err().contains("scheduler.nice"));
        assert!(check("SCHED_OTHER", None, None, Some(1)).unwrap_err().contains("SchedDeadline"));
        let io = |class: &str, priority| io_priority(&IoPriority { class: class.into(), priority });
        assert_eq!(io("IOPRIO_CLASS_IDLE", 7).unwrap(), (3, 7));
        assert!(io("IOPRIO_CLASS_BE", 8).is_err() && io("", 1).is_err());
        let memory = |mode: &str, nodes: &str| {
            memory_policy(&MemoryPolicy {
                mode: mode.into(),
                nodes: nodes.into(),
                flags: Vec::new(),
            })
        };
        assert_eq!(memory("MPOL_BIND", "0").unwrap(), (2, vec![0]));
        assert!(memory("MPOL_BIND", "").is_err() && memory("MPOL_X", "").is_err());
    }
}
