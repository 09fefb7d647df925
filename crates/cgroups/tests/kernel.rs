//! The real kernel's cgroups: each test has a group of its own beneath the roots and takes it away again.
//!
//! Needs root and v1 memory, pids, cpu, cpuset, devices and freezer controllers (hybrid hosts test both halves).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that starts processes to limit"
)]

use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cgroups::{Group, Hierarchies, Version};
use oci::runtime::Resources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stdx::Kind;

/// A name beneath the roots that is cleaned up, whatever happened.
struct Place {
    hierarchies: Hierarchies,
    name: String,
}

impl Place {
    fn new(name: &str, hierarchies: Hierarchies) -> Self {
        Self { hierarchies, name: format!("gantry-test-{}-{name}", std::process::id()) }
    }

    fn path(&self) -> String {
        format!("{}/c", self.name)
    }

    fn create(&self, json: &str) -> stdx::Result<Group> {
        Group::create(&self.hierarchies, &self.path(), &resources(json))
    }

    /// Where the group is in the hierarchy of `controller`.
    fn dir(&self, controller: &str) -> PathBuf {
        let text = self.hierarchies.to_string();
        let line = text
            .lines()
            .find(|l| l.split(':').nth(1).unwrap().split(',').any(|c| c == controller))
            .unwrap();
        PathBuf::from(line.splitn(3, ':').nth(2).unwrap()).join(self.path())
    }

    fn read(&self, controller: &str, file: &str) -> String {
        std::fs::read_to_string(self.dir(controller).join(file)).unwrap().trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(group) = Group::open(&self.hierarchies, &self.name) else { return };
        group.kill().unwrap();
        group.remove().unwrap();
    }
}

