//! Control groups: where they are and what they limit.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups};

/// The value of the first of these files that the container's group has.
fn read(id: &str, files: &[&str]) -> String {
    let groups = cgroups(id);
    let found =
        groups.iter().flat_map(|g| files.iter().map(|f| g.join(f)).collect::<Vec<PathBuf>>());
    let path = found.into_iter().find(|p| p.exists());
    let path = path.unwrap_or_else(|| panic!("none of {files:?} in {groups:?}"));
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const PIDS: [&str; 1] = ["pids.max"];

#[test]
fn limits_are_set_and_changed() {
    let bundle = Bundle::sleeping(|c| {
        c["linux"]["resources"] = json!({
            "memory": { "limit": 64 << 20 }, "pids": { "limit": 50 }, "cpu": { "quota": 50_000, "period": 100_000 },
        });
    });
    let id = bundle.id.as_str();
    assert_eq!((read(id, &MEMORY), read(id, &PIDS)), ((64 << 20).to_string(), "50".to_owned()));
    bundle.ok(&["update", "--memory", "33554432", "--pids-limit", "20", id]);
    assert_eq!((read(id, &MEMORY), read(id, &PIDS)), ((32 << 20).to_string(), "20".to_owned()));
    let file = bundle.path.join("resources.json");
    std::fs::write(&file, json!({ "memory": { "limit": 48 << 20 } }).to_string()).unwrap();
    bundle.ok(&["update", "-r", file.to_str().unwrap(), id]);
    assert_eq!((read(id, &MEMORY), read(id, &PIDS)), ((48 << 20).to_string(), "20".to_owned()));
    assert!(bundle.error(&["update", "--memory", "lots", id]).contains("lots"));
    assert!(bundle.error(&["update", "--memory", "1m", "nobody"]).contains("does not exist"));
}

#[test]
fn devices_are_denied_but_the_listed_ones() {
    let script = "head -c1 /dev/zero > /dev/null && echo zero; head -c1 /dev/mine > /dev/null 2>&1 || echo denied";
    let device =
        json!([{ "path": "/dev/mine", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }]);
    let deny = json!({ "allow": false, "access": "rwm" });
    let run = |rules: Value| {
        let bundle = Bundle::with(&["sh", "-c", script], |c| {
            c["linux"]["devices"] = device.clone();
            c["linux"]["resources"] = json!({ "devices": rules });
        });
        bundle.runs()
    };
    assert_eq!(run(json!([deny])), "zero\ndenied");
    let _allowed =
        run(json!([deny, { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }]));
}

#[test]
fn paths_of_groups() {
    let id = Bundle::new(&["true"]).id.clone();
    let parent = format!("gantry-parent-{id}");
    let bundle =
        Bundle::sleeping(|c| c["linux"]["cgroupsPath"] = json!(format!("/{parent}/inner")));
    let of = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(of.contains(&format!("/{parent}/inner")), "{of}");
    bundle.ok(&["delete", "--force", &bundle.id]);
    for group in cgroups(&parent) {
        assert!(!group.join("inner").exists(), "{group:?}");
        std::fs::remove_dir(group).unwrap();
    }
    // Without a path the runtime chooses one.
    let bundle = Bundle::sleeping(|c| {
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    });
    let of = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert!(of.contains(&bundle.id), "{of}");
}

#[test]
fn running_out_of_memory_ends_the_process() {
    // All at once: what grows slowly spends its time reading its own program back in, page by page.
    let args = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    let bundle = Bundle::with(&args, |c| {
        c["linux"]["resources"] = json!({ "memory": { "limit": 16 << 20, "swap": 16 << 20 } });
    });
    let output = bundle.run(&["run", "-b", bundle.bundle(), &bundle.id]);
    assert_eq!(output.status.code(), Some(137), "{output:?}");
}
