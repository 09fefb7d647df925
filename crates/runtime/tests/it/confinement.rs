//! Namespaces, masks, capabilities, limits, filters, cgroups.

use std::collections::BTreeMap;

use oci::runtime::{Arg, NamespaceKind, Rlimit, Seccomp, Syscall, TimeOffset};

use crate::job::Job;

#[test]
fn every_namespace_is_new() {
    let outcome = Job::shell(
        "for n in cgroup ipc mnt net pid time uts user; do readlink /proc/self/ns/$n; done",
    )
    .run();
    let inside: Vec<&str> = outcome.ok().lines().collect();
    for (line, name) in inside.iter().zip(["cgroup", "ipc", "mnt", "net", "pid", "time", "uts"]) {
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(line.starts_with(name) && *line != outside.to_str().unwrap(), "{name}: {line}");
    }
    assert_eq!(inside[7], std::fs::read_link("/proc/self/ns/user").unwrap().to_str().unwrap());
    assert_eq!(
        Job::shell("echo $$; hostname; ip -o link").run().ok().lines().take(2).collect::<Vec<_>>(),
        ["1", "box"]
    );
}

#[test]
fn loopback_is_up_in_a_new_network_namespace() {
    let outcome = Job::shell("ip -o link show lo").run();
    assert!(outcome.ok().contains("LOOPBACK,UP"), "{outcome:?}");
}

#[test]
fn a_network_namespace_can_be_given() {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let outcome = Job::shell("readlink /proc/self/ns/net").set("netns", "/proc/self/ns/net").run();
    assert_eq!(outcome.ok(), own.to_str().unwrap());
}

#[test]
fn namespaces_can_be_joined_by_path() {
    let path = |name: &str| Some(format!("/proc/self/ns/{name}").into());
    let outcome =
        Job::shell("for n in ipc net pid uts; do readlink /proc/self/ns/$n; done; echo $PPID")
            .with(|spec| spec.hostname = None)
            .linux(|linux| {
                for namespace in &mut linux.namespaces {
                    namespace.path = match namespace.kind {
                        NamespaceKind::Ipc => path("ipc"),
                        NamespaceKind::Network => path("net"),
                        NamespaceKind::Pid => path("pid"),
                        NamespaceKind::Uts => path("uts"),
                        _ => None,
                    };
                }
            })
            .run();
    let lines: Vec<&str> = outcome.ok().lines().collect();
    for (line, name) in lines.iter().zip(["ipc", "net", "pid", "uts"]) {
        assert_eq!(
            *line,
            std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap()
        );
    }
    // The helper is its parent, not the go-between.
    assert_ne!(lines[4], "1");
}

#[test]
fn clocks_can_be_offset() {
    let up = std::fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
    let offset = TimeOffset { secs: 1_000_000, nanosecs: 0 };
    let outcome = Job::shell("cut -d. -f1 /proc/uptime")
        .linux(|linux| linux.time_offsets = BTreeMap::from([("boottime".to_owned(), offset)]))
        .run();
    let inside: f64 = outcome.ok().parse().unwrap();
    assert!((inside - up - 1_000_000.0).abs() < 60.0, "{inside} {up}");
}

#[test]
fn masked_paths_are_empty_and_read_only_ones_are_not_written() {
    let script = "cat /proc/keys /proc/timer_list /proc/interrupts /proc/kcore 2>/dev/null | wc -c; \
                  ls /sys/firmware | wc -l; \
                  echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo refused; \
                  touch /sys/firmware/x 2>/dev/null || echo refused; \
                  (echo h > /proc/sysrq-trigger) 2>/dev/null || echo refused";
    assert_eq!(Job::shell(script).run().ok(), "0\n0\nrefused\nrefused\nrefused");
    let outcome = Job::shell("cat /proc/self/mountinfo").run();
    for name in ["keys", "timer_list", "interrupts"] {
        let place = format!(" /proc/{name} ");
        let line = outcome
            .ok()
            .lines()
            .find(|l| l.contains(&place))
            .unwrap_or_else(|| panic!("{name} is not masked"));
        assert_eq!(line.split(' ').nth(3), Some("/null"), "{line}");
    }
}

