//! Hooks of every kind.

use std::path::Path;

use serde_json::{Value, json};

use super::only_newer;
use crate::bundle::{Bundle, cgroups, is_ours};

/// A hook that appends its state to a file of its kind and its kind to `order`.
fn recording(folder: &Path, kind: &str) -> Value {
    let script = format!("cat > {0}/{kind}; echo {kind} >> {0}/order", folder.display());
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 20 }])
}

#[test]
fn every_kind_runs_in_its_place() {
    let bundle = Bundle::with(&["sleep", "100"], |_| ());
    let out = bundle.path.join("out");
    std::fs::create_dir(&out).unwrap();
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        config["hooks"][kind] = recording(&out, kind);
    }
    // Its program is looked up in the container.
    config["hooks"]["startContainer"] = recording(Path::new("/tmp"), "startContainer");
    std::fs::write(&path, config.to_string()).unwrap();
    bundle.create();
    let inner = bundle.path.join("rootfs/tmp");
    assert!(!inner.join("startContainer").exists());
    // runc 1.1 runs them too early.
    assert!(!out.join("poststart").exists() || !is_ours());
    let pid = bundle.pid();
    bundle.ok(&["start", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    let order = std::fs::read_to_string(out.join("order")).unwrap();
    assert_eq!(order, "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
    let state =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    for (kind, status) in
        [("prestart", "creating"), ("createRuntime", "creating"), ("poststart", "running")]
    {
        let state = state(&out.join(kind));
        let early = kind == "poststart" && !is_ours();
        assert!(state["status"] == json!(status) || early, "{kind}: {state}");
        assert_eq!(state["pid"], json!(pid), "{kind}");
        assert_eq!(state["bundle"].as_str(), Some(bundle.bundle()), "{kind}");
        assert_eq!((&state["id"], &state["annotations"]["a"]), (&json!(bundle.id), &json!("b")));
    }
    assert_eq!(state(&out.join("createContainer"))["status"], "creating");
    assert_eq!(state(&inner.join("startContainer"))["status"], "created");
    assert_eq!(state(&out.join("poststop"))["status"], "stopped");
}

#[test]
fn a_hook_that_fails_ends_the_creation() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = Bundle::with(&["true"], |c| {
            c["hooks"][kind] =
                json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo spoken >&2; exit 3"] }]);
        });
        let error = bundle.error(&["create", "-b", bundle.bundle(), &bundle.id]);
        assert!(error.contains("hook #0") && error.contains("exit status 3"), "{error}");
        assert!(error.contains("spoken"), "{error}");
        assert!(bundle.error(&["state", &bundle.id]).contains("does not exist"));
        assert!(cgroups(&bundle.id).is_empty());
    }
}

#[test]
fn a_hook_that_takes_too_long_is_given_up() {
    let bundle = Bundle::with(&["true"], |c| {
        c["hooks"]["createRuntime"] =
            json!([{ "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1 }]);
    });
    let error = bundle.error(&["create", "-b", bundle.bundle(), &bundle.id]);
    assert!(error.contains("timeout of 1"), "{error}");
}

#[test]
fn a_hook_in_the_container_sees_its_mounts() {
    let bundle = Bundle::with(&["true"], |_| ());
    let out = bundle.path.join("out");
    let script = format!(
        "cat > /dev/null; grep -c {}/rootfs/data /proc/self/mountinfo > {}",
        bundle.bundle(),
        out.display()
    );
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": "/data", "type": "tmpfs", "source": "x" }));
    config["hooks"]["createContainer"] =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]);
    std::fs::write(&path, config.to_string()).unwrap();
    bundle.runs();
    assert_eq!(std::fs::read_to_string(out).unwrap(), "1\n");
}

#[test]
fn a_failed_poststart_hook_ends_the_container() {
    if !only_newer("poststart hooks after the start") {
        return;
    }
    let bundle = Bundle::with(&["sleep", "100"], |c| {
        c["hooks"]["poststart"] = json!([{ "path": "/bin/false" }]);
    });
    bundle.create();
    let error = bundle.error(&["start", &bundle.id]);
    assert!(error.contains("hook #0"), "{error}");
    bundle.becomes("stopped");
}
