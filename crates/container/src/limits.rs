//! Changing the limits and the restart policy of a container that exists. Pure, with Docker's rules and words.

use crate::spec;
use oci::runtime as oci;
use stdx::{Error, Result};
use store::records::container::{HostConfig, Resources, RestartPolicy};

/// What is to change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// What is not zero, not empty and not `None` changes; the rest stays.
    pub resources: Resources,
    /// The new policy; `None`: the old one.
    pub restart: Option<RestartPolicy>,
}

/// Changes `host`. On an error (a conflict with what stands) nothing has changed.
pub fn apply(host: &mut HostConfig, update: &Update) -> Result<()> {
    let (new, now) = (&update.resources, &host.resources);
    let conflict = |text: &str| Err(Error::conflict(text));
    if new.nano_cpus > 0 && now.cpu_period > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if new.nano_cpus > 0 && now.cpu_quota > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if new.cpu_period > 0 && now.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if new.cpu_quota > 0 && now.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        );
    }
    if new.memory != 0 && new.memory_swap == 0 && new.memory > with_swap(now) {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    if let Some(policy) = &update.restart
        && host.auto_remove
        && !matches!(policy.name.as_str(), "" | "no")
    {
        return conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        );
    }
    let swap = with_swap(now);
    let now = &mut host.resources;
    if new.memory != 0 && new.memory_swap == 0 {
        // What memory and swap together may be was twice the old limit, and stays that.
        now.memory_swap = swap;
    }
    let numbers = [
        (&mut now.memory, new.memory),
        (&mut now.memory_swap, new.memory_swap),
        (&mut now.memory_reservation, new.memory_reservation),
        (&mut now.nano_cpus, new.nano_cpus),
        (&mut now.cpu_shares, new.cpu_shares),
        (&mut now.cpu_period, new.cpu_period),
        (&mut now.cpu_quota, new.cpu_quota),
        (&mut now.cpu_realtime_period, new.cpu_realtime_period),
        (&mut now.cpu_realtime_runtime, new.cpu_realtime_runtime),
    ];
    for (now, new) in numbers.into_iter().filter(|(_, new)| *new != 0) {
        *now = new;
    }
    for (now, new) in
        [(&mut now.cpuset_cpus, &new.cpuset_cpus), (&mut now.cpuset_mems, &new.cpuset_mems)]
    {
        if !new.is_empty() {
            now.clone_from(new);
        }
    }
    if new.blkio_weight != 0 {
        now.blkio_weight = new.blkio_weight;
    }
    if new.pids_limit.is_some() {
        now.pids_limit = new.pids_limit;
    }
    if let Some(policy) = &update.restart {
        host.restart = policy.clone();
    }
    Ok(())
}

/// What memory and swap together may be; Docker doubles a memory limit that came alone.
fn with_swap(r: &Resources) -> i64 {
    if r.memory_swap == 0 && r.memory > 0 { r.memory.saturating_mul(2) } else { r.memory_swap }
}

/// The change for a container that runs: what is not named stays as it is.
pub fn change(new: &Resources) -> oci::Resources {
    let mut limits = spec::limits(new, 0);
    if new.pids_limit.is_none() {
        limits.pids = None;
    }
    // A memory limit that comes alone must not bring a swap limit.
    if let Some(memory) = limits.memory.as_mut().filter(|_| new.memory_swap == 0) {
        memory.swap = None;
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(resources: Resources) -> HostConfig {
        HostConfig { resources, ..HostConfig::default() }
    }

    fn refusal(now: Resources, new: Resources) -> String {
        let mut changed = host(now.clone());
        let update = Update { resources: new, restart: None };
        match apply(&mut changed, &update) {
            Ok(()) => String::new(),
            Err(e) => {
                assert_eq!(changed, host(now), "nothing may have changed");
                e.message().to_owned()
            }
        }
    }

    #[test]
    fn conflicts_with_what_stands_are_refused_in_dockers_words() {
        let cpus = || Resources { nano_cpus: 1, ..Resources::default() };
        let period = || Resources { cpu_period: 10_000, ..Resources::default() };
        let quota = || Resources { cpu_quota: 10_000, ..Resources::default() };
        let memory = |memory| Resources { memory, ..Resources::default() };
        assert!(refusal(period(), cpus()).starts_with("Conflicting options: Nano CPUs cannot"));
        assert!(refusal(quota(), cpus()).contains("as CPU Quota has already"));
        assert!(refusal(cpus(), period()).contains("CPU Period cannot"));
        assert!(refusal(cpus(), quota()).contains("CPU Quota cannot"));
        assert!(refusal(memory(0), memory(64 << 20)).starts_with("Memory limit should be smaller"));
        assert!(refusal(memory(64 << 20), memory(200 << 20)).starts_with("Memory limit should"));
        assert_eq!(refusal(memory(64 << 20), memory(100 << 20)), "");
        assert_eq!(refusal(memory(0), Resources { memory_swap: -1, ..memory(64 << 20) }), "");
        assert_eq!(refusal(Resources::default(), Resources::default()), "");
    }

    #[test]
    fn a_container_that_is_removed_at_its_end_has_no_policy() {
        let policy = |name: &str| RestartPolicy { name: name.to_owned(), maximum_retry_count: 0 };
        let mut host = HostConfig { auto_remove: true, ..HostConfig::default() };
        let update = |name| Update { restart: Some(policy(name)), resources: Resources::default() };
        apply(&mut host, &update("always")).expect_err("a conflict");
        apply(&mut host, &update("no")).unwrap();
        host.auto_remove = false;
        apply(&mut host, &update("always")).unwrap();
        assert_eq!(host.restart, policy("always"));
    }

    #[test]
    fn only_what_is_named_changes() {
        let mut host = host(Resources { memory: 64 << 20, cpu_shares: 3, ..Resources::default() });
        let new = Resources { memory: 100 << 20, pids_limit: Some(-1), ..Resources::default() };
        apply(&mut host, &Update { resources: new.clone(), restart: None }).unwrap();
        let now = &host.resources;
        assert_eq!((now.memory, now.memory_swap, now.cpu_shares), (100 << 20, 128 << 20, 3));
        let change = change(&new);
        assert_eq!(
            change.memory.as_ref().map(|m| (m.limit, m.swap)),
            Some((Some(100 << 20), None))
        );
        assert_eq!(change.pids.map(|p| p.limit), Some(-1));
        assert!(change.cpu.is_none());
        assert!(super::change(&Resources::default()).pids.is_none());
    }
}
