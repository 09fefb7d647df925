//! OCI runtimes alone: `run` of the same bundle, without daemons.

use super::figures::{Report, Turn, interleave};
use super::floor::Floor;
use super::host::Host;
use super::{Contest, image};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub(crate) fn runtimes(contest: &Contest) -> Result<Report> {
    let floor = Floor::build(contest)?;
    let host = Host::start()?;
    let group = format!("gantry-bench-{}", std::process::id());
    let bundle = bundle(&contest.folder, &group)?;
    let ours = super::programs().join("gantry-runtime");
    let peer =
        |name: &str| contest.peers.as_ref().map(|p| p.join(name)).or_else(|| super::find(name));
    let mut programs: Vec<(&str, PathBuf)> = vec![("gantry-runtime", ours)];
    for name in ["runc", "crun", "youki"] {
        programs.extend(peer(name).filter(|p| p.exists()).map(|p| (name, p)));
    }
    let (host, bundle) = (&host, &bundle);
    let mut contestants: Vec<(String, Turn<'_>)> = programs
        .iter()
        .map(|(name, program)| {
            let turn: Turn<'_> = Box::new(move || Ok(vec![time(host, name, program, bundle)?]));
            ((*name).to_owned(), turn)
        })
        .collect();
    contestants.push(("kernel floor".to_owned(), Box::new(|| Ok(vec![floor.time("none")?]))));
    let rest = Duration::from_millis(100);
    let mut report = Report::default();
    report.add(interleave(contest.rounds, rest, &[("", "ms")], contestants));
    for name in ["runc", "crun", "kernel floor"] {
        report.ratio("gantry-runtime", name, None);
    }
    report.note("each is entered into a private host by nsenter, which takes every one of them the same 1–2 ms");
    super::host::remove_groups(&group);
    Ok(report)
}

fn time(host: &Host, name: &str, program: &Path, bundle: &Path) -> Result<f64> {
    let id = format!("bench-{}", std::process::id());
    let mut command = match name {
        // It takes a hybrid machine for a v2 one.
        "crun" => {
            let mut command = host.command("unshare");
            let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
            command.args(["--mount", "sh", "-c", script]).arg(program);
            command
        }
        _ => host.command(program),
    };
    let root = bundle.join(format!("state-{name}"));
    command.arg("--root").arg(root).args(["run", "--bundle"]).arg(bundle).arg(&id);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output().with_context(|| format!("run {name}"))?;
    let took = start.elapsed();
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(took.as_secs_f64() * 1e3)
}

/// A bundle with the usual namespaces, mounts, masks and capabilities.
fn bundle(folder: &Path, group: &str) -> Result<PathBuf> {
    let rootfs = image::busybox_tree(folder)?;
    let bundle = folder.join("bundle");
    std::fs::create_dir_all(&bundle).context("make a bundle")?;
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
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
        },
        "root": {"path": rootfs},
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
            "cgroupsPath": format!("/{group}/bundle"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/devices/virtual/powercap", "/sys/firmware"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    let text = serde_json::to_string_pretty(&config).context("write a specification")?;
    std::fs::write(bundle.join("config.json"), text).context("write config.json")?;
    Ok(bundle)
}
