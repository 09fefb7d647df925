//! Limits of `run`, read back from inside the container: on cgroup v1 and v2.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use testkit::{Cli, Daemon, need};

/// A block device of the machine: its node, and its numbers as the kernel writes them.
fn disk() -> Option<(String, String)> {
    let names = std::fs::read_dir("/sys/block").ok()?.flatten().map(|e| e.file_name());
    let mut names: Vec<String> = names.filter_map(|n| n.into_string().ok()).collect();
    // Real ones before those of memory.
    names.sort_by_key(|n| {
        (n.starts_with("loop") || n.starts_with("ram") || n.starts_with("zram"), n.clone())
    });
    names.into_iter().find_map(|name| {
        let node = format!("/dev/{name}");
        let metadata = std::fs::metadata(&node).ok()?;
        let number = metadata.rdev();
        let numbers = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        metadata.file_type().is_block_device().then_some((node, numbers))
    })
}

fn v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// What the container's files say: a line for each of those that are there.
fn read_inside(files: &[&str]) -> String {
    let list = files.join(" ");
    format!("cd /sys/fs/cgroup; for f in {list}; do [ -e $f ] && echo \"$f $(cat $f)\"; done; true")
}

#[test]
fn limits_are_what_was_asked_for() {
    need!(Root);
    let Some((node, numbers)) = disk() else {
        return testkit::need::skip("limits_are_what_was_asked_for", "there is no block device");
    };
    let daemon = Daemon::start();
    let rate = |what: &str, rate: &str| [format!("--device-{what}"), format!("{node}:{rate}")];
    let rates: Vec<String> = [
        rate("read-bps", "1mb"),
        rate("write-bps", "2mb"),
        rate("read-iops", "300"),
        rate("write-iops", "400"),
    ]
    .concat();
    let weight = format!("{node}:200");
    let mut flags = vec![
        "run",
        "--rm",
        "--cpu-shares",
        "512",
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "25000",
        "--cpuset-cpus",
        "0",
        "--cpuset-mems",
        "0",
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--memory-swap",
        "128m",
        "--pids-limit",
        "77",
        "--shm-size",
        "32m",
        "--oom-score-adj",
        "500",
        "--blkio-weight",
        "300",
    ];
    // A weight for one device needs a scheduler on it that knows weights.
    let weighs =
        std::fs::read_to_string(format!("/sys/block/{}/queue/scheduler", &node["/dev/".len()..]))
            .is_ok_and(|schedulers| schedulers.contains("[bfq]"));
    if weighs {
        flags.extend(["--blkio-weight-device", &weight]);
    }
    flags.extend(rates.iter().map(String::as_str));
    let expected: Vec<(&str, String)> = if v2() {
        vec![
            ("cpu.weight", "59".to_owned()),
            ("cpu.max", "25000 50000".to_owned()),
            ("cpuset.cpus", "0".to_owned()),
            ("cpuset.mems", "0".to_owned()),
            ("memory.max", "67108864".to_owned()),
            ("memory.low", "33554432".to_owned()),
            ("memory.swap.max", "67108864".to_owned()),
            ("pids.max", "77".to_owned()),
        ]
    } else {
        vec![
            ("cpu/cpu.shares", "512".to_owned()),
            ("cpu/cpu.cfs_period_us", "50000".to_owned()),
            ("cpu/cpu.cfs_quota_us", "25000".to_owned()),
            ("cpuset/cpuset.cpus", "0".to_owned()),
            ("cpuset/cpuset.mems", "0".to_owned()),
            ("memory/memory.limit_in_bytes", "67108864".to_owned()),
            ("memory/memory.soft_limit_in_bytes", "33554432".to_owned()),
            ("memory/memory.memsw.limit_in_bytes", "134217728".to_owned()),
            ("pids/pids.max", "77".to_owned()),
        ]
    };
    let throttles = if v2() {
        vec![("io.max", format!("{numbers} rbps=1048576 wbps=2097152 riops=300 wiops=400"))]
    } else {
        vec![
            ("blkio/blkio.throttle.read_bps_device", format!("{numbers} 1048576")),
            ("blkio/blkio.throttle.write_bps_device", format!("{numbers} 2097152")),
            ("blkio/blkio.throttle.read_iops_device", format!("{numbers} 300")),
            ("blkio/blkio.throttle.write_iops_device", format!("{numbers} 400")),
        ]
    };
    let files: Vec<&str> = expected.iter().chain(&throttles).map(|(file, _)| *file).collect();
    let weights = [
        "io.weight",
        "io.bfq.weight",
        "blkio/blkio.weight",
        "blkio/blkio.bfq.weight",
        "blkio/blkio.bfq.weight_device",
    ];
    let script = format!(
        "{}; {}; cat /proc/self/oom_score_adj; df -k /dev/shm | tail -1",
        read_inside(&files),
        read_inside(&weights)
    );
    for cli in Cli::all() {
        let output =
            daemon.client(cli).run(&[&flags[..], &["busybox", "sh", "-c", &script]].concat()).ok();
        // docker 26.1 sends empty lists for the rates that it was given.
        let throttled = if cli == Cli::Gantry { &throttles[..] } else { &[] };
        for (file, value) in expected.iter().chain(throttled) {
            assert!(
                output.stdout.lines().any(|l| l == format!("{file} {value}")),
                "{file} {value}: {output}"
            );
        }
        // Whether a kernel has weights depends on its schedulers; without them Docker warns and goes on.
        let weighed = output
            .stdout
            .lines()
            .any(|l| l.contains("weight") && l.ends_with("300") || l.ends_with("2930"));
        assert!(weighed || output.stderr.contains("Weight discarded"), "{output}");
        let of_device = output.stdout.lines().any(|l| l.ends_with(&format!("{numbers} 200")));
        assert!(of_device || !weighs || cli != Cli::Gantry, "{output}");
        assert!(output.stdout.lines().any(|l| l == "500"), "{output}");
        assert!(output.stdout.lines().any(|l| l.contains(" 32768 ")), "{output}");
    }
}