#[test]
fn what_masks_a_file_is_not_the_hosts() {
    use std::os::unix::fs::MetadataExt as _;
    let before = std::fs::metadata("/dev/null").unwrap();
    let changes = "for change in 'chmod 640' 'chown 7:7' touch; do \
                   $change /proc/keys 2>/dev/null || echo refused; done; stat -c '%a %u' /proc/keys; \
                   echo x > /proc/keys && cat /proc/keys";
    assert_eq!(Job::shell(changes).run().ok(), "refused\nrefused\nrefused\n666 0");
    let after = std::fs::metadata("/dev/null").unwrap();
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    // Nor with the right to mount: what such a container makes writable is its own.
    let script =
        "mount -o remount,bind,rw /proc/keys && chmod 640 /proc/keys; stat -c %a /proc/keys";
    let outcome = Job::shell(script)
        .process(|p| {
            let sets = p.capabilities.as_mut().unwrap();
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                set.push("CAP_SYS_ADMIN".to_owned());
            }
        })
        .run();
    assert_eq!(outcome.ok(), "640");
    assert_eq!(std::fs::metadata("/dev/null").unwrap().mode(), before.mode());
    // The other files that are covered are copies of the same, the host's folder of devices is not covered.
    assert!(std::fs::metadata("/dev/empty").is_err());
}

#[test]
fn streams_that_lead_nowhere_are_the_containers_own() {
    use std::os::unix::fs::MetadataExt as _;
    let hosts = std::fs::metadata("/dev/null").unwrap();
    let script = "stat -Lc '%d %i' /proc/self/fd/0; stat -c '%d %i' /dev/null; wc -c < /proc/self/fd/0; \
                  echo x > /proc/self/fd/0";
    let outcome = Job::shell(script).set("null", true).run();
    let lines: Vec<&str> = outcome.ok().lines().collect();
    assert_eq!((lines[0], lines[2]), (lines[1], "0"));
    // Whatever an image or a volume has there, it is not what the program gets, nor is it the host's.
    let file = "stat -Lc '%t:%T %d' /proc/self/fd/0; cat /dev/null; echo x > /proc/self/fd/0";
    let outcome = Job::shell(file)
        .with(|spec| spec.mounts.retain(|m| !m.destination.starts_with("/dev")))
        .file("dev/null", "fake")
        .set("null", true)
        .run();
    let text = outcome.ok();
    assert!(text.starts_with("1:3 ") && text.ends_with("fake"), "{text}");
    assert_ne!(text.lines().next(), Some(format!("1:3 {}", hosts.dev()).as_str()));
}

#[test]
fn capabilities_are_dockers_and_never_inherited() {
    let status = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status | tr -s '\\t\\n' ' '";
    let outcome = Job::shell(status).run();
    let set = "00000000a80425fb";
    let zero = "0000000000000000";
    assert_eq!(
        outcome.ok(),
        format!(
            "CapInh: {zero} CapPrm: {set} CapEff: {set} CapBnd: {set} CapAmb: {zero} NoNewPrivs: 0 Seccomp: 0"
        )
    );
    let outcome = Job::shell(status).user("web").process(|p| p.no_new_privileges = true).run();
    assert_eq!(
        outcome.ok(),
        format!(
            "CapInh: {zero} CapPrm: {zero} CapEff: {zero} CapBnd: {set} CapAmb: {zero} NoNewPrivs: 1 Seccomp: 0"
        )
    );
}

#[test]
fn inheritable_and_ambient_capabilities_are_those_that_somebody_asked_for() {
    let outcome = Job::shell("grep -E 'CapInh|CapAmb' /proc/self/status")
        .process(|p| {
            let sets = p.capabilities.as_mut().unwrap();
            sets.inheritable = sets.bounding.clone();
            sets.ambient = sets.bounding.clone();
        })
        .run();
    assert!(outcome.ok().lines().all(|l| l.ends_with("00000000a80425fb")), "{outcome:?}");
    let outcome = Job::shell("grep -E 'CapInh|CapAmb' /proc/self/status").run();
    assert!(outcome.ok().lines().all(|l| l.ends_with("0000000000000000")), "{outcome:?}");
}

#[test]
fn no_capabilities_are_none_even_for_root() {
    let outcome = Job::shell("grep Cap /proc/self/status").process(|p| p.capabilities = None).run();
    assert!(outcome.ok().lines().all(|l| l.ends_with("0000000000000000")), "{outcome:?}");
}

#[test]
fn limits_are_set_or_clipped() {
    let limit = |kind: &str, soft, hard| Rlimit { kind: kind.to_owned(), soft, hard };
    let outcome = Job::shell("ulimit -n; ulimit -c; ulimit -Hn")
        .process(|p| {
            p.rlimits = vec![limit("RLIMIT_NOFILE", 100, u64::MAX), limit("RLIMIT_CORE", 0, 0)];
        })
        .run();
    let lines: Vec<&str> = outcome.ok().lines().collect();
    assert_eq!(lines[..2], ["100", "0"]);
    assert!(lines[2].parse::<u64>().unwrap() >= 100);
}

