//! The body of `POST /containers/{id}/update` → what the engine is asked for.

use super::host;
use super::limits::{self, Capacity};
use api::{ApiVersion, ContainerUpdateBody, HostConfig};
use engine::Update;
use stdx::Result;
use store::records::container::{Resources, RestartPolicy};

/// Checks and converts a body. Texts are `dockerd`'s.
pub(crate) fn to_engine(
    mut body: ContainerUpdateBody,
    version: ApiVersion,
    capacity: &Capacity,
) -> Result<Update> {
    if version < ApiVersion::v1(40) {
        body.pids_limit = None;
    }
    let wire = HostConfig {
        cpu_shares: body.cpu_shares,
        memory: body.memory,
        nano_cpus: body.nano_cpus,
        blkio_weight: body.blkio_weight,
        cpu_period: body.cpu_period,
        cpu_quota: body.cpu_quota,
        cpu_realtime_period: body.cpu_realtime_period,
        cpu_realtime_runtime: body.cpu_realtime_runtime,
        cpuset_cpus: body.cpuset_cpus,
        cpuset_mems: body.cpuset_mems,
        memory_reservation: body.memory_reservation,
        memory_swap: body.memory_swap,
        restart_policy: body.restart_policy,
        ..HostConfig::default()
    };
    // The memory limit that goes with a new one for swap may be there already.
    let checked = if wire.memory == 0 && wire.memory_swap > 0 {
        HostConfig { memory_swap: 0, ..wire.clone() }
    } else {
        wire.clone()
    };
    limits::check(&checked, capacity)?;
    host::restart(&wire)?;
    let policy = wire.restart_policy;
    Ok(Update {
        resources: Resources {
            memory: wire.memory,
            memory_swap: wire.memory_swap,
            memory_reservation: wire.memory_reservation,
            nano_cpus: wire.nano_cpus,
            cpu_shares: wire.cpu_shares,
            cpu_period: wire.cpu_period,
            cpu_quota: wire.cpu_quota,
            cpu_realtime_period: wire.cpu_realtime_period,
            cpu_realtime_runtime: wire.cpu_realtime_runtime,
            cpuset_cpus: wire.cpuset_cpus,
            cpuset_mems: wire.cpuset_mems,
            // 0 and all that is negative: unlimited.
            pids_limit: body.pids_limit.map(|n| if n > 0 { n } else { -1 }),
            blkio_weight: wire.blkio_weight,
            ..Resources::default()
        },
        restart: (!policy.name.is_empty()).then_some(RestartPolicy {
            name: policy.name,
            maximum_retry_count: policy.maximum_retry_count,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Update> {
        let capacity = limits::tests::capacity();
        to_engine(api::json::from_slice(json.as_bytes()).unwrap(), api::MAX, &capacity)
    }

    #[test]
    fn refusals_are_dockers() {
        let refused = |json: &str| check(json).expect_err(json).message().to_owned();
        assert_eq!(refused(r#"{"Memory":4}"#), "Minimum memory limit allowed is 6MB");
        assert!(refused(r#"{"CpusetCpus":"99"}"#).starts_with("Requested CPUs are not available"));
        assert!(
            refused(r#"{"RestartPolicy":{"Name":"foo"}}"#)
                .starts_with("invalid restart policy: unknown policy 'foo'; use one of")
        );
        assert_eq!(
            refused(r#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":3}}"#),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        );
    }

    #[test]
    fn what_is_not_named_is_left_alone() {
        assert_eq!(check("{}").unwrap(), Update::default());
        for unlimited in [r#"{"PidsLimit":-1}"#, r#"{"PidsLimit":0}"#] {
            assert_eq!(check(unlimited).unwrap().resources.pids_limit, Some(-1));
        }
        assert_eq!(
            check(r#"{"MemorySwap":100000000}"#).unwrap().resources.memory_swap,
            100_000_000
        );
    }
}