#[test]
fn what_only_one_version_of_cgroups_has_is_done_or_said() {
    need!(Root);
    let daemon = Daemon::start();
    let flags = [
        "run",
        "--rm",
        "-m",
        "64m",
        "--memory-swap",
        "-1",
        "--memory-swappiness",
        "10",
        "--oom-kill-disable",
    ];
    let files = [
        "memory/memory.swappiness",
        "memory/memory.oom_control",
        "memory/memory.memsw.limit_in_bytes",
        "memory.swap.max",
    ];
    let script = read_inside(&files);
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let output = client.run(&[&flags[..], &["busybox", "sh", "-c", &script]].concat()).ok();
        if v2() {
            assert!(output.stdout.contains("memory.swap.max max"), "{output}");
            for text in ["Memory swappiness discarded.", "OomKillDisable discarded."] {
                assert!(output.stderr.contains(text), "{output}");
            }
            client
                .run(&["run", "--rm", "--cpu-rt-period", "500000", "busybox", "true"])
                .exits(125)
                .says("Your kernel does not support CPU real-time scheduler");
        } else {
            assert!(output.stdout.contains("memory.swappiness 10"), "{output}");
            assert!(output.stdout.contains("oom_kill_disable 1"), "{output}");
            let script = read_inside(&["cpu/cpu.rt_period_us"]);
            client
                .run(&["run", "--rm", "--cpu-rt-period", "500000", "busybox", "sh", "-c", &script])
                .ok()
                .prints("cpu/cpu.rt_period_us 500000\n");
        }
        for flag in ["--cpu-count=1", "--cpu-percent=1", "--io-maxiops=1", "--io-maxbandwidth=1"] {
            client.run(&["run", "--rm", flag, "busybox", "true"]).exits(1).says("windows");
        }
    }
}

#[test]
fn limits_that_cannot_be_are_refused() {
    need!(Root);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    for (flags, text) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
        (
            &["-m", "64m", "--memory-swap", "32m"],
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            &["--memory-swap", "32m"],
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (&["--cpus", "9999"], "Range of CPUs is from 0.01 to "),
        (
            &["--cpus", "1", "--cpu-quota", "5000"],
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            &["--cpuset-cpus", "8000"],
            "Requested CPUs are not available - requested 8000, available: ",
        ),
        (&["--cpu-rt-period", "1000", "--cpu-rt-runtime", "2000"], "real-time"),
        (
            &["--device-read-bps", "/dev/no-such:1mb"],
            "stat /dev/no-such: no such file or directory",
        ),
        (&["--device-write-iops", "/dev/null:10"], "/dev/null"),
        (
            &["--device", "/dev/no-such"],
            "error gathering device information while adding custom device \"/dev/no-such\": no such file or directory",
        ),
        (&["--device", "/etc/passwd"], "not a device node"),
        (&["--device-cgroup-rule", "c 1 rwm"], "'c 1 rwm'"),
        (
            &["--oom-score-adj", "1001"],
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
    ] {
        // Clients take this text for a program's that is missing.
        let code = if text.contains("no such file") { 127 } else { 125 };
        client
            .run(&[&["run", "--rm"], flags, &["busybox", "true"]].concat())
            .exits(code)
            .says(text);
    }
    // Nothing half-made is left of any of them.
    assert_eq!(client.run(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn devices_are_those_that_were_allowed() {
    need!(Root);
    let Some((node, numbers)) = disk() else {
        return testkit::need::skip(
            "devices_are_those_that_were_allowed",
            "there is no block device",
        );
    };
    if std::fs::File::open(&node).is_err() {
        return testkit::need::skip(
            "devices_are_those_that_were_allowed",
            "the block device cannot be read here even without a container",
        );
    }
    let daemon = Daemon::start();
    let (major, minor) = numbers.split_once(':').unwrap();
    // Opening for writing alone writes nothing.
    let try_both = "head -c 512 $d >/dev/null 2>&1 && echo read; (exec 3<>$d) 2>/dev/null && echo written; true";
    let made = format!("mknod /tmp/disk b {major} {minor}; d=/tmp/disk; {try_both}");
    let given = format!("d=/dev/mine; {try_both}");
    for cli in Cli::all() {
        let client = daemon.client(cli);
        let run = |flags: &[&str], script: &str| {
            client.run(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat()).ok()
        };
        run(&[], &made).prints("");
        run(&["--device", &format!("{node}:/dev/mine:r")], &given).prints("read\n");
        run(&["--device", &format!("{node}:/dev/mine")], &given).prints("read\nwritten\n");
        run(&["--device-cgroup-rule", &format!("b {major}:* r")], &made).prints("read\n");
        run(&["--device-cgroup-rule", &format!("b {numbers} rwm")], &made)
            .prints("read\nwritten\n");
    }
}
