//! The images that everybody gets, made here: no network is needed for busybox.

use crate::sh;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Commands that the benchmarks call.
const APPLETS: [&str; 9] = ["sh", "true", "sleep", "cat", "dd", "yes", "head", "echo", "ls"];

/// A docker-archive with `busybox:latest`, made of this machine's static busybox.
pub(crate) fn busybox(folder: &Path) -> Result<PathBuf> {
    let archive = folder.join("busybox.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let tree = busybox_tree(folder)?;
    let layer = folder.join("busybox-layer.tar");
    pack(&tree, &layer, &["."])?;
    wrap(folder, "busybox", &[layer], &["sh"], &archive)?;
    Ok(archive)
}

/// A root file system with busybox in it.
pub(crate) fn busybox_tree(folder: &Path) -> Result<PathBuf> {
    let program = super::find("busybox").context("busybox is missing (package busybox-static)")?;
    let tree = folder.join("busybox");
    let _old = std::fs::remove_dir_all(&tree);
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        std::fs::create_dir_all(tree.join(dir)).with_context(|| format!("make {dir}"))?;
    }
    std::fs::copy(program, tree.join("bin/busybox")).context("copy busybox")?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet))
            .with_context(|| format!("link {applet}"))?;
    }
    for (file, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/hosts", ""),
        ("etc/hostname", ""),
        ("etc/resolv.conf", ""),
    ] {
        std::fs::write(tree.join(file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(tree)
}

/// Puts paths of a tree into a tar file.
pub(crate) fn pack(tree: &Path, file: &Path, what: &[&str]) -> Result<()> {
    let (tree, file) = (tree.display().to_string(), file.display().to_string());
    let mut args = vec!["-C", &tree, "--numeric-owner", "--sort=name", "-cf", &file];
    args.extend(what);
    sh::run("tar", &args)
}

/// Makes a docker-archive of layers, bottom first.
pub(crate) fn wrap(
    folder: &Path,
    name: &str,
    layers: &[PathBuf],
    command: &[&str],
    archive: &Path,
) -> Result<()> {
    let stage = folder.join(format!("stage-{name}"));
    let _old = std::fs::remove_dir_all(&stage);
    std::fs::create_dir_all(&stage).with_context(|| format!("make {}", stage.display()))?;
    let (mut digests, mut names) = (Vec::new(), Vec::new());
    for (number, layer) in layers.iter().enumerate() {
        let text = sh::output("sha256sum", &[&layer.display().to_string()])?;
        let digest = text.split(' ').next().unwrap_or_default();
        ensure!(digest.len() == 64, "sha256sum printed {text:?}");
        digests.push(format!("sha256:{digest}"));
        names.push(format!("{number}.tar"));
        std::fs::rename(layer, stage.join(format!("{number}.tar"))).context("move a layer")?;
    }
    let history: Vec<Value> = (0..layers.len())
        .map(|n| json!({"created": "2026-01-01T00:00:00Z", "created_by": format!("layer {n}")}))
        .collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": command,
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": history,
    });
    std::fs::write(stage.join("config.json"), config.to_string()).context("write config.json")?;
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [format!("{name}:latest")], "Layers": names}]);
    std::fs::write(stage.join("manifest.json"), manifest.to_string()).context("write manifest")?;
    let new = archive.with_extension("new");
    let mut members = vec!["manifest.json", "config.json"];
    members.extend(names.iter().map(String::as_str));
    pack(&stage, &new, &members)?;
    std::fs::rename(&new, archive).context("name the archive")?;
    std::fs::remove_dir_all(&stage).context("remove the stage")
}
