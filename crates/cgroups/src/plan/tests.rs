//! Plans, written as lines: `controller/file<value`.

use std::collections::BTreeMap;

use super::*;

/// A group that has every controller on one version, and some files.
struct Fake {
    on: On,
    without: &'static [&'static str],
    files: BTreeMap<&'static str, &'static str>,
}

impl Present for Fake {
    fn on(&self, controller: &str) -> Option<On> {
        let only_v1 = matches!(controller, "blkio" | "net_cls" | "net_prio");
        let only_v2 = matches!(controller, "io" | UNIFIED);
        let here = match self.on {
            On::V1 => !only_v2,
            On::V2 => !only_v1,
        };
        (here && !self.without.contains(&controller)).then_some(self.on)
    }

    fn current(&self, _: &str, file: &str) -> Result<Option<String>> {
        Ok(self.files.get(file).map(|t| (*t).to_owned()))
    }
}

fn fake(on: On) -> Fake {
    Fake { on, without: &[], files: BTreeMap::new() }
}

fn show(present: &Fake, json: &str) -> String {
    match plan(&serde_json::from_str(json).unwrap(), present) {
        Err(error) => format!("error: {error}"),
        Ok(writes) => {
            let line = |w: &Write| {
                let mark = match w.on_error {
                    OnError::Fail
                    | OnError::ExplainBudget
                    | OnError::ExplainUsage
                    | OnError::ExplainUnified => "",
                    OnError::RetryAfterNext => " (or after)",
                    OnError::IgnoreMissing => " (if any)",
                };
                let controller = if w.controller.is_empty() { "*" } else { w.controller };
                format!("{controller}/{}<{}{mark}", w.files.join("|"), w.value)
            };
            writes.iter().map(line).collect::<Vec<_>>().join("; ")
        }
    }
}

fn check(json: &str, v1: &str, v2: &str) {
    assert_eq!(show(&fake(On::V1), json), v1, "v1 {json}");
    assert_eq!(show(&fake(On::V2), json), v2, "v2 {json}");
}

#[test]
fn nothing_asked_is_nothing_written() {
    check("{}", "", "");
    check(r#"{"memory":{},"cpu":{},"pids":{"limit":0},"blockIO":{}}"#, "", "");
    check(
        r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":5,"disableOOMKiller":false},
            "cpu":{"shares":0,"quota":0,"period":0,"cpus":"","mems":"","realtimeRuntime":0,"realtimePeriod":0},
            "blockIO":{"weight":0}}"#,
        "",
        "",
    );
}

