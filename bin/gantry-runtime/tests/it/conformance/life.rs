//! From create to delete, and what can be seen meanwhile.

use serde_json::{Value, json};

use crate::bundle::{Bundle, is_ours};

#[test]
fn states_follow_each_other() {
    let bundle = Bundle::with(&["sleep", "100"], |c| c["annotations"] = json!({ "k": "v" }));
    bundle.create();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!((&state["annotations"]["k"], &state["id"]), (&json!("v"), &json!(bundle.id)));
    assert_eq!(state["bundle"].as_str(), Some(bundle.bundle()));
    assert!(state["pid"].as_i64().unwrap() > 0 && state["ociVersion"].is_string());
    assert!(bundle.error(&["delete", "nobody"]).contains("does not exist"));
    bundle.ok(&["start", &bundle.id]);
    bundle.becomes("running");
    assert!(
        bundle.error(&["start", &bundle.id]).contains("cannot start an already running container")
    );
    assert!(bundle.error(&["delete", &bundle.id]).contains("not stopped"));
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    if is_ours() {
        assert!(bundle.error(&["pause", &bundle.id]).contains("cannot pause"));
    }
    bundle.ok(&["resume", &bundle.id]);
    assert!(bundle.error(&["resume", &bundle.id]).contains("not paused"));
    let pids: Vec<i64> =
        serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert_eq!(pids, [bundle.pid()]);
    assert!(bundle.ok(&["ps", &bundle.id]).contains("sleep 100"));
    let stats: Value =
        serde_json::from_str(&bundle.ok(&["events", "--stats", &bundle.id])).unwrap();
    assert_eq!((&stats["type"], &stats["id"]), (&json!("stats"), &json!(bundle.id)));
    assert!(stats["data"]["pids"]["current"].as_u64().unwrap() >= 1);
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(stats["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.becomes("stopped");
    assert!(bundle.error(&["kill", &bundle.id, "KILL"]).contains("container not running"));
    let list: Value = serde_json::from_str(&bundle.ok(&["list", "-f", "json"])).unwrap();
    assert_eq!((&list[0]["status"], &list[0]["pid"]), (&json!("stopped"), &json!(0)));
    bundle.ok(&["delete", &bundle.id]);
    assert!(bundle.error(&["state", &bundle.id]).contains("does not exist"));
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert_eq!(bundle.ok(&["list", "-q"]), "");
    assert!(
        bundle
            .ok(&["list"])
            .starts_with("ID          PID         STATUS      BUNDLE      CREATED     OWNER")
    );
}

#[test]
fn signals_reach_the_first_process() {
    let bundle = Bundle::new(&["sh", "-c", "trap 'exit 3' USR1; while :; do sleep 1; done"]);
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    bundle.ok(&["kill", &bundle.id, "USR1"]);
    // Before its trap is set the signal does nothing to a first process.
    while bundle.status() != "stopped" {
        let _gone = bundle.run(&["kill", &bundle.id, "10"]);
    }
}

#[test]
fn exit_codes_come_through() {
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$; sleep 1; exit 5", 5)] {
        let bundle = Bundle::new(&["sh", "-c", script]);
        let output = bundle.run(&["run", "-b", bundle.bundle(), &bundle.id]);
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
    }
}

#[test]
fn programs_that_cannot_run_are_told() {
    let error = |args: &[&str]| {
        let bundle = Bundle::new(args);
        bundle.error(&["create", "-b", bundle.bundle(), &bundle.id])
    };
    let text = error(&["nosuch"]);
    assert!(text.contains("unable to start container process: exec: \"nosuch\": executable file not found in $PATH"), "{text}");
    assert!(text.contains("create failed"), "{text}");
    assert!(error(&["/etc"]).contains("permission denied"));
    assert!(error(&["/nosuch"]).contains("no such file or directory"));
}

#[test]
fn a_specification_to_begin_with_runs() {
    let bundle = Bundle::new(&["true"]);
    std::fs::remove_file(bundle.path.join("config.json")).unwrap();
    bundle.ok(&["spec", "-b", bundle.bundle()]);
    assert!(bundle.error(&["spec", "-b", bundle.bundle()]).contains("config.json exists"));
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "cat /proc/self/status"]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id));
    std::fs::write(&path, config.to_string()).unwrap();
    let status = bundle.runs();
    assert!(
        status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000020000420"),
        "{status}"
    );
    let features: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert!(features["hooks"].as_array().unwrap().contains(&json!("startContainer")));
    assert_eq!(features["linux"]["seccomp"]["enabled"], json!(true));
}
