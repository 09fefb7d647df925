//! OCI runtimes alone: `run` of the same bundle, without daemons.

use super::figures::{Report, Row, Turn, interleave};
use super::floor::{Floor, median};
use super::host::{Daemon, Host, wait_for};
use super::{Contest, image, proc};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) fn runtimes(contest: &Contest) -> Result<Report> {
    let floor = Floor::build(contest)?;
    let group = format!("gantry-bench-{}", std::process::id());
    let (spec, origin) = match dockers_own(contest)? {
        Some(spec) => {
            (spec, "the specification is what dockerd writes, its seccomp profile included")
        }
        None => {
            (by_hand(), "there is no dockerd to ask for its specification: no seccomp in this one")
        }
    };
    let bundle = bundle(contest, &group, spec)?;
    let host = Host::start()?;
    let ours = super::programs().join("gantry-runtime");
    let peer =
        |name: &str| contest.peers.as_ref().map(|p| p.join(name)).or_else(|| super::find(name));
    let mut programs: Vec<(&str, PathBuf)> = vec![("gantry-runtime", ours)];
    for name in ["runc", "crun", "youki"] {
        programs.extend(peer(name).filter(|p| p.exists()).map(|p| (name, p)));
    }
    let (host, bundle, floor) = (&host, &bundle, &floor);
    let mut contestants: Vec<(String, Turn<'_>)> = programs
        .iter()
        .map(|(name, program)| {
            let turn: Turn<'_> = Box::new(move || {
                Ok(vec![median(command(host, name, program, &bundle.short, Some(floor)))?])
            });
            ((*name).to_owned(), turn)
        })
        .collect();
    contestants.push(("kernel floor".to_owned(), Box::new(|| Ok(vec![floor.time("none")?]))));
    let rest = Duration::from_millis(100);
    let mut report = Report::default();
    report.add(interleave(contest.rounds, rest, &[("", "ms")], contestants));
    for (name, program) in &programs {
        let peak = peak(host, name, program, &bundle.long)? as f64 * 1.024e-3;
        report.add([Row::new(format!("peak memory: {name}"), "MB", vec![peak])]);
    }
    report.ratio("gantry-runtime", "runc", None);
    report.ratio("gantry-runtime", "crun", Some(1.0));
    report.ratio("gantry-runtime", "kernel floor", Some(2.0));
    report.at_most("peak memory: gantry-runtime", 2.0);
    report.note(origin);
    report.note("all are timed in the same way, the floor included: several rounds by a small program in a private host");
    super::host::remove_groups(&group);
    Ok(report)
}

/// The command that runs `bundle`; `timed` by a program that is in the private host already.
fn command(
    host: &Host,
    name: &str,
    program: &Path,
    bundle: &Path,
    timed: Option<&Floor>,
) -> Command {
    let words = timed.map_or_else(|| vec![program.into()], |floor| floor.timer(program).to_vec());
    let mut command = match name {
        // It takes a hybrid machine for a v2 one.
        "crun" => {
            let mut command = host.command("unshare");
            let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
            command.args(["--mount", "sh", "-c", script]).args(words);
            command
        }
        _ => {
            let mut command = host.command(&words[0]);
            command.args(&words[1..]);
            command
        }
    };
    let root = bundle.join(format!("state-{name}"));
    let id = format!("bench-{}", std::process::id());
    command.arg("--root").arg(root).args(["run", "--bundle"]).arg(bundle).arg(id);
    command
}

/// What the program has taken at most until its container runs, in KiB: the largest of its processes.
fn peak(host: &Host, name: &str, program: &Path, bundle: &Path) -> Result<u64> {
    let mut command = command(host, name, program, bundle, None);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("run {name}"))?;
    let measured = wait_for("the container", || {
        let all = proc::descendants(child.id());
        all.iter().any(|pid| proc::name(*pid) == "sleep").then_some(all)
    });
    let peak = measured.map(|all| {
        // By name: runtimes run from copies of themselves, which no container can write to.
        let own = all.into_iter().filter(|pid| proc::name(*pid) == *name);
        own.map(proc::peak_memory).max()
    });
    let ended = child.wait().with_context(|| format!("wait for {name}"))?;
    if !ended.success() {
        bail!("{name} failed: {ended}");
    }
    peak?.with_context(|| format!("{name} was gone before it could be measured"))
}

/// Where the containers are: one that ends at once, and one that stays for a moment.
#[derive(Debug)]
struct Bundles {
    short: PathBuf,
    long: PathBuf,
}

fn bundle(contest: &Contest, group: &str, mut spec: Value) -> Result<Bundles> {
    spec["root"] = json!({"path": image::busybox_tree(&contest.folder)?});
    spec["linux"]["cgroupsPath"] = json!(format!("/{group}/bundle"));
    let write = |name: &str, args: &[&str]| -> Result<PathBuf> {
        let bundle = contest.folder.join(name);
        std::fs::create_dir_all(&bundle).context("make a bundle")?;
        let mut spec = spec.clone();
        spec["process"]["args"] = json!(args);
        let text = serde_json::to_string_pretty(&spec).context("write a specification")?;
        std::fs::write(bundle.join("config.json"), text).context("write config.json")?;
        Ok(bundle)
    };
    Ok(Bundles { short: write("bundle", &["true"])?, long: write("bundle-long", &["sleep", "1"])? })
}

/// The specification that the reference gives its runtime, without what is only there while its daemon runs.
fn dockers_own(contest: &Contest) -> Result<Option<Value>> {
    let Some(peers) = &contest.peers else { return Ok(None) };
    let archive = image::busybox(&contest.folder)?;
    let daemon = Daemon::docker(&contest.folder, peers)?;
    let client = contest.client(&daemon)?;
    client.quiet(&["load", "-q", "-i", &archive.display().to_string()])?;
    client.quiet(&[
        "run",
        "-d",
        "--name",
        "spec",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let tasks = daemon.folder().join("exec/containerd/daemon/io.containerd.runtime.v2.task/moby");
    let bundle = std::fs::read_dir(&tasks)
        .with_context(|| format!("list {}", tasks.display()))?
        .flatten()
        .next()
        .context("the reference keeps no bundle")?;
    let text = std::fs::read_to_string(bundle.path().join("config.json"))
        .context("read the reference's config.json")?;
    client.quiet(&["rm", "-f", "spec"])?;
    let mut spec: Value =
        serde_json::from_str(&text).context("read the reference's config.json")?;
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("hooks");
    }
    if let Some(mounts) = spec["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "bind");
    }
    for namespace in spec["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        if let Some(namespace) = namespace.as_object_mut() {
            namespace.remove("path");
        }
    }
    Ok(Some(spec))
}

/// The usual namespaces, mounts, masks and capabilities.
fn by_hand() -> Value {
    let mount = |target: &str, kind: &str, options: &[&str]| -> Value {
        json!({"destination": target, "type": kind, "source": kind, "options": options})
    };
    let capabilities: Vec<String> =
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL \
         AUDIT_WRITE"
            .split_whitespace()
            .map(|c| format!("CAP_{c}"))
            .collect();
    let namespaces: Vec<Value> = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
        },
        "hostname": "bench",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/devices/virtual/powercap", "/sys/firmware"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
