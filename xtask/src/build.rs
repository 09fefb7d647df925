//! `build`: all programs in `target/bin/`.
//!
//! The daemon is an ordinary release program. The helpers that run in great numbers or inside containers (shim, runtime,
//! init) are small and static: for musl when that target is installed or can be, otherwise with the C library linked in.
//! So is the client, at a fixed address: without a dynamic linker and relocations it starts in half the time, a
//! millisecond of every command.

use crate::sh;
use anyhow::{Context as _, Result};
use std::process::ExitCode;

const DAEMON: [&str; 1] = ["gantryd"];
const CLIENT: [&str; 1] = ["gantry"];
const SMALL: [&str; 4] = ["gantry-shim", "gantry-netd", "gantry-runtime", "gantry-init"];

/// Which profile the daemon and the client are built with, and which the static helpers.
struct Profiles {
    programs: (&'static str, &'static str),
    small: (&'static str, &'static str),
}

const RELEASE: Profiles = Profiles { programs: ("release", "release"), small: ("small", "small") };
const FAST: Profiles = Profiles { programs: ("dev", "debug"), small: ("dev", "debug") };

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    match args {
        [] => build_with(&RELEASE)?,
        [fast] if fast == "--fast" => build_with(&FAST)?,
        _ => anyhow::bail!("build takes no argument but --fast (unoptimised, for a quick try)"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds what is out of date and puts it into `target/bin/`.
pub(crate) fn build() -> Result<()> {
    build_with(&RELEASE)
}

fn build_with(profiles: &Profiles) -> Result<()> {
    let (profile, folder) = profiles.programs;
    sh::run("cargo", &["build", "--profile", profile, "-p", DAEMON[0]])?;
    place(folder, &DAEMON)?;

    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let gnu = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let (target, static_c) = if has_target(&musl) { (musl, false) } else { (gnu, true) };
    let run = |args: &[&str], names: &[&str], flags: Option<&str>| -> Result<()> {
        let mut cargo = sh::command("cargo", &["build", "--target", &target]);
        cargo.args(args).args(names.iter().flat_map(|name| ["-p", name]));
        // The client's cryptography has C in it that asks nothing of a C library: the machine's own compiler does.
        let compiler = format!("CC_{}", target.replace('-', "_"));
        if std::env::var_os(&compiler).is_none() {
            cargo.env(compiler, "gcc");
        }
        if let Some(flags) = flags {
            cargo.env("RUSTFLAGS", flags);
        }
        let status = cargo.status().context("run cargo")?;
        anyhow::ensure!(status.success(), "building the static programs failed: {status}");
        Ok(())
    };
    let fixed = "-C relocation-model=static";
    let linked_in = "-C target-feature=+crt-static -C relocation-model=static";
    let (small, small_folder) = profiles.small;
    run(&["--profile", small], &SMALL, static_c.then_some(linked_in))?;
    place(&format!("{target}/{small_folder}"), &SMALL)?;
    run(&["--profile", profile], &CLIENT, Some(if static_c { linked_in } else { fixed }))?;
    place(&format!("{target}/{folder}"), &CLIENT)
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
