//! cgroup v2 against a directory tree that looks like one, since few build machines have v2 controllers.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;

use cgroups::{Group, Hierarchies};
use oci::runtime::{DeviceRule, Resources};
use stdx::Kind;

/// A directory with the interface files that matter, gone when dropped.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("cgroups-tree-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("gantry")).unwrap();
        let tree = Self { root };
        tree.put("cgroup.subtree_control", "cpu memory pids io\n");
        tree.put("gantry/cgroup.subtree_control", "cpu memory pids io\n");
        tree
    }

    fn put(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn get(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.join(file)).unwrap()
    }

    fn hierarchies(&self) -> Hierarchies {
        format!("2:cpu,memory,pids,io:{}", self.root.display()).parse().unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

fn everything() -> Vec<DeviceRule> {
    vec![DeviceRule { allow: true, kind: Some("a".to_owned()), ..DeviceRule::default() }]
}

#[test]
fn a_group_is_made_beneath_one_that_has_the_controllers() {
    let tree = Tree::new("make");
    let group = Group::create(
        &tree.hierarchies(),
        "/gantry/a",
        &Resources { devices: everything(), ..Resources::default() },
    )
    .unwrap();
    assert!(tree.root.join("gantry/a").is_dir());
    assert!(group.enter_fd().is_some());
    assert_eq!(tree.hierarchies().groups("gantry").unwrap(), ["a"]);
    group.remove().unwrap();
    assert!(!tree.root.join("gantry/a").exists());
    group.remove().unwrap();
}

#[test]
fn a_failed_limit_names_file_and_value_and_leaves_nothing() {
    let tree = Tree::new("undo");
    let mut wanted = resources(r#"{"memory":{"limit":4096}}"#);
    wanted.devices = everything();
    let error = Group::create(&tree.hierarchies(), "gantry/a", &wanted).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let text = error.to_string();
    assert!(text.starts_with("this kernel has no memory.max, so \"4096\" cannot be set"), "{text}");
    assert!(text.contains("gantry/a/memory.max"), "{text}");
    assert!(!tree.root.join("gantry/a").exists());
}

#[test]
fn limits_are_written_and_counters_read() {
    let tree = Tree::new("limits");
    tree.put("gantry/a/cgroup.controllers", "cpu memory pids io\n");
    for file in [
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "cpu.weight",
        "pids.max",
        "io.max",
        "memory.high",
    ] {
        tree.put(&format!("gantry/a/{file}"), "");
    }
    tree.put("gantry/a/cpu.max", "20000 50000\n");
    tree.put("gantry/a/memory.current", "77\n");
    tree.put("gantry/a/memory.peak", "88\n");
    tree.put("gantry/a/memory.swap.current", "5\n");
    tree.put("gantry/a/memory.stat", "anon 10\ninactive_file 3\n");
    tree.put("gantry/a/memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\n");
    tree.put("gantry/a/pids.current", "6\n");
    tree.put("gantry/a/cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 9\nnr_throttled 3\nthrottled_usec 7\n");
    tree.put("gantry/a/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n");
    let group = Group::open(&tree.hierarchies(), "gantry/a").unwrap();
    group
        .update(&resources(
            r#"{"memory":{"limit":1000,"swap":1500,"reservation":600},"cpu":{"shares":1024,"quota":10000},
                "pids":{"limit":-1},"unified":{"memory.high":"900"},
                "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":10}]}}"#,
        ))
        .unwrap();
    for (file, value) in [
        ("memory.max", "1000"),
        ("memory.swap.max", "500"),
        ("memory.low", "600"),
        ("memory.high", "900"),
        ("cpu.weight", "100"),
        ("cpu.max", "10000 50000\n"),
        ("pids.max", "max"),
        ("io.max", "8:0 rbps=10"),
    ] {
        assert_eq!(tree.get(&format!("gantry/a/{file}")), value, "{file}");
    }
    let stats = group.stats().unwrap();
    let memory = stats.memory.unwrap();
    assert_eq!(
        (memory.usage, memory.max_usage, memory.limit, memory.failures),
        (77, Some(88), Some(1000), 4)
    );
    assert_eq!((memory.swap_usage, memory.details["inactive_file"]), (Some(5), 3));
    let cpu = stats.cpu.unwrap();
    assert_eq!((cpu.total, cpu.user, cpu.system), (30_000, 20_000, 10_000));
    assert_eq!((cpu.periods, cpu.throttled_periods, cpu.throttled), (9, 3, 7_000));
    let pids = stats.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (6, None));
    assert_eq!((stats.io_bytes[1].operation.as_str(), stats.io_bytes[1].value), ("write", 2));
    assert_eq!(group.oom_kills().unwrap(), 2);

    let error =
        group.update(&resources(r#"{"unified":{"misc.max":"x"}}"#)).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "unified resource \"misc.max\" can't be set: controller \"misc\" not available"
        ),
        "{error}"
    );
}

