use oci::runtime::{IdMapping, Mount, Namespace, Personality, Process, Rlimit, Root, TimeOffset};
use sys::mount::{self as m, Attributes};

use super::mounts::{Datum, Source};
use super::*;

fn spec() -> Spec {
    Spec {
        process: Some(Process { args: vec!["sh".into()], cwd: "/".into(), ..Process::default() }),
        linux: Some(Linux {
            namespaces: vec![Namespace { kind: NamespaceKind::Mount, path: None }],
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// The error that a changed specification gives.
#[track_caller]
fn refused(change: impl FnOnce(&mut Spec, &mut Linux, &mut Process)) -> String {
    let mut spec = spec();
    let (mut linux, mut process) = (spec.linux.take().unwrap(), spec.process.take().unwrap());
    change(&mut spec, &mut linux, &mut process);
    (spec.linux, spec.process) = (Some(linux), Some(process));
    Plan::from_spec(&spec, false).unwrap_err().to_string()
}

#[test]
fn the_smallest_specification_is_a_plan() {
    let plan = Plan::from_spec(&spec(), false).unwrap();
    assert_eq!(plan.new, clone::NEWNS);
    assert!(!plan.needs_go_between() && plan.fill_dev && !plan.readonly_root);
    assert_eq!(plan.devices.len(), 6);
    assert_eq!(plan.process.umask, 0o022);
    assert_eq!((plan.process.bounding, plan.process.permitted, plan.process.effective), (0, 0, 0));
}

#[test]
fn impossible_specifications_are_refused() {
    let ns = |kind, path: Option<&str>| Namespace { kind, path: path.map(Into::into) };
    assert_eq!(
        refused(|_, l, _| l.namespaces.clear()),
        "a container needs a mount namespace of its own"
    );
    assert_eq!(
        refused(|_, l, _| l.namespaces.push(ns(NamespaceKind::Mount, None))),
        "duplicated namespace: Mount"
    );
    assert_eq!(
        refused(|_, l, _| l.namespaces.push(ns(NamespaceKind::Network, Some("run/x")))),
        "namespace path run/x is not absolute"
    );
    assert_eq!(
        refused(|s, _, _| s.hostname = Some("h".into())),
        "unable to set hostname without a private UTS namespace"
    );
    assert_eq!(refused(|_, _, p| p.args.clear()), "args must not be empty");
    assert_eq!(refused(|_, _, p| p.args.push("a\0b".into())), "args: \"a\\0b\" has a NUL byte");
    assert_eq!(refused(|_, _, p| p.cwd = "x".into()), "cwd: path x is not absolute");
    assert_eq!(
        refused(|_, _, p| p.user.uid = 1 << 31),
        "uids and gids must be in range 0-2147483647"
    );
    assert_eq!(
        refused(|_, _, p| p.user.gid = u32::MAX),
        "uids and gids must be in range 0-2147483647"
    );
    assert_eq!(
        refused(|_, _, p| p.oom_score_adj = Some(1001)),
        "oomScoreAdj 1001 is not between -1000 and 1000"
    );
    let limit = |kind: &str, soft, hard| Rlimit { kind: kind.into(), soft, hard };
    assert_eq!(
        refused(|_, _, p| p.rlimits = vec![limit("NOFILE", 1, 1)]),
        "unknown resource limit \"NOFILE\""
    );
    assert_eq!(
        refused(|_, _, p| p.rlimits = vec![limit("RLIMIT_CORE", 2, 1)]),
        "RLIMIT_CORE: the soft limit is above the hard limit"
    );
    assert_eq!(
        refused(|_, _, p| p.rlimits = vec![limit("RLIMIT_CORE", 1, 1); 2]),
        "RLIMIT_CORE is given twice"
    );
    assert_eq!(
        refused(|_, l, _| l.masked_paths = vec!["proc".into()]),
        "maskedPaths: path proc is not absolute"
    );
    assert_eq!(
        refused(|_, l, _| l.rootfs_propagation = Some("upwards".into())),
        "rootfsPropagation=upwards is not supported"
    );
    assert_eq!(
        refused(|_, l, _| l.time_offsets =
            [("boottime".into(), TimeOffset { secs: 1, nanosecs: 0 })].into()),
        "time namespace offsets specified, but time namespace isn't enabled in the config"
    );
    assert_eq!(
        refused(|_, l, _| l.personality = Some(Personality { domain: "CPM".into(), flags: vec![] })),
        "unknown personality domain \"CPM\""
    );
    assert_eq!(refused(|s, _, _| s.mounts.push(Mount::default())), "mount: path  is not absolute");
}

#[test]
fn what_is_not_there_yet_is_refused_as_such() {
    let not_yet = |change: &dyn Fn(&mut Spec, &mut Linux, &mut Process)| {
        let mut spec = spec();
        let (mut linux, mut process) = (spec.linux.take().unwrap(), spec.process.take().unwrap());
        change(&mut spec, &mut linux, &mut process);
        (spec.linux, spec.process) = (Some(linux), Some(process));
        assert!(matches!(Plan::from_spec(&spec, false), Err(Error::NotImplemented(_))), "{spec:?}");
    };
    not_yet(&|_, l, _| l.namespaces[0].path = Some("/proc/1/ns/mnt".into()));
    not_yet(&|_, l, _| l.intel_rdt = Some(Default::default()));
    not_yet(&|_, l, _| {
        l.net_devices.insert("eth1".into(), Default::default());
    });
}

#[test]
fn user_namespaces_need_ids_and_ids_need_one() {
    let map = |container_id| IdMapping { container_id, host_id: 5, size: 1 };
    let user = || Namespace { kind: NamespaceKind::User, path: None };
    assert_eq!(
        refused(|_, l, _| l.uid_mappings.push(map(0))),
        "user namespace mappings specified, but user namespace isn't enabled in the config"
    );
    assert_eq!(
        refused(|_, l, _| l.namespaces.push(user())),
        "user namespace: uidMappings must not be empty"
    );
    assert_eq!(
        refused(|_, l, _| {
            l.namespaces.push(user());
            l.uid_mappings.push(map(1));
            l.gid_mappings.push(map(0));
        }),
        "user namespaces enabled, but no mapping found for uid 0 and gid 0"
    );
}

#[test]
fn a_given_network_namespace_wins_and_others_are_joined() {
    let mut spec = spec();
    let linux = spec.linux.as_mut().unwrap();
    linux
        .namespaces
        .push(Namespace { kind: NamespaceKind::Network, path: Some("/run/netns/x".into()) });
    linux
        .namespaces
        .push(Namespace { kind: NamespaceKind::Pid, path: Some("/proc/7/ns/pid".into()) });
    linux.namespaces.push(Namespace { kind: NamespaceKind::Uts, path: Some("".into()) });
    let plan = Plan::from_spec(&spec, true).unwrap();
    assert_eq!(plan.new, clone::NEWNS | clone::NEWUTS);
    assert_eq!(plan.join, [(NamespaceKind::Pid, "/proc/7/ns/pid".into())]);
    assert!(plan.needs_go_between());
    assert_eq!(Plan::from_spec(&spec, false).unwrap().join.len(), 2);
}

#[test]
fn paths_are_cleaned_without_leaving_the_root() {
    let clean = |text: &str| clean("x", Path::new(text)).map(|p| p.display().to_string());
    for (path, expected) in
        [("/", "/"), ("/a/./b//c", "/a/b/c"), ("/../../a", "/a"), ("/a/../b", "/b"), ("/a/..", "/")]
    {
        assert_eq!(clean(path).unwrap(), expected);
    }
    for path in ["", "a", "./a", "/a\0"] {
        assert!(clean(path).is_err(), "{path:?}");
    }
}

#[test]
fn devices_of_the_document_replace_default_ones() {
    let device = |path: &str, kind: &str, major, minor| oci::runtime::Device {
        path: path.into(),
        kind: kind.into(),
        major,
        minor,
        ..Default::default()
    };
    let mut spec = spec();
    spec.linux.as_mut().unwrap().devices =
        vec![device("/dev/null", "c", Some(9), Some(9)), device("/dev/pipe", "p", None, None)];
    let devices = Plan::from_spec(&spec, false).unwrap().devices;
    assert_eq!(devices.len(), 7);
    assert_eq!((devices[0].major, devices[0].mode), (9, 0o666));
    assert_eq!(devices[1].kind, DeviceKind::Fifo);
    assert_eq!(
        refused(|_, l, _| l.devices.push(device("/dev/x", "z", Some(1), Some(1)))),
        "device /dev/x: unknown type \"z\""
    );
    assert_eq!(
        refused(|_, l, _| l.devices.push(device("/dev/x", "c", Some(-1), Some(1)))),
        "device /dev/x: bad device number"
    );
    assert_eq!(
        refused(|_, l, _| l.devices.push(device("dev/x", "c", Some(1), Some(1)))),
        "device: path dev/x is not absolute"
    );
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: (!kind.is_empty()).then(|| kind.into()),
        source: (!source.is_empty()).then(|| source.into()),
        options: options.iter().map(|o| (*o).into()).collect(),
        ..Mount::default()
    }
}

#[test]
fn mount_options_are_attributes_propagation_and_data() {
    let own = |set, clear| Attributes { set, clear, propagation: 0 };
    let check = |options: &[&str], attributes: Attributes, recursive: Attributes| {
        let plan = MountPlan::from_spec(&mount("/x", "bind", "/y", options)).unwrap();
        assert_eq!((plan.attributes, plan.recursive), (attributes, recursive), "{options:?}");
    };
    let private = Attributes { propagation: m::PRIVATE, ..Attributes::default() };
    let none = Attributes::default();
    check(&["bind"], none, private);
    check(&["rbind", "ro"], own(m::RDONLY, 0), private);
    check(&["rbind", "ro", "rw"], own(0, m::RDONLY), private);
    check(&["rbind", "rw", "ro"], own(m::RDONLY, 0), private);
    check(&["rbind", "rro"], none, Attributes { set: m::RDONLY, ..private });
    check(
        &["rbind", "nosuid", "rnodev"],
        own(m::NOSUID, 0),
        Attributes { set: m::NODEV, ..private },
    );
    check(&["rbind", "rslave"], none, Attributes { propagation: m::SLAVE, ..none });
    check(&["rbind", "shared"], Attributes { propagation: m::SHARED, ..none }, none);
    check(&["rbind", "shared", "rprivate"], none, private);
    check(&["bind", "noatime"], own(m::NOATIME, m::ATIME_MASK & !m::NOATIME), private);
    check(&["bind", "noatime", "relatime"], own(0, m::ATIME_MASK), private);
    let plan = MountPlan::from_spec(&mount(
        "/t",
        "tmpfs",
        "t",
        &["ro", "size=5m", "mode=1777", "huge", "defaults"],
    ))
    .unwrap();
    let pair = |k: &str, v: &str| Datum::Pair(k.into(), v.into());
    let data = vec![pair("size", "5m"), pair("mode", "1777"), Datum::Flag("huge".into())];
    assert_eq!(plan.source, Source::FileSystem { kind: "tmpfs".into(), name: "t".into(), data });
    assert_eq!((plan.attributes, plan.recursive), (own(m::RDONLY, 0), none));
    let plan =
        MountPlan::from_spec(&mount("/dev/pts", "devpts", "", &["newinstance", "gid=5"])).unwrap();
    assert_eq!(
        plan.source,
        Source::FileSystem {
            kind: "devpts".into(),
            name: "devpts".into(),
            data: vec![pair("gid", "5")]
        }
    );
    assert_eq!(
        MountPlan::from_spec(&mount("/c", "cgroup2", "", &[])).unwrap().source,
        Source::Cgroup
    );
    let plan = MountPlan::from_spec(&mount("/b", "", "/src", &["rbind"])).unwrap();
    assert_eq!(plan.source, Source::Bind { path: "/src".into(), recursive: true });
}

#[test]
fn mounts_that_cannot_be_are_refused() {
    let error = |destination, kind, source, options: &[&str]| {
        MountPlan::from_spec(&mount(destination, kind, source, options)).unwrap_err().to_string()
    };
    assert_eq!(error("x", "tmpfs", "", &[]), "mount: path x is not absolute");
    assert_eq!(error("/a/..", "tmpfs", "", &[]), "a mount on / would hide the root file system");
    assert_eq!(error("/x", "", "", &[]), "mount /x has no type");
    assert_eq!(error("/x", "bind", "y", &[]), "mount /x: source \"y\" is not absolute");
    assert!(error("/x", "bind", "/y", &["size=1"]).contains("a bind mount has no option"));
    assert!(error("/x", "tmpfs", "", &["idmap"]).contains("only bind mounts can be id-mapped"));
    assert!(error("/x", "bind", "/y", &["tmpcopyup"]).contains("an option of tmpfs"));
    for target in ["/proc/x", "/proc/sys/net", "/proc/./1", "/a/../proc/1"] {
        assert!(error(target, "tmpfs", "", &[]).contains("inside /proc"), "{target}");
    }
    assert!(MountPlan::from_spec(&mount("/proc/meminfo", "bind", "/y", &[])).is_ok());
    assert!(MountPlan::from_spec(&mount("/process", "tmpfs", "", &[])).is_ok());
}

#[test]
fn a_dev_of_the_host_is_left_alone() {
    let mut spec = spec();
    spec.root = Some(Root { path: "/r".into(), readonly: true });
    spec.mounts = vec![mount("/dev", "bind", "/dev", &["rbind"])];
    let plan = Plan::from_spec(&spec, false).unwrap();
    assert!(!plan.fill_dev && plan.readonly_root);
    assert_eq!(plan.root_path.as_deref(), Some(Path::new("/r")));
}