#[test]
fn oom_score_umask_and_signals_are_as_asked() {
    let script =
        "cat /proc/self/oom_score_adj; umask; grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2";
    let outcome = Job::shell(script)
        .process(|p| {
            p.oom_score_adj = Some(321);
            p.user.umask = Some(0o077);
        })
        .run();
    assert_eq!(outcome.ok(), "321\n0077\n0000000000000000\n0000000000000000");
}

#[test]
fn nothing_but_the_standard_streams_is_open() {
    // 3 is the directory that is listed.
    assert_eq!(Job::new(&["ls", "/proc/self/fd"]).run().ok(), "0\n1\n2\n3");
}

#[test]
fn a_filter_is_in_force_for_root_and_for_others() {
    let profile = Seccomp {
        default_action: "SCMP_ACT_ALLOW".to_owned(),
        architectures: vec!["SCMP_ARCH_X86_64".to_owned(), "SCMP_ARCH_AARCH64".to_owned()],
        syscalls: vec![Syscall {
            names: ["uname", "capset", "setresuid"].into_iter().collect(),
            action: "SCMP_ACT_ERRNO".to_owned(),
            errno_ret: Some(113),
            args: Vec::<Arg>::new(),
        }],
        ..Seccomp::default()
    };
    for (user, nnp) in [("", false), ("", true), ("web", false), ("web", true)] {
        let outcome = Job::shell("test -z $(uname) && echo filtered; grep Seccomp: /proc/self/status; grep CapPrm /proc/self/status")
            .user(user)
            .process(|p| p.no_new_privileges = nnp)
            .linux(|l| l.seccomp = Some(profile.clone()))
            .run();
        let capabilities = if user.is_empty() { "00000000a80425fb" } else { "0000000000000000" };
        let expected = format!("filtered\nSeccomp:\t2\nCapPrm:\t{capabilities}");
        assert_eq!(outcome.ok(), expected, "{user:?} {nnp}");
    }
}

#[test]
fn sysctls_are_the_containers_own() {
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let sysctl = BTreeMap::from([
        ("net.ipv4.ip_forward".to_owned(), "1".to_owned()),
        ("kernel.msgmax".to_owned(), "12345".to_owned()),
    ]);
    let outcome = Job::shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax")
        .linux(|l| l.sysctl = sysctl)
        .run();
    assert_eq!(outcome.ok(), "1\n12345");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
}

#[test]
fn the_cgroup_is_entered_shown_read_only_and_left_clean() {
    let group = format!("gantry-test-{}/confinement", std::process::id());
    let script = "cut -d: -f3 /proc/self/cgroup | sort -u; \
                  cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused; \
                  mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo refused; \
                  cd /sys/fs/cgroup/pids 2>/dev/null || cd /sys/fs/cgroup; grep -w $$ cgroup.procs";
    let outcome = Job::shell(script)
        .set("cgroup", &group)
        .linux(|l| {
            l.resources = Some(oci::runtime::Resources {
                pids: Some(oci::runtime::Pids { limit: 77 }),
                ..oci::runtime::Resources::default()
            });
        })
        .run();
    assert_eq!(outcome.ok(), "/\n77\nrefused\nrefused\n1");
    let parent = format!("gantry-test-{}", std::process::id());
    let root = std::path::PathBuf::from("/sys/fs/cgroup");
    let below = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path());
    for place in below.chain([root]) {
        let path = place.join(&parent);
        if path.exists() {
            assert_eq!(
                std::fs::read_dir(&path)
                    .unwrap()
                    .filter(|e| e.as_ref().unwrap().path().is_dir())
                    .count(),
                0
            );
            std::fs::remove_dir(&path).unwrap();
        }
    }
}

#[test]
fn what_is_missing_is_refused_with_a_clear_error() {
    let hooks = Job::new(&["true"]).with(|spec| {
        let hook = oci::runtime::Hook { path: "/bin/true".into(), ..Default::default() };
        spec.hooks = Some(oci::runtime::Hooks { prestart: vec![hook], ..Default::default() });
    });
    assert_eq!(
        hooks.run().failed(),
        "hooks and seccomp agents need to be told who the container is"
    );
    let user = Job::new(&["true"]).linux(|l| {
        l.namespaces.push(oci::runtime::Namespace { kind: NamespaceKind::User, path: None });
    });
    assert_eq!(user.run().failed(), "user namespace: uidMappings must not be empty");
    let joined = Job::new(&["true"]).linux(|l| {
        l.namespaces.retain(|n| n.kind != NamespaceKind::Mount);
        let path = Some("/proc/1/ns/mnt".into());
        l.namespaces.push(oci::runtime::Namespace { kind: NamespaceKind::Mount, path });
    });
    assert!(joined.run().failed().starts_with("joining a mount namespace is not supported"));
}
