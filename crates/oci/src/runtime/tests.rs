use super::*;

/// What `runc spec` writes, shortened, plus the fields other engines set.
const DOCUMENT: &str = r#"{
  "ociVersion": "1.2.0",
  "process": {
    "terminal": true, "consoleSize": {"height": 24, "width": 80},
    "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [5, 6]},
    "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
    "noNewPrivileges": true, "oomScoreAdj": -500
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "h", "domainname": "d",
  "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
             {"destination": "/data", "source": "/srv", "options": ["rbind", "ro"],
              "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}]}],
  "hooks": {"createRuntime": [{"path": "/bin/hook", "args": ["hook"], "timeout": 3}]},
  "annotations": {"a": "b"},
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}, {"type": "time"}],
    "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 1}},
    "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
    "cgroupsPath": "/gantry/x",
    "resources": {
      "devices": [{"allow": false, "access": "rwm"}],
      "memory": {"limit": 1000, "swap": -1, "disableOOMKiller": true, "kernelTCP": 7},
      "cpu": {"shares": 512, "quota": 1000, "period": 10000, "cpus": "0-1", "realtimeRuntime": 1},
      "pids": {"limit": 10},
      "blockIO": {"weight": 10, "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]},
      "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
      "network": {"classID": 4, "priorities": [{"name": "eth0", "priority": 2}]},
      "rdma": {"mlx": {"hcaHandles": 3}},
      "unified": {"memory.high": "5"}
    },
    "rootfsPropagation": "slave",
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
      "flags": ["SECCOMP_FILTER_FLAG_LOG"],
      "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 2114060288, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]}]},
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
    "mountLabel": "l", "intelRdt": {"closID": "c", "l3CacheSchema": "s"},
    "personality": {"domain": "LINUX32"}
  }
}"#;

#[test]
fn a_full_document_survives_reading_and_writing() {
    let spec: Spec = serde_json::from_str(DOCUMENT).unwrap();
    let before: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), before);
}

#[test]
fn an_empty_document_has_only_its_version() {
    let spec: Spec = serde_json::from_str("{}").unwrap();
    assert_eq!(spec, Spec::default());
    assert_eq!(serde_json::to_string(&spec).unwrap(), r#"{"ociVersion":""}"#);
}

#[test]
fn unknown_fields_are_ignored_and_unknown_namespaces_refused() {
    assert!(serde_json::from_str::<Spec>(r#"{"ociVersion":"1.3.0","novelty":{}}"#).is_ok());
    let error =
        serde_json::from_str::<Spec>(r#"{"linux":{"namespaces":[{"type":"dream"}]}}"#).unwrap_err();
    assert!(error.to_string().contains("dream"), "{error}");
}

#[test]
fn an_empty_user_string_is_not_an_absent_one() {
    let user = |text: &str| serde_json::from_str::<User>(text).unwrap().username;
    assert_eq!(user(r#"{"username":""}"#), Some(String::new()));
    assert_eq!(user("{}"), None);
}

#[test]
fn ids_out_of_range_are_refused() {
    for text in [r#"{"uid":-1}"#, r#"{"uid":4294967296}"#, r#"{"gid":1.5}"#] {
        assert!(serde_json::from_str::<User>(text).is_err(), "{text}");
    }
}

#[test]
fn names_in_one_piece_are_a_list_in_the_document() {
    let text = r#"{"names":["read","","write\n","é"],"action":"SCMP_ACT_ALLOW"}"#;
    let rule: Syscall = serde_json::from_str(text).unwrap();
    assert_eq!(rule.names.iter().collect::<Vec<_>>(), ["read", "", "write\n", "é"]);
    assert_eq!(rule.names, ["read", "", "write\n", "é"].into_iter().collect());
    assert_ne!(rule.names, ["read", "write\n", "", "é"].into_iter().collect());
    assert_eq!(serde_json::to_string(&rule).unwrap(), text);
    assert_eq!(format!("{:?}", rule.names), r#"["read", "", "write\n", "é"]"#);
    let from_value = serde_json::from_value::<Syscall>(serde_json::from_str(text).unwrap());
    assert_eq!(from_value.unwrap(), rule);
    for bad in [r#"{"names":null,"action":""}"#, r#"{"names":[1],"action":""}"#] {
        assert!(serde_json::from_str::<Syscall>(bad).is_err(), "{bad}");
    }
}
