//! `build`: all programs in `target/bin/`.
//!
//! The daemon and the client are ordinary release programs. The helpers that run in great numbers or inside containers
//! (shim, runtime, init) are small and static: for musl when that target is installed or can be, otherwise with the
//! C library linked in.

use crate::sh;
use anyhow::{Context as _, Result};
use std::process::ExitCode;

const LARGE: [&str; 2] = ["gantry", "gantryd"];
const SMALL: [&str; 3] = ["gantry-shim", "gantry-runtime", "gantry-init"];

pub(crate) fn task(_: &[String]) -> Result<ExitCode> {
    build()?;
    Ok(ExitCode::SUCCESS)
}

/// Builds what is out of date and puts it into `target/bin/`.
pub(crate) fn build() -> Result<()> {
    let mut args = vec!["build", "--release"];
    LARGE.iter().for_each(|name| args.extend(["-p", name]));
    sh::run("cargo", &args)?;
    place("release", &LARGE)?;

    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let gnu = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let (target, static_c) = if has_target(&musl) { (musl, false) } else { (gnu, true) };
    let mut small = sh::command("cargo", &["build", "--profile", "small", "--target", &target]);
    small.args(SMALL.iter().flat_map(|name| ["-p", name]));
    if static_c {
        small.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    }
    let status = small.status().context("run cargo")?;
    anyhow::ensure!(status.success(), "building the static programs failed: {status}");
    place(&format!("{target}/small"), &SMALL)
}

/// Whether programs can be built for `target`; it is installed if rustup can.
fn has_target(target: &str) -> bool {
    let Ok(sysroot) = sh::output("rustc", &["--print", "sysroot"]) else { return false };
    let installed = || {
        std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir()
    };
    if installed() {
        return true;
    }
    if sh::have("rustup") {
        println!("installing the target {target} for the static programs");
        // Without it the programs are built with the C library linked in: larger, but complete.
        let _tried = sh::command("rustup", &["target", "add", target]).status();
    }
    installed()
}

fn place(from: &str, names: &[&str]) -> Result<()> {
    let (from, to) = (sh::target().join(from), sh::programs());
    std::fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
    for name in names {
        let (built, placed) = (from.join(name), to.join(name));
        if same(&built, &placed) {
            continue;
        }
        // Renamed into place: a daemon that runs keeps the old file.
        let new = to.join(format!(".{name}.new"));
        std::fs::copy(&built, &new).with_context(|| format!("copy {}", built.display()))?;
        std::fs::rename(&new, &placed).with_context(|| format!("place {}", placed.display()))?;
    }
    Ok(())
}

/// Whether the placed file is at least as new as the built one and as long.
fn same(built: &std::path::Path, placed: &std::path::Path) -> bool {
    let (Ok(built), Ok(placed)) = (std::fs::metadata(built), std::fs::metadata(placed)) else {
        return false;
    };
    let times = built.modified().ok().zip(placed.modified().ok());
    built.len() == placed.len() && times.is_some_and(|(built, placed)| placed >= built)
}
