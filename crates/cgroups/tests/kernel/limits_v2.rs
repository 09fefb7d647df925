//! Limits on cgroup v2, read back and felt.

use std::os::linux::fs::MetadataExt as _;
use std::time::Duration;

use cgroups::Group;
use stdx::Kind;

use crate::place::{Place, Script, only, resources, text};

/// The numbers of the device that holds temporary files.
fn disk() -> (u32, u32) {
    let device = std::fs::metadata(std::env::temp_dir()).unwrap().st_dev();
    (rustix::fs::major(device), rustix::fs::minor(device))
}

#[test]
fn on_v2_limits_are_read_back_and_changed() {
    let Some(hierarchies) = only(true) else { return };
    let place = Place::new("limits2", hierarchies);
    let (major, minor) = disk();
    let json = format!(
        r#"{{"cpu":{{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"}},
            "memory":{{"limit":67108864,"swap":134217728,"reservation":33554432}},
            "pids":{{"limit":77}},
            "unified":{{"memory.high":"60000000","pids.max":"78"}},
            "blockIO":{{"weight":300,"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":1048576}}],
                "throttleWriteIOPSDevice":[{{"major":{major},"minor":{minor},"rate":100}}]}}}}"#
    );
    let group = place.create(&json).unwrap();
    let expect = |file: &str, value: &str| {
        let controller = file.split('.').next().unwrap();
        assert_eq!(place.read(controller, file), value, "{file}");
    };
    expect("cpu.weight", "59");
    expect("cpu.max", "50000 100000");
    expect("cpuset.cpus", "0");
    expect("cpuset.mems", "0");
    expect("memory.max", "67108864");
    expect("memory.swap.max", "67108864");
    expect("memory.low", "33554432");
    expect("memory.high", "59998208");
    expect("pids.max", "78");
    expect("io.max", &format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100"));
    // Whether bfq's own file is there depends on the schedulers in use.
    if place.dir("io").join("io.bfq.weight").exists() {
        expect("io.bfq.weight", "default 300");
    } else {
        expect("io.weight", "default 2930");
    }
    let output = Script::start(&group, "grep Cpus_allowed_list /proc/self/status").output();
    assert_eq!(text(&output.stdout).split_whitespace().last(), Some("0"));

    let update = |json: &str| group.update(&resources(json)).unwrap();
    update(r#"{"memory":{"limit":268435456,"swap":536870912}}"#);
    expect("memory.swap.max", "268435456");
    update(r#"{"memory":{"limit":33554432,"swap":33554432}}"#);
    expect("memory.swap.max", "0");
    // Swap alone is measured against the limit that stands.
    update(r#"{"memory":{"swap":50331648}}"#);
    expect("memory.swap.max", "16777216");
    update(r#"{"memory":{"limit":-1,"reservation":-1}}"#);
    expect("memory.max", "max");
    expect("memory.swap.max", "max");
    expect("memory.low", "max");
    assert_eq!(group.stats().unwrap().memory.unwrap().limit, None);
    update(r#"{"cpu":{"quota":5000}}"#);
    expect("cpu.max", "5000 100000");
    update(r#"{"cpu":{"period":10000}}"#);
    expect("cpu.max", "5000 10000");
    update(r#"{"cpu":{"quota":-1}}"#);
    expect("cpu.max", "max 10000");
    update(&format!(
        r#"{{"blockIO":{{"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":0}}]}}}}"#
    ));
    expect("io.max", &format!("{major}:{minor} rbps=max wbps=max riops=max wiops=100"));
    update(r#"{"pids":{"limit":-1}}"#);
    expect("pids.max", "max");
    group.remove().unwrap();
}

#[test]
fn what_v2_lacks_or_refuses_is_said() {
    let Some(hierarchies) = only(true) else { return };
    let place = Place::new("refused2", hierarchies);
    let group = place.create("{}").unwrap();
    for (json, words) in [
        (r#"{"cpu":{"cpus":"4000"}}"#, "failed to write \"4000\" to /sys/fs/cgroup/"),
        (
            r#"{"memory":{"swappiness":10}}"#,
            "cannot set memory swappiness: not supported on cgroup v2",
        ),
        (
            r#"{"memory":{"disableOOMKiller":true}}"#,
            "cannot set disable OOM killer: not supported on cgroup v2",
        ),
        (
            r#"{"cpu":{"realtimeRuntime":10}}"#,
            "cannot set real-time cpu limit: not supported on cgroup v2",
        ),
        (r#"{"network":{"classID":1}}"#, "cannot set network class: not supported on cgroup v2"),
        (r#"{"unified":{"nonsense.max":"1"}}"#, "unified resource \"nonsense.max\" can't be set"),
        (r#"{"unified":{"cgroup.procs":"1"}}"#, "unified resource \"cgroup.procs\" is no limit"),
        (r#"{"memory":{"swap":1048576}}"#, "unable to set swap limit without memory limit"),
    ] {
        let error = group.update(&resources(json)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{json}: {error}");
        assert!(error.to_string().starts_with(words), "{json}: {error}");
    }
    // What is in use is not thrown out when the caller asks to look first.
    let script = Script::start(
        &group,
        "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo ready; exec sleep 60",
    );
    let mut child = script.child;
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let error = group
        .update(&resources(r#"{"memory":{"limit":4194304,"checkBeforeUpdate":true}}"#))
        .unwrap_err();
    assert!(error.to_string().starts_with("rejecting memory limit 4194304 < usage "), "{error}");
    group.kill().unwrap();
    child.wait().unwrap();
    group.remove().unwrap();
}

#[test]
fn on_v2_everything_is_counted() {
    let Some(hierarchies) = only(true) else { return };
    let place = Place::new("stats2", hierarchies);
    let group = place.create(r#"{"cpu":{"quota":20000,"period":100000}}"#).unwrap();
    let file = std::env::temp_dir().join(&place.name);
    let script = format!(
        "dd if=/dev/zero of={0} bs=64k count=16 conv=fsync 2>/dev/null; rm {0}; i=0; \
         while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0 & wait",
        file.display()
    );
    assert!(Script::start(&group, &script).output().status.success());
    let stats = group.stats().unwrap();
    let cpu = stats.cpu.unwrap();
    assert!(cpu.total > 0 && cpu.user <= cpu.total && cpu.periods > 0, "{cpu:?}");
    assert!(cpu.throttled_periods > 0 && cpu.throttled > 0, "{cpu:?}");
    let memory = stats.memory.unwrap();
    assert!(
        memory.max_usage.unwrap() > 0 && memory.details.contains_key("inactive_file"),
        "{memory:?}"
    );
    assert_eq!(stats.pids.unwrap().limit, None);
    let (major, minor) = disk();
    let written = stats
        .io_bytes
        .iter()
        .find(|e| (e.major, e.minor, e.operation.as_str()) == (major, minor, "write"));
    assert!(written.unwrap().value >= 1 << 20, "{:?}", stats.io_bytes);
    group.remove().unwrap();
}

#[test]
fn on_v2_a_group_of_ones_own_can_be_given_groups() {
    let Some(hierarchies) = only(true) else { return };
    let place = Place::new("delegate2", hierarchies);
    let group = place.create("{}").unwrap();
    // As an init system in a container does it: its processes into a leaf, then the controllers for all leaves. While
    // a process lives in the group itself the kernel refuses that.
    let here = place.dir("memory");
    let script = format!(
        "cd {}; echo +memory >cgroup.subtree_control && echo too early; mkdir leaf; echo 0 >leaf/cgroup.procs; \
         echo +memory +pids >cgroup.subtree_control && read given <leaf/cgroup.controllers; echo $given; \
         exec sleep 60",
        here.display()
    );
    let script = Script::start(&group, &script);
    let mut child = script.child;
    let mut line = [0; 12];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(text(&line), "memory pids\n");
    // One more, as an exec: the group itself takes nobody any more.
    let error = group.add(std::process::id()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
    assert_eq!(group.pids().unwrap(), [child.id()]);
    group.freeze().unwrap();
    group.thaw().unwrap();
    group.kill().unwrap();
    assert!(group.wait_empty(Duration::from_secs(10)).unwrap());
    child.wait().unwrap();
    group.remove().unwrap();
    assert!(Group::open(&place.hierarchies, &place.path()).is_err());
}
