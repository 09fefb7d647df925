use super::*;
use store::records::container::{Config, LastRun, Ulimit};

fn record() -> ContainerRecord {
    ContainerRecord {
        id: "0123456789abcdef".repeat(4),
        name: "web".to_owned(),
        created: stdx::time::Timestamp::ZERO,
        image_id: String::new(),
        parent: None,
        config: Config { cmd: Some(vec!["true".to_owned()]), ..Config::default() },
        host: HostConfig::default(),
        mounts: Vec::new(),
        last: LastRun::default(),
        stopped_by_user: false,
        restart_count: 0,
        user_namespace: None,
        endpoints: None,
        links: Vec::new(),
    }
}

fn spec(record: &ContainerRecord) -> oci::Spec {
    spec_of(record, None)
}

fn spec_of(record: &ContainerRecord, ids: Option<&IdMaps>) -> oci::Spec {
    let files = EngineFiles { hosts: "/h".into(), hostname: "/n".into(), resolv_conf: "/r".into() };
    let around = Surroundings {
        files: &files,
        init: Path::new("/init"),
        default_init: false,
        cgroup: "gantry/x",
        capabilities: (1 << 41) - 1,
        default_pids_limit: 4096,
        host_devices: &[],
        devices: &[],
        block_io: &oci::BlockIo::default(),
        ids,
        link_env: &[],
        thermal: &["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
        swap_alone: true,
    };
    oci_spec(record, &around).unwrap()
}

fn namespaces_of(change: impl FnOnce(&mut HostConfig)) -> Vec<String> {
    let mut record = record();
    change(&mut record.host);
    let linux = spec(&record).linux.unwrap();
    linux.namespaces.iter().map(|n| format!("{:?}", n.kind).to_lowercase()).collect()
}

#[test]
fn every_namespace_unless_the_hosts_is_asked_for() {
    assert_eq!(namespaces_of(|_| ()), ["mount", "network", "uts", "pid", "ipc", "cgroup", "time"]);
    let without = |change: fn(&mut HostConfig), gone: &str| {
        assert!(!namespaces_of(change).contains(&gone.to_owned()), "{gone}");
    };
    without(|h| h.network_mode = "host".to_owned(), "network");
    without(|h| h.pid_mode = "host".to_owned(), "pid");
    without(|h| h.ipc_mode = "host".to_owned(), "ipc");
    without(|h| h.uts_mode = "host".to_owned(), "uts");
}

#[test]
fn a_user_namespace_maps_what_is_the_engines_and_nothing_of_the_hosts() {
    let ids = |outside| vec![sys::userns::Range { inside: 0, outside, size: 65536 }];
    let ids = IdMaps { uids: ids(100_000), gids: ids(200_000) };
    let mut record = record();
    record.host.ipc_mode = "host".to_owned();
    record.mounts = [(MountKind::Volume, "/volume"), (MountKind::Bind, "/bind")]
        .map(|(kind, destination)| {
            serde_json::from_value(serde_json::json!({
                "kind": kind, "source": "/source", "destination": destination, "rw": true, "mode": "",
                "propagation": "", "non_recursive": false, "options": [], "anonymous": false, "copy_up": false,
            }))
            .unwrap()
        })
        .to_vec();
    let spec = spec_of(&record, Some(&ids));
    let mapped: Vec<&str> = spec
        .mounts
        .iter()
        .filter(|m| m.options.iter().any(|o| o == "idmap"))
        .filter_map(|m| m.destination.to_str())
        .collect();
    assert_eq!(mapped, ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/volume"]);
    let queues = spec.mounts.iter().find(|m| m.destination.as_os_str() == "/dev/mqueue").unwrap();
    assert_eq!(queues.kind.as_deref(), Some("bind"));
    let linux = spec.linux.unwrap();
    assert!(linux.namespaces.iter().any(|n| n.kind == oci::NamespaceKind::User));
    assert_eq!((linux.uid_mappings[0].host_id, linux.gid_mappings[0].host_id), (100_000, 200_000));
}

#[test]
fn limits_are_dockers() {
    let check = |resources: Resources| limits(&resources, 4096);
    assert_eq!(check(Resources::default()).pids, Some(oci::Pids { limit: 4096 }));
    let nothing_said = Resources { pids_limit: Some(0), ..Resources::default() };
    assert_eq!(check(nothing_said).pids, Some(oci::Pids { limit: 4096 }));
    assert_eq!(
        check(Resources { pids_limit: Some(-1), ..Resources::default() }).pids,
        Some(oci::Pids { limit: -1 })
    );
    let memory = check(Resources { memory: 100, ..Resources::default() }).memory.unwrap();
    assert_eq!((memory.limit, memory.swap), (Some(100), Some(200)));
    let memory =
        check(Resources { memory: 100, memory_swap: -1, ..Resources::default() }).memory.unwrap();
    assert_eq!(memory.swap, Some(-1));
    let cpu = check(Resources { nano_cpus: 1_500_000_000, ..Resources::default() }).cpu.unwrap();
    assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
}

#[test]
fn inheritable_and_ambient_capabilities_stay_empty() {
    let mut record = record();
    for privileged in [false, true] {
        record.host.privileged = privileged;
        let capabilities = spec(&record).process.unwrap().capabilities.unwrap();
        assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());
        assert_eq!(capabilities.bounding.len(), if privileged { 41 } else { 14 });
    }
}

#[test]
fn devices_are_denied_before_any_is_allowed() {
    let rules = spec(&record()).linux.unwrap().resources.unwrap().devices;
    assert!(!rules[0].allow && rules[0].kind.is_none());
    assert!(rules[1..].iter().all(|r| r.allow));
    assert!(resources::parse_device_rule("c 13:* rwm").is_ok());
    for bad in ["", "c 13 rwm", "x 1:1 r", "c 1:1 q", "c 1:1"] {
        assert!(resources::parse_device_rule(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_environment_is_ours_then_the_users() {
    let mut record = record();
    record.config.env =
        vec!["PATH=/bin".to_owned(), "SECRET".to_owned(), "=x".to_owned(), "A=b=c".to_owned()];
    assert_eq!(
        environment(&record, true, &[]),
        ["PATH=/bin", "HOSTNAME=0123456789ab", "TERM=xterm", "A=b=c"]
    );
}

#[test]
fn an_init_goes_before_the_command() {
    let mut record = record();
    record.host.init = Some(true);
    let spec = spec(&record);
    assert_eq!(spec.process.unwrap().args, ["/sbin/docker-init", "--", "true"]);
    assert!(
        spec.mounts
            .iter()
            .any(|m| m.destination == Path::new(INIT) && m.options.contains(&"ro".to_owned()))
    );
}

#[test]
fn ulimits_replace_defaults() {
    let mut record = record();
    record.host.resources.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 5, hard: -1 }];
    let limits = spec(&record).process.unwrap().rlimits;
    let nofile = limits.iter().find(|l| l.kind == "RLIMIT_NOFILE").unwrap();
    assert_eq!((nofile.soft, nofile.hard), (5, u64::MAX));
}

#[test]
fn nothing_is_hidden_by_a_mount_that_comes_later() {
    let mut record = record();
    let point = |destination: &str| MountPoint {
        kind: MountKind::Tmpfs,
        name: None,
        source: PathBuf::new(),
        destination: destination.to_owned(),
        driver: None,
        mode: String::new(),
        rw: true,
        propagation: String::new(),
        non_recursive: false,
        options: Vec::new(),
        anonymous: false,
        copy_up: false,
        subpath: String::new(),
        create_source: false,
        read_only_non_recursive: false,
    };
    record.mounts = vec![point("/a/b/c"), point("/a"), point("/etc/hosts")];
    let mounts = spec(&record).mounts;
    let at = |path: &str| mounts.iter().position(|m| m.destination == Path::new(path)).unwrap();
    assert!(at("/a") < at("/a/b/c"));
    // The user's own /etc/hosts replaces the engine's.
    assert_eq!(mounts.iter().filter(|m| m.destination == Path::new("/etc/hosts")).count(), 1);
}