#[test]
fn out_of_memory_is_told_by_the_events_file() {
    let tree = Tree::new("oom");
    tree.put("gantry/a/cgroup.controllers", "memory\n");
    tree.put("gantry/a/memory.events", "oom 0\noom_kill 0\n");
    let group = Group::open(&tree.hierarchies(), "gantry/a").unwrap();
    let mut watch = group.oom_watch().unwrap();
    let readable = |watch: &cgroups::OomWatch| {
        let mut fds = [rustix::event::PollFd::new(watch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
            .unwrap()
            > 0
    };
    assert!(!readable(&watch));
    tree.put("gantry/a/memory.events", "oom 1\noom_kill 0\n");
    assert!(readable(&watch));
    assert!(!watch.check().unwrap(), "the limit was hit, nobody was killed");
    assert!(!readable(&watch));
    tree.put("gantry/a/memory.events", "oom 1\noom_kill 1\n");
    assert!(readable(&watch) && watch.check().unwrap());
    assert!(!watch.check().unwrap());
}

#[test]
fn processes_of_groups_beneath_count_and_orders_go_to_the_core_files() {
    let tree = Tree::new("life");
    tree.put("gantry/a/cgroup.controllers", "");
    tree.put("gantry/a/cgroup.procs", "5\n0\n3\n");
    tree.put("gantry/a/inner/cgroup.procs", "9\n3\n");
    tree.put("gantry/a/cgroup.events", "populated 0\nfrozen 1\n");
    for file in ["cgroup.freeze", "cgroup.kill"] {
        tree.put(&format!("gantry/a/{file}"), "");
    }
    let group = Group::open(&tree.hierarchies(), "gantry/a").unwrap();
    assert_eq!(group.pids().unwrap(), [3, 5, 9]);
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    group.thaw().unwrap();
    assert_eq!(tree.get("gantry/a/cgroup.freeze"), "0");
    group.kill().unwrap();
    assert_eq!(tree.get("gantry/a/cgroup.kill"), "1");
    assert!(group.wait_empty(std::time::Duration::ZERO).unwrap());
}

#[test]
fn what_does_not_exist_is_not_found() {
    let tree = Tree::new("none");
    assert_eq!(Group::open(&tree.hierarchies(), "gantry/none").unwrap_err().kind(), Kind::NotFound);
    assert!(tree.hierarchies().groups("other").unwrap().is_empty());
}

#[test]
fn a_process_beneath_the_group_is_found_there_and_nowhere_else() {
    let tree = Tree::new("beneath");
    let nothing = Resources { devices: everything(), ..Resources::default() };
    let group = Group::create(&tree.hierarchies(), "gantry/a", &nothing).unwrap();
    std::fs::create_dir_all(tree.root.join("gantry/a/init/deep")).unwrap();
    std::fs::create_dir_all(tree.root.join("gantry/ab")).unwrap();
    for (text, expected) in [
        ("0::/gantry/a/init\n", Some("gantry/a/init")),
        ("0::/gantry/a/init/deep\n", Some("gantry/a/init/deep")),
        // Beneath a mount that does not begin at the hierarchy's root.
        ("0::/outer/gantry/a/init\n", Some("gantry/a/init")),
        ("0::/gantry/a\n", None),
        ("0::/gantry/ab\n", None),
        ("4:memory:/gantry/a/init\n", None),
        ("", None),
    ] {
        let found = group.beneath(text).unwrap().map(|fd| {
            use std::os::fd::AsRawFd as _;
            std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
        });
        assert_eq!(found, expected.map(|path| tree.root.join(path)), "{text}");
    }
    assert!(group.beneath("0::/gantry/a/../../../etc").is_err());
    assert!(group.beneath("0::/gantry/a/gone").is_err());
}
