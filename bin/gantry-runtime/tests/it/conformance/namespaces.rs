//! Namespaces made, joined and left out.

use serde_json::{Value, json};

use super::only_newer;
use crate::bundle::Bundle;

fn namespaces(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({ "type": kind })).collect()
}

fn link(pid: &str, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

const SHOW: &str = "for n in net ipc uts pid cgroup; do readlink /proc/self/ns/$n; done";

#[test]
fn what_is_not_named_is_the_callers() {
    let own = |kind: &str| link("self", kind);
    let seen = Bundle::says(SHOW, |c| c["linux"]["namespaces"] = namespaces(&["mount"]));
    assert_eq!(seen, ["net", "ipc", "uts", "pid", "cgroup"].map(own).join("\n"));
    let all = namespaces(&["mount", "pid", "network", "ipc", "uts", "cgroup"]);
    let seen = Bundle::says(SHOW, |c| c["linux"]["namespaces"] = all);
    for (line, kind) in seen.lines().zip(["net", "ipc", "uts", "pid", "cgroup"]) {
        assert_ne!(line, own(kind));
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let first = Bundle::sleeping(|c| c["hostname"] = json!("first"));
    let pid = first.pid().to_string();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let kinds = [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")];
    let mut joined: Vec<Value> =
        kinds.iter().map(|(name, file)| json!({ "type": name, "path": path(file) })).collect();
    joined.push(json!({ "type": "mount" }));
    let seen = Bundle::says(&format!("hostname; {SHOW}; cat /proc/1/cmdline"), |c| {
        c["linux"]["namespaces"] = json!(joined);
    });
    let mut lines = seen.lines();
    assert_eq!(lines.next(), Some("first"));
    for (line, (_, file)) in
        lines.by_ref().zip([("", "net"), ("", "ipc"), ("", "uts"), ("", "pid")])
    {
        assert_eq!(line, link(&pid, file));
    }
    assert!(seen.ends_with("sleep\x00100\0"), "{seen:?}");
}

fn mapped(config: &mut Value) {
    config["linux"]["uidMappings"] =
        json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["gidMappings"] =
        json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    config["linux"]["devices"] = json!([]);
}

/// Gives the container's files to the root of [`mapped`].
fn give(bundle: &Bundle) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&bundle.path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut left = vec![bundle.path.join("rootfs")];
    while let Some(path) = left.pop() {
        std::os::unix::fs::lchown(&path, Some(100_000), Some(200_000)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
}

#[test]
fn a_user_namespace_has_ids_of_its_own() {
    let script = "cat /proc/self/uid_map | tr -s ' '; cat /proc/self/gid_map | tr -s ' '; id -u; id -G; \
                  echo x > /dev/null && echo null; touch /made && stat -c %u:%g /made; hostname; \
                  head -c 3 /dev/zero | tr '\\0' z; echo; cat /proc/self/oom_score_adj; cat /proc/self/setgroups";
    let bundle = Bundle::with(&["sh", "-c", script], |c| {
        mapped(c);
        c["hostname"] = json!("mine");
        c["process"]["oomScoreAdj"] = json!(77);
        c["process"]["capabilities"]["bounding"] = json!(["CAP_CHOWN"]);
    });
    give(&bundle);
    assert_eq!(
        bundle.runs(),
        " 0 100000 65536\n 0 200000 65536\n0\n0\nnull\n0:0\nmine\nzzz\n77\nallow"
    );
    use std::os::unix::fs::MetadataExt as _;
    let made = std::fs::metadata(bundle.path.join("rootfs/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (100_000, 200_000));
}

#[test]
fn a_user_namespace_is_joined_by_exec_and_by_path() {
    let first = Bundle::with(&["sleep", "100"], mapped);
    give(&first);
    first.create();
    first.ok(&["start", &first.id]);
    let show = "tr -s ' ' < /proc/self/uid_map; id -u; readlink /proc/self/ns/user";
    let pid = first.pid().to_string();
    let expected = format!(" 0 100000 65536\n0\n{}", link(&pid, "user"));
    assert_eq!(first.ok(&["exec", &first.id, "sh", "-c", show]).trim_end(), expected);
    let user = first.ok(&["exec", "-u", "5:6", &first.id, "id"]);
    assert!(user.starts_with("uid=5 gid=6"), "{user}");
    let second = Bundle::with(&["sh", "-c", show], |c| {
        mapped(c);
        let path = |file: &str| format!("/proc/{pid}/ns/{file}");
        c["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "uts" }, { "type": "user", "path": path("user") },
            { "type": "network", "path": path("net") }, { "type": "pid", "path": path("pid") },
        ]);
    });
    give(&second);
    assert_eq!(second.runs(), expected);
}

#[test]
fn names_of_host_and_domain() {
    let seen = Bundle::says("hostname", |c| c["hostname"] = json!("some-host"));
    assert_eq!(seen, "some-host");
    let error = Bundle::refused(|c| {
        c["hostname"] = json!("h");
        c["linux"]["namespaces"] = namespaces(&["mount", "pid"]);
    });
    assert!(error.contains("UTS namespace"), "{error}");
    if only_newer("domainname") {
        let seen = Bundle::says("cat /proc/sys/kernel/domainname", |c| {
            c["domainname"] = json!("some-domain")
        });
        assert_eq!(seen, "some-domain");
    }
}

#[test]
fn clocks_have_offsets() {
    if !only_newer("time namespaces") {
        return;
    }
    let seen = Bundle::says("cut -d. -f1 /proc/uptime", |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        c["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000, "nanosecs": 0 } });
    });
    assert!(seen.parse::<u64>().unwrap() >= 1_000_000, "{seen}");
}

#[test]
fn kernel_parameters_of_its_own_namespaces() {
    let seen = Bundle::says("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", |c| {
        c["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "9000" });
    });
    assert_eq!(seen, "1\n9000");
    let error = Bundle::refused(|c| c["linux"]["sysctl"] = json!({ "vm.swappiness": "1" }));
    assert!(
        error.contains("vm.swappiness") && error.contains("separate kernel namespace"),
        "{error}"
    );
}

#[test]
fn contradictions_are_refused() {
    if !only_newer("refusing contradictions") {
        return;
    }
    let maps = json!([{ "containerID": 0, "hostID": 5, "size": 1 }]);
    let error = Bundle::refused(|c| c["linux"]["uidMappings"] = maps);
    assert!(
        error.contains("user namespace mappings specified, but user namespace isn't enabled"),
        "{error}"
    );
    let error = Bundle::refused(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "pid" }));
    });
    assert!(error.contains("duplicated"), "{error}");
    let error = Bundle::refused(|c| c["linux"]["namespaces"][1]["path"] = json!("/nonexistent/ns"));
    assert!(error.contains("/nonexistent/ns"), "{error}");
}
