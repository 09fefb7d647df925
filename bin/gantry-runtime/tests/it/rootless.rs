//! Containers of somebody who is not root.

use serde_json::{Value, json};

use crate::bundle::{Bundle, OURS};

/// Runs our program as user 1234 with an environment of nobody's.
#[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
fn as_user(bundle: &Bundle, words: &[&str]) -> std::process::Output {
    // Where everybody may read it, whatever the build directory's modes are.
    let program = bundle.path.join("gantry-runtime");
    if !program.exists() {
        std::fs::copy(OURS, &program).unwrap();
    }
    std::process::Command::new("setpriv")
        .args(["--reuid", "1234", "--regid", "1235", "--clear-groups", "--"])
        .arg(program)
        .arg("--root")
        .arg(bundle.path.join("state"))
        .args(words)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn give(bundle: &Bundle) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut left = vec![bundle.path.clone()];
    while let Some(path) = left.pop() {
        std::os::unix::fs::lchown(&path, Some(1234), Some(1235)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            left.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
}

fn edit(bundle: &Bundle, change: impl FnOnce(&mut Value)) {
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn ones_own_id_is_enough() {
    testkit::need!(Root, Program("setpriv", "util-linux"));
    let bundle = Bundle::new(&["true"]);
    std::fs::remove_file(bundle.path.join("config.json")).unwrap();
    give(&bundle);
    let output = as_user(&bundle, &["spec", "--rootless", "-b", bundle.bundle()]);
    assert!(output.status.success(), "{output:?}");
    let script = "id -u; id -g; tr -s ' ' < /proc/self/uid_map; echo x > /dev/null && hostname; touch /made; sleep 100 & ls /data";
    edit(&bundle, |c| {
        c["process"]["terminal"] = json!(false);
        c["process"]["args"] = json!(["sh", "-c", script]);
        c["root"]["readonly"] = json!(false);
        c["mounts"].as_array_mut().unwrap().push(
            json!({ "destination": "/data", "type": "bind", "source": "host", "options": ["rbind", "ro"] }),
        );
    });
    std::fs::create_dir(bundle.path.join("host")).unwrap();
    std::fs::write(bundle.path.join("host/file"), "").unwrap();
    let output = as_user(&bundle, &["run", "-b", bundle.bundle(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "0\n0\n 0 1234 1\ngantry\nfile\n", "{output:?}");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(bundle.path.join("rootfs/made")).unwrap().uid(), 1234);
    edit(&bundle, |c| c["process"]["args"] = json!(["sleep", "100"]));
    let output = std::fs::File::create(bundle.path.join("output")).unwrap();
    drop(output);
    let created = as_user_detached(&bundle);
    assert!(created, "{}", bundle.output());
    let output = as_user(&bundle, &["exec", &bundle.id, "sh", "-c", "id -u; hostname"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\ngantry\n", "{output:?}");
    let output = as_user(&bundle, &["delete", "--force", &bundle.id]);
    assert!(output.status.success(), "{output:?}");
}

/// `run -d` with its output in a file, which the container keeps.
#[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
fn as_user_detached(bundle: &Bundle) -> bool {
    let file = std::fs::File::create(bundle.path.join("output")).unwrap();
    std::process::Command::new("setpriv")
        .args(["--reuid", "1234", "--regid", "1235", "--clear-groups", "--"])
        .arg(bundle.path.join("gantry-runtime"))
        .arg("--root")
        .arg(bundle.path.join("state"))
        .args(["run", "-d", "-b", bundle.bundle(), &bundle.id])
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .status()
        .unwrap()
        .success()
}

#[test]
fn others_ids_are_refused_clearly() {
    testkit::need!(Root, Program("setpriv", "util-linux"));
    let bundle = Bundle::with(&["true"], |c| {
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        c["linux"]["namespaces"] =
            json!([{ "type": "mount" }, { "type": "user" }, { "type": "pid" }]);
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
    });
    give(&bundle);
    let output = as_user(&bundle, &["run", "-b", bundle.bundle(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("without root only one's own ids can be mapped"), "{text}");
}
