//! `bare [--fresh]`: the README's first command on a machine that has nothing.
//!
//! A minimal Debian with a C compiler and certificates, made by `mmdebstrap` and kept in `target/bare/root.tar`; the Rust
//! toolchain and cargo's downloaded sources bound into it read-only; mount, process and network namespaces of its own, the
//! last with a loopback device only, so that nothing can be fetched behind our back. In it a clone of the committed state
//! builds and greets, twice: the second time nothing is left to build and the daemon is there already.
//!
//! What the clone builds is kept in `target/bare/target` for the next time, unless `--fresh` is said.

use crate::sh;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What a Debian machine with Rust has and a minimal one has not.
const PACKAGES: &str = "gcc,libc6-dev,ca-certificates";

/// Runs inside the namespaces, before and after the change of root. `$1`: the root, `$2`: the toolchain, `$3`: cargo's
/// sources, `$4`: where the clone builds.
const SCRIPT: &str = r#"
set -eu
root=$1
# A root is a mount point, as on a real machine.
mount --bind "$root" "$root"
mkdir -p "$root/opt/rust" "$root/root/.cargo/registry" "$root/proc" "$root/sys" "$root/dev" "$root/root/gantry/target"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind -o ro "$2" "$root/opt/rust"
mount --bind -o ro "$3" "$root/root/.cargo/registry"
mount --bind "$4" "$root/root/gantry/target"
cd "$root"
pivot_root . .
umount -l .
exec /usr/bin/env -i PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    CARGO_NET_OFFLINE=true RUSTUP_TOOLCHAIN= sh -c '
set -eu
! command -v docker runc crun containerd podman nft ip iptables git python3 >/dev/null || { echo "not bare"; exit 1; }
cd /root/gantry
for turn in first second; do
    begun=$(date +%s%N)
    cargo xtask run hello-world >/tmp/$turn
    echo "$turn: $((($(date +%s%N) - begun) / 1000000)) ms"
done
cat /tmp/second
cmp /tmp/first /tmp/second
'
"#;

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    let fresh = match args {
        [] => false,
        [flag] if flag == "--fresh" => true,
        _ => bail!("usage: cargo xtask bare [--fresh]"),
    };
    for (program, package) in
        [("mmdebstrap", "mmdebstrap"), ("unshare", "util-linux"), ("git", "git")]
    {
        ensure!(sh::have(program), "needs {program}: Debian's package {package}");
    }
    let start = Instant::now();
    let root = prepare(fresh)?;
    let before = cgroups();
    let result = enter(&root);
    // The daemon ended with its namespace; its cgroups are the machine's.
    for path in cgroups().into_iter().filter(|path| !before.contains(path)) {
        remove_cgroup(&path);
    }
    remove(&root)?;
    result?;
    println!("bare: built and greeted in {} s", start.elapsed().as_secs());
    Ok(ExitCode::SUCCESS)
}

fn place(name: &str) -> PathBuf {
    sh::root().join("target/bare").join(name)
}

/// A fresh root with a clone of the committed state in it.
fn prepare(fresh: bool) -> Result<PathBuf> {
    std::fs::create_dir_all(place("")).context("make target/bare")?;
    let (root, archive) = (place("root"), place("root.tar"));
    remove(&root)?;
    if fresh {
        remove(&place("target"))?;
    }
    std::fs::create_dir_all(place("target")).context("make the target folder")?;
    if !archive.exists() {
        println!("making a minimal Debian with {PACKAGES}");
        let new = place("root.new.tar").display().to_string();
        let include = format!("--include={PACKAGES}");
        sh::run(
            "mmdebstrap",
            &["--quiet", "--variant=minbase", "--format=tar", &include, "bookworm", &new],
        )?;
        std::fs::rename(&new, &archive).context("keep the root")?;
    }
    std::fs::create_dir_all(&root).context("make the root")?;
    let text = |path: &Path| path.display().to_string();
    // Device nodes come from the machine.
    sh::run("tar", &["-C", &text(&root), "--exclude=./dev/*", "-xpf", &text(&archive)])?;
    sh::run(
        "git",
        &["clone", "-q", "--no-hardlinks", &text(&sh::root()), &text(&root.join("root/gantry"))],
    )?;
    Ok(root)
}

fn enter(root: &Path) -> Result<()> {
    let sysroot = sh::output("rustc", &["--print", "sysroot"])?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.context("where is cargo's home?")?.join("registry");
    // With the sources of every crate of the lock file there, nothing needs to be fetched inside.
    sh::run("cargo", &["fetch", "--locked", "--quiet"])?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--net",
            "--ipc",
            "--uts",
        ])
        .args(["sh", "-c", SCRIPT, "bare"])
        .arg(root)
        .arg(sysroot.trim())
        .arg(sources)
        .arg(place("target"));
    let status = command.status().context("run unshare")?;
    ensure!(status.success(), "the clone did not greet: {status}");
    Ok(())
}

/// Removes a tree; nothing is mounted in it any more, since its namespace is gone.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Cgroups of instances of ours.
fn cgroups() -> Vec<PathBuf> {
    let below =
        |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    let root = PathBuf::from("/sys/fs/cgroup");
    let instances = |path: &PathBuf| {
        path.is_dir()
            && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("gantry-"))
    };
    below(root.clone()).flat_map(below).chain(below(root)).filter(instances).collect()
}

fn remove_cgroup(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    if let Err(e) = std::fs::remove_dir(path) {
        eprintln!("remove {}: {e}", path.display());
    }
}
