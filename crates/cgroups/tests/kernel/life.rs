//! Groups are made, frozen, killed and removed, whatever lives in them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgroups::Group;
use stdx::Kind;

use crate::place::{Place, Script, layouts, resources, wait};

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    for (name, hierarchies) in layouts() {
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
fn what_fails_leaves_nothing_and_what_lives_is_not_taken_over() {
    for (name, hierarchies) in layouts() {
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
    for (name, hierarchies) in layouts() {
        let place = Place::new(&format!("nest-{name}"), hierarchies);
        let group = place.create("{}").unwrap();
        // As an init system inside the container would.
        for line in place.hierarchies.to_string().lines() {
            let mount = PathBuf::from(line.splitn(3, ':').nth(2).unwrap());
            std::fs::create_dir_all(mount.join(place.path()).join("inner/most")).unwrap();
        }
        // A v1 cpuset made by hand has no processors and takes nobody.
        for folder in ["inner", "inner/most"].iter().filter(|_| name != "v2") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                std::fs::write(place.dir("cpuset").join(folder).join(file), "0").unwrap();
            }
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
    for (name, hierarchies) in layouts() {
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
