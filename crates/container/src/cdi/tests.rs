//! Devices by their names.

use super::*;

const JSON: &str = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/dev","containerEdits":{"env":["ALL=1"],"additionalGids":[44]},
  "devices":[
    {"name":"null","containerEdits":{"deviceNodes":[{"path":"/dev/mine","hostPath":"/dev/null","permissions":"rw"}]}},
    {"name":"made","containerEdits":{"env":["PATH=/x"],"deviceNodes":[{"path":"/dev/made","type":"c","major":1,"minor":3}],
      "mounts":[{"hostPath":"/etc","containerPath":"/host","options":["ro"]}],
      "hooks":[{"hookName":"createContainer","path":"/bin/true","args":["true"]}]}}]}"#;
const YAML: &str = "cdiVersion: \"1.0.0\"\nkind: nvidia.com/gpu\ndevices:\n  - name: \"0\"\n    containerEdits:\n      env:\n        - GPU=0\n  - name: all\n    containerEdits:\n      env: [GPU=all]\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn cdi(ids: &[&str]) -> DeviceRequest {
    DeviceRequest {
        driver: "cdi".to_owned(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..DeviceRequest::default()
    }
}

fn gpus(count: i64, ids: &[&str]) -> DeviceRequest {
    let capabilities = vec![vec!["gpu".to_owned()]];
    DeviceRequest { driver: String::new(), count, capabilities, ..cdi(ids) }
}

fn injected(folders: &[&tempfile::TempDir], request: DeviceRequest) -> Result<oci::Spec> {
    let mut spec = oci::Spec::default();
    spec.process.get_or_insert_default().env = vec!["PATH=/bin".to_owned()];
    let folders: Vec<PathBuf> = folders.iter().map(|d| d.path().to_owned()).collect();
    inject(&folders, &[request], &mut spec).map(|()| spec)
}

#[test]
fn a_devices_edits_are_applied() {
    let dir = folder(&[("a.json", JSON)]);
    let names = ["vendor.com/dev=null", "vendor.com/dev=made"];
    let spec = injected(&[&dir], cdi(&names)).unwrap();
    let process = spec.process.unwrap();
    assert_eq!(process.env, ["PATH=/x", "ALL=1"]);
    assert_eq!(process.user.additional_gids, [44]);
    let linux = spec.linux.unwrap();
    let shown: Vec<String> = (linux.devices.iter())
        .map(|d| format!("{} {} {:?}:{:?}", d.path.display(), d.kind, d.major, d.minor))
        .collect();
    assert_eq!(shown, ["/dev/mine c Some(1):Some(3)", "/dev/made c Some(1):Some(3)"]);
    let access: Vec<_> =
        linux.resources.unwrap().devices.iter().map(|r| r.access.clone().unwrap()).collect();
    assert_eq!(access, ["rw", "rwm"]);
    assert_eq!(spec.mounts[0].kind.as_deref(), Some("bind"));
    assert_eq!(spec.hooks.unwrap().create_container.len(), 1);
}

#[test]
fn gpus_are_devices_of_their_vendor() {
    let dir = folder(&[("n.yaml", YAML)]);
    let env = |request| injected(&[&dir], request).map(|s| s.process.unwrap().env[1].clone());
    assert_eq!(env(gpus(-1, &[])).unwrap(), "GPU=all");
    assert_eq!(env(gpus(1, &[])).unwrap(), "GPU=0");
    assert_eq!(env(gpus(0, &["0"])).unwrap(), "GPU=0");
    let error = env(gpus(2, &[])).unwrap_err();
    assert_eq!(
        error.message(),
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=1"
    );
    let none = folder(&[]);
    assert_eq!(
        injected(&[&none], gpus(-1, &[])).unwrap_err().message(),
        "could not select device driver \"\" with capabilities: [[gpu]]"
    );
}

#[test]
fn later_folders_win_and_contradictions_count_for_nothing() {
    let other = JSON.replace("ALL=1", "ALL=2");
    let (first, second) = (folder(&[("a.json", JSON)]), folder(&[("b.json", &other)]));
    let env = |folders: &[&tempfile::TempDir]| {
        injected(folders, cdi(&["vendor.com/dev=null"])).map(|s| s.process.unwrap().env)
    };
    assert_eq!(env(&[&first, &second]).unwrap(), ["PATH=/bin", "ALL=2"]);
    assert_eq!(env(&[&second, &first]).unwrap(), ["PATH=/bin", "ALL=1"]);
    let twice = folder(&[("a.json", JSON), ("b.json", &other)]);
    env(&[&twice]).unwrap_err();
    let broken = folder(&[("a.json", "{"), ("b.yaml", "kind: [")]);
    let error = env(&[&broken]).unwrap_err().to_string();
    assert!(error.contains("a.json") && error.contains("b.yaml"), "{error}");
    for bad in
        ["{}", r#"{"cdiVersion":"9.9","kind":"a/b"}"#, r#"{"cdiVersion":"1.0.0","kind":"ab"}"#]
    {
        Document::parse(bad, true).unwrap_err();
    }
}
