//! Limits on cgroup v1, read back and felt; those that are felt alike on v2 too.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use stdx::Kind;

use crate::place::{Place, Script, layouts, only, resources, text, wait};

#[test]
fn the_pids_limit_stops_forks() {
    for (name, hierarchies) in layouts() {
        let place = Place::new(&format!("pids-{name}"), hierarchies);
        let group = place.create(r#"{"pids":{"limit":3}}"#).unwrap();
        let output = Script::start(
            &group,
            "for i in 1 2 3 4 5; do sleep 30 >/dev/null 2>&1 & done; echo never",
        )
        .output();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(text(&output.stderr).contains("fork"), "{output:?}");
        let pids = group.stats().unwrap().pids.unwrap();
        assert_eq!((pids.current, pids.limit), (2, Some(3)));
        assert_eq!(group.pids().unwrap().len(), 2);
        group.kill().unwrap();
        assert!(group.wait_empty(Duration::from_secs(10)).unwrap());
        group.remove().unwrap();
    }
}

#[test]
fn the_memory_limit_kills_and_is_told() {
    for (name, hierarchies) in layouts() {
        let place = Place::new(&format!("oom-{name}"), hierarchies);
        let group = place.create(r#"{"memory":{"limit":16777216,"swap":16777216}}"#).unwrap();
        let mut watch = group.oom_watch().unwrap();
        assert!(!watch.check().unwrap());
        let script = Script::start(&group, "exec tail /dev/zero");
        assert!(wait(Some(&watch), Duration::from_secs(20)), "no notice");
        let output = script.output();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(output.status.signal(), Some(9), "{output:?}");
        assert!(watch.check().unwrap());
        assert!(group.oom_kills().unwrap() >= 1);
        let memory = group.stats().unwrap().memory.unwrap();
        assert_eq!(memory.limit, Some(16_777_216));
        assert!(memory.max_usage.unwrap() <= 16_777_216, "{memory:?}");
        group.remove().unwrap();
        // The notice that v1 sends at the end is no kill.
        assert!(!watch.check().unwrap());
    }
}

#[test]
fn cpu_and_memory_limits_are_read_back_and_changed() {
    let Some(hierarchies) = only(false) else { return };
    let place = Place::new("limits", hierarchies);
    let group = place
        .create(
            r#"{"cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"},
                "memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10}}"#,
        )
        .unwrap();
    let expect = |file: &str, value: &str| {
        let controller = file.split('.').next().unwrap();
        assert_eq!(place.read(controller, file), value, "{file}");
    };
    expect("cpu.shares", "512");
    expect("cpu.cfs_quota_us", "50000");
    expect("cpu.cfs_period_us", "100000");
    expect("cpuset.cpus", "0");
    expect("memory.limit_in_bytes", "67108864");
    expect("memory.memsw.limit_in_bytes", "134217728");
    expect("memory.soft_limit_in_bytes", "33554432");
    expect("memory.swappiness", "10");
    let output = Script::start(&group, "grep Cpus_allowed_list /proc/self/status").output();
    assert_eq!(text(&output.stdout).split_whitespace().last(), Some("0"));

    // Up beyond the old sum, then down below the old limit: either order alone would be refused once.
    group.update(&resources(r#"{"memory":{"limit":268435456,"swap":536870912}}"#)).unwrap();
    expect("memory.limit_in_bytes", "268435456");
    group.update(&resources(r#"{"memory":{"limit":33554432,"swap":33554432}}"#)).unwrap();
    expect("memory.memsw.limit_in_bytes", "33554432");
    group.update(&resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
    assert_eq!(group.stats().unwrap().memory.unwrap().limit, None);
    expect("cpu.shares", "512");
    group.update(&resources(r#"{"cpu":{"quota":5000,"period":10000}}"#)).unwrap();
    expect("cpu.cfs_period_us", "10000");
    group.update(&resources(r#"{"cpu":{"quota":-1}}"#)).unwrap();
    expect("cpu.cfs_quota_us", "-1");

    let error = group.update(&resources(r#"{"cpu":{"cpus":"4000"}}"#)).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(
        error.to_string().starts_with("failed to write \"4000\" to /sys/fs/cgroup/cpuset/"),
        "{error}"
    );
    let error = group.update(&resources(r#"{"unified":{"memory.high":"1"}}"#)).unwrap_err();
    assert!(error.to_string().contains("cgroup v1 is in use"), "{error}");
    group.remove().unwrap();
}

#[test]
fn a_memory_limit_below_what_is_used_is_explained() {
    let Some(hierarchies) = only(false) else { return };
    let place = Place::new("usage", hierarchies);
    let group = place.create("{}").unwrap();
    // 32 MB that cannot be reclaimed, held while the shell reads on.
    let mut child = Command::new("/bin/sh")
        .args([
            "-c",
            "read -r go; x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo ready; read -r end",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    group.add(child.id()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap();
    if swaps.lines().count() > 1 {
        println!("skipped: there is swap to go to");
    } else {
        let error =
            group.update(&resources(r#"{"memory":{"limit":4194304}}"#)).unwrap_err().to_string();
        assert!(
            error.starts_with("unable to set memory limit to 4194304 (current usage: "),
            "{error}"
        );
    }
    drop(stdin);
    child.wait().unwrap();
    group.remove().unwrap();
}