#[test]
fn memory() {
    check(
        r#"{"memory":{"limit":1000,"reservation":500}}"#,
        "memory/memory.limit_in_bytes<1000; memory/memory.soft_limit_in_bytes<500",
        "memory/memory.max<1000; memory/memory.low<500",
    );
    check(
        r#"{"memory":{"limit":1000,"swap":3000}}"#,
        "memory/memory.limit_in_bytes<1000; memory/memory.memsw.limit_in_bytes<3000",
        "memory/memory.swap.max<2000; memory/memory.max<1000",
    );
    check(
        r#"{"memory":{"limit":1000,"swap":-1}}"#,
        "memory/memory.memsw.limit_in_bytes<-1; memory/memory.limit_in_bytes<1000",
        "memory/memory.swap.max<max (if any); memory/memory.max<1000",
    );
    check(
        r#"{"memory":{"limit":-1}}"#,
        "memory/memory.memsw.limit_in_bytes<-1 (if any); memory/memory.limit_in_bytes<-1",
        "memory/memory.swap.max<max (if any); memory/memory.max<max",
    );
    check(
        r#"{"memory":{"swappiness":10,"limit":1000}}"#,
        "memory/memory.limit_in_bytes<1000; memory/memory.swappiness<10",
        "error: cannot set memory swappiness: not supported on cgroup v2",
    );
    check(
        r#"{"memory":{"disableOOMKiller":true}}"#,
        "memory/memory.oom_control<1",
        "error: cannot set disable OOM killer: not supported on cgroup v2",
    );
    let wrong = "error: invalid memory swappiness value: 101 (valid range is 0-100)";
    check(r#"{"memory":{"swappiness":101}}"#, wrong, wrong);
    let wrong = "error: invalid memory value: -2";
    check(r#"{"memory":{"limit":-2}}"#, wrong, wrong);
}

#[test]
fn memory_is_raised_from_above_and_lowered_from_below() {
    let v1 = |limit: &'static str| Fake {
        files: [("memory.limit_in_bytes", limit)].into(),
        ..fake(On::V1)
    };
    let json = r#"{"memory":{"limit":1000,"swap":3000}}"#;
    let raising = "memory/memory.memsw.limit_in_bytes<3000; memory/memory.limit_in_bytes<1000";
    let lowering = "memory/memory.limit_in_bytes<1000; memory/memory.memsw.limit_in_bytes<3000";
    assert_eq!(show(&v1("2000"), json), raising);
    assert_eq!(show(&v1("9223372036854771712"), json), lowering);
    let v2 =
        Fake { files: [("memory.max", "1000"), ("memory.current", "900")].into(), ..fake(On::V2) };
    assert_eq!(show(&v2, r#"{"memory":{"swap":1500}}"#), "memory/memory.swap.max<500");
    assert_eq!(
        show(&v2, r#"{"memory":{"limit":800,"checkBeforeUpdate":true}}"#),
        "error: rejecting memory limit 800 < usage 900"
    );
}

#[test]
fn cpu() {
    check(
        r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1","mems":"0"}}"#,
        "cpu/cpu.shares<1024; cpu/cpu.cfs_period_us<100000 (or after); cpu/cpu.cfs_quota_us<50000; \
         cpuset/cpuset.cpus<0-1; cpuset/cpuset.mems<0",
        "cpu/cpu.weight<100; cpu/cpu.max<50000 100000; cpuset/cpuset.cpus<0-1; cpuset/cpuset.mems<0",
    );
    check(r#"{"cpu":{"quota":-1}}"#, "cpu/cpu.cfs_quota_us<-1", "cpu/cpu.max<max 100000");
    check(r#"{"cpu":{"period":20000}}"#, "cpu/cpu.cfs_period_us<20000", "cpu/cpu.max<max 20000");
    check(
        r#"{"cpu":{"burst":5,"idle":1,"shares":2}}"#,
        "cpu/cpu.shares<2; cpu/cpu.cfs_burst_us<5; cpu/cpu.idle<1",
        "cpu/cpu.weight<1; cpu/cpu.max.burst<5; cpu/cpu.idle<1",
    );
    check(
        r#"{"cpu":{"idle":0,"shares":2}}"#,
        "cpu/cpu.shares<2; cpu/cpu.idle<0",
        "cpu/cpu.idle<0; cpu/cpu.weight<1",
    );
    let refused = "error: cannot set real-time cpu limit: not supported on cgroup v2";
    check(
        r#"{"cpu":{"realtimeRuntime":7,"realtimePeriod":9}}"#,
        "cpu/cpu.rt_period_us<9 (or after); cpu/cpu.rt_runtime_us<7",
        refused,
    );
    let (low, high) = (
        "error: the minimum allowed cpu-shares is 2",
        "error: the maximum allowed cpu-shares is 262144",
    );
    check(r#"{"cpu":{"shares":1}}"#, low, low);
    check(r#"{"cpu":{"shares":262145}}"#, high, high);
}

#[test]
fn what_is_not_given_of_the_v2_bandwidth_stays() {
    let v2 = Fake { files: [("cpu.max", "30000 60000")].into(), ..fake(On::V2) };
    assert_eq!(show(&v2, r#"{"cpu":{"quota":10000}}"#), "cpu/cpu.max<10000 60000");
    assert_eq!(show(&v2, r#"{"cpu":{"period":90000}}"#), "cpu/cpu.max<30000 90000");
    assert_eq!(show(&v2, r#"{"cpu":{"quota":-1}}"#), "cpu/cpu.max<max 60000");
}

#[test]
fn pids_and_huge_pages_and_the_rest() {
    check(r#"{"pids":{"limit":10}}"#, "pids/pids.max<10", "pids/pids.max<10");
    check(r#"{"pids":{"limit":-1}}"#, "pids/pids.max<max", "pids/pids.max<max");
    check(
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":7}]}"#,
        "hugetlb/hugetlb.2MB.limit_in_bytes<7",
        "hugetlb/hugetlb.2MB.max<7",
    );
    let wrong = "error: invalid huge page size \"../x\"";
    check(r#"{"hugepageLimits":[{"pageSize":"../x","limit":7}]}"#, wrong, wrong);
    check(
        r#"{"network":{"classID":5,"priorities":[{"name":"eth0","priority":2}]}}"#,
        "net_cls/net_cls.classid<5; net_prio/net_prio.ifpriomap<eth0 2",
        "error: cannot set network class: not supported on cgroup v2",
    );
    let rdma = "rdma/rdma.max<mlx hca_handle=3 hca_object=4";
    check(r#"{"rdma":{"mlx":{"hcaHandles":3,"hcaObjects":4}}}"#, rdma, rdma);
}

#[test]
fn block_devices() {
    check(
        r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#,
        "blkio/blkio.bfq.weight|blkio.weight<500; blkio/blkio.bfq.weight_device|blkio.weight_device<8:0 20",
        "io/io.weight<4950; io/io.weight<8:0 102",
    );
    let bfq = Fake { files: [("io.bfq.weight", "default 100")].into(), ..fake(On::V2) };
    let both = r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":20}]}}"#;
    assert_eq!(show(&bfq, both), "io/io.bfq.weight<500; io/io.bfq.weight<8:0 20");
    check(
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":10}],
                       "throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0}],
                       "throttleReadIOPSDevice":[{"major":8,"minor":1,"rate":5}],
                       "throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":6}]}}"#,
        "blkio/blkio.throttle.read_bps_device<8:0 10; blkio/blkio.throttle.write_bps_device<8:0 0; \
         blkio/blkio.throttle.read_iops_device<8:1 5; blkio/blkio.throttle.write_iops_device<8:1 6",
        "io/io.max<8:0 rbps=10; io/io.max<8:0 wbps=max; io/io.max<8:1 riops=5; io/io.max<8:1 wiops=6",
    );
    check(
        r#"{"blockIO":{"leafWeight":10}}"#,
        "blkio/blkio.leaf_weight<10",
        "error: cannot set blkio leaf weight: not supported on cgroup v2",
    );
    let wrong = "error: invalid blkio weight 9 (range is 10-1000)";
    check(r#"{"blockIO":{"weight":9}}"#, wrong, wrong);
}

#[test]
fn unified_files() {
    let v1 = "error: cannot set unified resources: they are for cgroup v2, and cgroup v1 is in use";
    check(
        r#"{"unified":{"memory.high":"5","io.max":"8:0 rbps=1\n8:1 rbps=2\n"}}"#,
        v1,
        "*/io.max<8:0 rbps=1; */io.max<8:1 rbps=2; */memory.high<5",
    );
    for (file, why) in [
        ("../x", "must be a file name (no slashes)"),
        ("memory", "must be in the form CONTROLLER.PARAMETER"),
        (".high", "must be in the form CONTROLLER.PARAMETER"),
        ("cgroup.procs", "is no limit"),
        ("cgroup.kill", "is no limit"),
    ] {
        let json = format!(r#"{{"unified":{{"{file}":"1"}}}}"#);
        assert_eq!(show(&fake(On::V2), &json), format!("error: unified resource \"{file}\" {why}"));
    }
    assert_eq!(
        show(&fake(On::V2), r#"{"unified":{"cgroup.max.depth":"3"}}"#),
        "*/cgroup.max.depth<3"
    );
}

#[test]
fn a_missing_controller_is_named() {
    let poor =
        Fake { without: &["pids", "memory", "cpu", "cpuset", "io", "blkio"], ..fake(On::V1) };
    for (json, text) in [
        (
            r#"{"pids":{"limit":1}}"#,
            "cannot set pids limit: the pids cgroup controller is not available",
        ),
        (
            r#"{"memory":{"limit":1}}"#,
            "cannot set memory limit: the memory cgroup controller is not available",
        ),
        (
            r#"{"cpu":{"shares":5}}"#,
            "cannot set cpu limit: the cpu cgroup controller is not available",
        ),
        (
            r#"{"cpu":{"cpus":"0"}}"#,
            "cannot set cpuset: the cpuset cgroup controller is not available",
        ),
        (
            r#"{"blockIO":{"weight":10}}"#,
            "cannot set blkio weight: the io cgroup controller is not available",
        ),
    ] {
        assert_eq!(show(&poor, json), format!("error: {text}"));
    }
}
