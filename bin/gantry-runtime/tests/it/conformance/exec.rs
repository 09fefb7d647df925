//! Processes added to a container.

use serde_json::json;

use crate::bundle::{Bundle, is_ours};

#[test]
fn options_change_the_containers_process() {
    let bundle = Bundle::sleeping(|c| {
        c["process"]["env"] = json!(["PATH=/bin", "A=1"]);
        c["process"]["capabilities"]["bounding"] = json!(["CAP_KILL"]);
    });
    let exec = |words: &[&str]| {
        let all: Vec<&str> = ["exec"].iter().chain(words).copied().collect();
        bundle.ok(&all).trim_end().to_owned()
    };
    let id = bundle.id.as_str();
    assert_eq!(exec(&["-e", "B=2", "--cwd", "/tmp", id, "sh", "-c", "echo $A$B $PWD"]), "12 /tmp");
    let user = exec(&["-u", "12:34", "-g", "50", "-g", "60", id, "id"]);
    assert!(user.starts_with("uid=12 gid=34") && user.contains("50,60"), "{user}");
    let status = exec(&["--no-new-privs", "--cap", "CAP_CHOWN", id, "cat", "/proc/self/status"]);
    assert!(
        status.contains("NoNewPrivs:\t1") && status.contains("CapBnd:\t0000000000000021"),
        "{status}"
    );
    assert_eq!(bundle.run(&["exec", id, "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(bundle.run(&["exec", id, "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    let error = bundle.error(&["exec", id, "nosuch"]);
    assert!(
        error.contains("exec failed") && error.contains("executable file not found in $PATH"),
        "{error}"
    );
    assert!(bundle.error(&["exec", "nobody", "true"]).contains("container does not exist"));
    let file = bundle.path.join("process.json");
    let process = json!({ "args": ["sh", "-c", "echo from $F"], "cwd": "/", "env": ["PATH=/bin", "F=file"], "user": { "uid": 0, "gid": 0 } });
    std::fs::write(&file, process.to_string()).unwrap();
    assert_eq!(exec(&["--process", file.to_str().unwrap(), id]), "from file");
    let pid_file = bundle.path.join("pid");
    let words = ["exec", "-d", "--pid-file", pid_file.to_str().unwrap(), id, "sleep", "50"];
    let output = std::fs::File::create(bundle.path.join("detached")).unwrap();
    let mut command = bundle.command(&words);
    assert!(command.stdout(output.try_clone().unwrap()).stderr(output).status().unwrap().success());
    let pid: u32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let pids: Vec<u32> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", id])).unwrap();
    assert!(pids.contains(&pid) && pids.len() == 2, "{pids:?}");
    bundle.ok(&["kill", "--all", id, "KILL"]);
    bundle.becomes("stopped");
    assert!(bundle.error(&["exec", id, "true"]).contains("cannot exec in a stopped container"));
}

#[test]
fn a_paused_container_refuses_unless_told_otherwise() {
    let bundle = Bundle::sleeping(|_| ());
    bundle.ok(&["pause", &bundle.id]);
    let error = bundle.error(&["exec", &bundle.id, "true"]);
    assert!(
        error.contains("cannot exec in a paused container (use --ignore-paused to override)"),
        "{error}"
    );
    bundle.ok(&["resume", &bundle.id]);
}

#[test]
fn a_process_can_live_in_a_group_beneath() {
    let bundle = Bundle::sleeping(|c| {
        let options = ["nosuid", "noexec", "nodev"];
        c["mounts"].as_array_mut().unwrap().push(json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options }));
        c["mounts"].as_array_mut().unwrap().push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options }));
    });
    let id = bundle.id.as_str();
    let make = "for d in /sys/fs/cgroup/*/; do mkdir -p $d/inner; for f in cpus mems; do cat $d/cpuset.$f > $d/inner/cpuset.$f; done; done 2>/dev/null; mkdir -p /sys/fs/cgroup/inner 2>/dev/null; true";
    bundle.ok(&["exec", id, "sh", "-c", make]);
    let error = bundle.run(&["exec", "--cgroup", "nowhere", id, "true"]);
    assert!(!error.status.success(), "{error:?}");
    if is_ours() {
        let seen = bundle.ok(&[
            "exec",
            "--cgroup",
            "inner",
            id,
            "grep",
            "-c",
            "/inner$",
            "/proc/self/cgroup",
        ]);
        assert!(seen.trim_end().parse::<u32>().unwrap() > 0, "{seen}");
    }
}