/// Every hierarchy of the host, and the v1 ones alone where there is a v2 one beside them; `None` where tests cannot run.
fn layouts() -> Option<Vec<(&'static str, Hierarchies)>> {
    let all = Hierarchies::detect().unwrap();
    if !rustix::process::geteuid().is_root() || all.version() == Version::V2 {
        println!("skipped: needs root and cgroup v1");
        return None;
    }
    let v1: String =
        all.to_string().lines().filter(|l| l.starts_with('1')).map(|l| format!("{l}\n")).collect();
    Some(vec![("all", all), ("v1", v1.parse().unwrap())])
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// A shell that waits until it is in the group, then runs `script`.
struct Script {
    child: Child,
}

impl Script {
    fn start(group: &Group, script: &str) -> Self {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read -r go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        group.add(child.id()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        Self { child }
    }

    fn output(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for an event, or only for time to pass when there is none to wait for.
fn wait(fd: Option<&dyn AsFd>, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    match fd {
        Some(fd) => {
            poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)], Some(&timeout))
                .unwrap()
                > 0
        }
        None => poll(&mut [], Some(&timeout)).unwrap() > 0,
    }
}

#[test]
fn the_pids_limit_stops_forks() {
    for (name, hierarchies) in layouts().into_iter().flatten() {
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
    for (name, hierarchies) in layouts().into_iter().flatten() {
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
fn frozen_processes_stand_still_and_can_be_killed() {
    for (name, hierarchies) in layouts().into_iter().flatten() {
        let place = Place::new(&format!("freeze-{name}"), hierarchies);
        let group = place.create("{}").unwrap();
        let script = Script::start(&group, "while :; do :; done");
        let used = |group: &Group| group.stats().unwrap().cpu.unwrap().total;
        let moves = |group: &Group| {
            let before = used(group);
            let deadline = Instant::now() + Duration::from_secs(10);
            while used(group) == before && Instant::now() < deadline {
                wait(None, Duration::from_millis(5));
            }
            used(group) > before
        };
        assert!(moves(&group));
        group.freeze().unwrap();
        assert!(group.is_frozen().unwrap());
        let before = used(&group);
        wait(None, Duration::from_millis(100));
        assert_eq!(used(&group), before);
        group.thaw().unwrap();
        assert!(!group.is_frozen().unwrap() && moves(&group));
        group.freeze().unwrap();
        group.kill().unwrap();
        assert!(group.wait_empty(Duration::from_secs(10)).unwrap());
        assert!(!script.output().status.success());
        group.remove().unwrap();
    }
}

#[test]
fn devices_are_refused_until_they_are_allowed() {
    for (name, hierarchies) in layouts().into_iter().flatten() {
        let place = Place::new(&format!("dev-{name}"), hierarchies);
        // What Docker writes first.
        let group = place.create(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
        let dir = std::env::temp_dir().join(&place.name);
        std::fs::create_dir(&dir).unwrap();
        // /dev/mem, /dev/kmsg: nobody's. /dev/null: everybody's.
        let script = format!(
            "cd {}; mknod mem c 1 1 && echo made; mknod kmsg c 1 11; cat mem; exec 3>kmsg; echo never",
            dir.display()
        );
        let output =
            Script::start(&group, &format!("echo x >/dev/null; head -c1 /dev/zero; {script}"))
                .output();
        assert_eq!(text(&output.stdout), "\0made\n", "{output:?}");
        assert_eq!(
            text(&output.stderr).matches("Operation not permitted").count(),
            2,
            "{output:?}"
        );

        let open = format!("exec 3>{}/kmsg; echo opened", dir.display());
        group
            .update(&resources(
                r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#,
            ))
            .unwrap();
        assert_eq!(text(&Script::start(&group, &open).output().stdout), "opened\n");
        assert!(place.read("devices", "devices.list").contains("c 1:11 rw"));
        group.update(&resources(r#"{"devices":[{"allow":false}]}"#)).unwrap();
        assert!(
            text(&Script::start(&group, &open).output().stderr).contains("Operation not permitted")
        );
        std::fs::remove_dir_all(&dir).unwrap();
        group.remove().unwrap();
    }
}

#[test]
fn cpu_and_memory_limits_are_read_back_and_changed() {
    let Some((_, hierarchies)) = layouts().and_then(|l| l.into_iter().next()) else { return };
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
    let Some((_, hierarchies)) = layouts().and_then(|l| l.into_iter().next()) else { return };
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

#[test]
fn what_fails_leaves_nothing_and_what_lives_is_not_taken_over() {
    for (name, hierarchies) in layouts().into_iter().flatten() {
        let place = Place::new(&format!("undo-{name}"), hierarchies);
        place.create(r#"{"cpu":{"cpus":"4000"}}"#).unwrap_err();
        assert_eq!(
            Group::open(&place.hierarchies, &place.path()).unwrap_err().kind(),
            Kind::NotFound
        );

        // A leftover is made anew, also with groups beneath it: its limit is gone.
        place.create(r#"{"pids":{"limit":5}}"#).unwrap();
        std::fs::create_dir(place.dir("pids").join("inner")).unwrap();
        let group = place.create("{}").unwrap();
        assert_eq!(place.read("pids", "pids.max"), "max");

        let script = Script::start(&group, "exec sleep 60");
        let error = place.create("{}").unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().starts_with("container's cgroup is not empty"), "{error}");
        assert_eq!(place.hierarchies.groups(&place.name).unwrap(), ["c"]);

        // Adopted by path, as after a restart of the daemon.
        let adopted =
            Group::open(&place.hierarchies.to_string().parse().unwrap(), &place.path()).unwrap();
        assert_eq!(adopted.pids().unwrap(), [script.child.id()]);
        adopted.kill().unwrap();
        script.output();
        adopted.remove().unwrap();
        assert_eq!(place.hierarchies.groups(&place.name).unwrap(), [""; 0]);
    }
}

#[test]
fn groups_made_inside_go_with_it() {
    for (name, hierarchies) in layouts().into_iter().flatten() {
        let place = Place::new(&format!("nest-{name}"), hierarchies);
        let group = place.create("{}").unwrap();
        // As an init system inside the container would.
        for line in place.hierarchies.to_string().lines() {
            let mount = PathBuf::from(line.splitn(3, ':').nth(2).unwrap());
            std::fs::create_dir_all(mount.join(place.path()).join("inner/most")).unwrap();
        }
        // A v1 cpuset made by hand has no processors and takes nobody.
        for file in [
            "inner/cpuset.cpus",
            "inner/cpuset.mems",
            "inner/most/cpuset.cpus",
            "inner/most/cpuset.mems",
        ] {
            std::fs::write(place.dir("cpuset").join(file), "0").unwrap();
        }
        let inner =
            Group::open(&place.hierarchies, &format!("{}/inner/most", place.path())).unwrap();
        let script = Script::start(&inner, "sleep 60 & sleep 60 & wait");
        let deadline = Instant::now() + Duration::from_secs(10);
        while group.pids().unwrap().len() < 3 && Instant::now() < deadline {
            wait(None, Duration::from_millis(5));
        }
        assert_eq!(group.pids().unwrap().len(), 3);
        assert!(!group.wait_empty(Duration::from_millis(20)).unwrap());
        // Removing waits for those who die and takes inner groups along.
        group.kill().unwrap();
        group.remove().unwrap();
        script.output();
        assert!(Group::open(&place.hierarchies, &place.path()).is_err());
    }
}

#[test]
fn a_group_costs_little() {
    for (name, hierarchies) in layouts().into_iter().flatten() {
        let place = Place::new(&format!("cost-{name}"), hierarchies);
        let _keeps_the_parent =
            Group::create(&place.hierarchies, &format!("{}/x", place.name), &resources("{}"))
                .unwrap();
        let usual = r#"{"devices":[{"allow":false,"access":"rwm"}],"pids":{"limit":4096}}"#;
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..20 {
            let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
            let start = Instant::now();
            let group = place.create(usual).unwrap();
            times[0].push(start.elapsed());
            let start = Instant::now();
            group.add(child.id()).unwrap();
            times[1].push(start.elapsed());
            let start = Instant::now();
            let _stats = group.stats().unwrap();
            times[2].push(start.elapsed());
            drop(child.stdin.take());
            child.wait().unwrap();
            let start = Instant::now();
            group.remove().unwrap();
            times[3].push(start.elapsed());
        }
        times.iter_mut().for_each(|t| t.sort_unstable());
        let [create, add, stats, remove] = times.map(|t| t[t.len() / 2]);
        println!("{name}: create {create:?}, add {add:?}, stats {stats:?}, remove {remove:?}");
        assert!(create < Duration::from_millis(200), "{create:?}");
    }
}

#[test]
fn on_v2_devices_are_refused_by_a_program() {
    let Some(layouts) = layouts() else { return };
    let all = layouts[0].1.to_string();
    let Some(unified) = all.lines().find(|l| l.starts_with('2')) else {
        println!("skipped: no v2 hierarchy is mounted");
        return;
    };
    // The v2 hierarchy alone, without the controllers: those would have to be enabled in the host's root.
    let mount = unified.splitn(3, ':').nth(2).unwrap();
    let place = Place::new("ebpf", format!("2::{mount}").parse().unwrap());
    let group = place.create(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
    let dir = std::env::temp_dir().join(&place.name);
    std::fs::create_dir(&dir).unwrap();
    let script = format!(
        "echo x >/dev/null; head -c1 /dev/zero; cd {}; mknod mem c 1 1 && echo made; mknod kmsg c 1 11; cat mem; \
         exec 3>kmsg; echo never",
        dir.display()
    );
    let output = Script::start(&group, &script).output();
    assert_eq!(text(&output.stdout), "\0made\n", "{output:?}");
    assert_eq!(text(&output.stderr).matches("Operation not permitted").count(), 2, "{output:?}");

    let attached = || sys::bpf::DeviceProgram::attached(group.enter_fd().unwrap()).unwrap().len();
    assert_eq!(attached(), 1);
    group
        .update(&resources(
            r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"w"}]}"#,
        ))
        .unwrap();
    assert_eq!(attached(), 1, "replaced, not added");
    let open = |how: &str| {
        text(
            &Script::start(&group, &format!("exec 3{how}{}/kmsg; echo opened", dir.display()))
                .output()
                .stdout,
        )
    };
    assert_eq!(open(">"), "opened\n");
    assert_eq!(open("<"), "", "only writing was allowed");
    group
        .update(&resources(
            r#"{"devices":[{"allow":true},{"allow":false,"type":"c","major":1,"minor":11}]}"#,
        ))
        .unwrap();
    assert_eq!(open(">"), "");
    let made =
        Script::start(&group, &format!("cd {}; mknod other b 7 77 && echo made", dir.display()))
            .output();
    assert_eq!(text(&made.stdout), "made\n");
    std::fs::remove_dir_all(&dir).unwrap();

    // A program that the kernel refuses says why: it ends without an answer.
    let error = sys::bpf::DeviceProgram::load(&[[0xb7, 0, 0, 0, 0, 0, 0, 0]]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("eBPF device program refused"), "{error}");
    group.kill().unwrap();
    group.remove().unwrap();
}
