//! `test`: every tier that this machine allows, with one summary.

use crate::{build, crash, peers, sh, tidy, vm};
use anyhow::Result;
use std::cell::RefCell;
use std::process::ExitCode;
use std::time::Instant;

/// Debian packages that tests use: a program that shows whether it is there, and its package.
const PACKAGES: [(&str, &str); 15] = [
    ("busybox", "busybox-static"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("mmdebstrap", "mmdebstrap"),
    ("strace", "strace"),
    ("openssl", "openssl"),
    ("mkfs.ext4", "e2fsprogs"),
    ("python3", "python3"),
    // Another runtime for the tests of ours, and an engine that can use either.
    ("runc", "runc"),
    ("podman", "podman"),
    ("conmon", "conmon"),
];

/// What is off by default and tested too.
pub(crate) const FEATURES: &str = "gantryd/otel";

/// One step and how it went.
struct Step {
    name: &'static str,
    result: Result<()>,
    seconds: u64,
}

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    let only: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut skipped = install(&PACKAGES);
    if let Err(e) = peers::fetch() {
        skipped.push(format!("comparisons with the reference daemon: {e:#}"));
    }
    // Tests that do not run say why in this file.
    let skips = sh::target().join("skipped-tests");
    let _fresh = std::fs::remove_file(&skips);
    let skipped_there = RefCell::new(Vec::new());
    let mut steps = Vec::new();
    let mut step = |name: &'static str, work: &dyn Fn() -> Result<()>| {
        if !only.is_empty() && !only.contains(&name) {
            return;
        }
        println!("── {name}");
        let start = Instant::now();
        let result = work();
        steps.push(Step { name, result, seconds: start.elapsed().as_secs() });
    };
    step("fmt", &|| sh::run("cargo", &["fmt", "--all", "--check"]));
    step("build", &build::build);
    step("clippy", &|| {
        let clippy = ["clippy", "--workspace", "--all-targets", "--features", FEATURES];
        sh::run("cargo", &[&clippy[..], &["--", "-D", "warnings"]].concat())
    });
    step("tidy", &|| {
        let findings = tidy::check()?;
        anyhow::ensure!(findings.is_empty(), "{}", findings.join("\n"));
        Ok(())
    });
    // Unit, file and host tests of every crate, then the stories through the real programs.
    step("unit", &|| run(Tests::OfCrates));
    step("stories", &|| run(Tests::Stories));
    if is_root() {
        step("crash", &|| {
            anyhow::ensure!(crash::run(&[])?, "the daemon's deaths left something behind");
            Ok(())
        });
        // Looked for only when it is to run: what it needs is installed by that.
        let vm_wanted = only.is_empty() || only.contains(&"vm");
        match vm_wanted.then(vm::missing).flatten() {
            Some(why) => skipped.push(format!("tests on cgroup v2 in a machine: {why}")),
            None => step("vm", &|| {
                skipped_there.borrow_mut().extend(vm::run(&[])?);
                Ok(())
            }),
        }
    } else {
        skipped.push(
            "host tests, stories, the crash round and the machine: they need root".to_owned(),
        );
    }

    let told = std::fs::read_to_string(&skips).unwrap_or_default();
    skipped.extend(told.lines().map(str::to_owned));
    skipped.extend(skipped_there.take());
    println!("── summary");
    for step in &steps {
        let verdict = if step.result.is_ok() { "passed" } else { "FAILED" };
        println!("{verdict}  {:8} {:4} s", step.name, step.seconds);
    }
    for what in &skipped {
        println!("skipped  {what}");
    }
    for step in &steps {
        if let Err(e) = &step.result {
            eprintln!("{}: {e:#}", step.name);
        }
    }
    let failed = steps.iter().filter(|s| s.result.is_err()).count();
    println!("{} passed, {failed} failed, {} skipped", steps.len() - failed, skipped.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which tests a step runs.
#[derive(Clone, Copy, Debug)]
enum Tests {
    OfCrates,
    Stories,
}

impl Tests {
    /// For nextest: it builds the whole workspace whatever runs of it, or the same crate would be built with other
    /// features for every step, the machine's among them.
    const fn chosen_by_nextest(self) -> [&'static str; 5] {
        let chosen = match self {
            Self::OfCrates => "not package(tests)",
            Self::Stories => "package(tests)",
        };
        ["--workspace", "--features", FEATURES, "-E", chosen]
    }

    const fn chosen_by_cargo(self) -> &'static [&'static str] {
        match self {
            Self::OfCrates => &["--workspace", "--exclude", "tests", "--features", FEATURES],
            Self::Stories => &["-p", "tests"],
        }
    }
}

fn run(tests: Tests) -> Result<()> {
    let all = if sh::have("cargo-nextest") {
        let how = "nextest run --no-fail-fast --status-level fail --final-status-level skip";
        how.split(' ').chain(tests.chosen_by_nextest()).collect::<Vec<_>>()
    } else {
        // One thread: tests that look for leaks must not see each other's work.
        let chosen = tests.chosen_by_cargo().iter().copied();
        let how = ["test", "--no-fail-fast"].into_iter();
        how.chain(chosen).chain(["--", "--test-threads", "1"]).collect()
    };
    let status = sh::command("cargo", &all)
        .env("GANTRY_TEST_SKIPS", sh::target().join("skipped-tests"))
        .status()?;
    anyhow::ensure!(status.success(), "cargo {} failed: {status}", all.join(" "));
    Ok(())
}

fn is_root() -> bool {
    sh::output("id", &["-u"]).is_ok_and(|id| id.trim() == "0")
}

/// Installs what is missing, as root on Debian; what cannot be had is named with what it is for.
pub(crate) fn install(wanted: &[(&str, &str)]) -> Vec<String> {
    let missing: Vec<&(&str, &str)> =
        wanted.iter().filter(|(program, _)| !sh::have(program)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    if is_root() && sh::have("apt-get") {
        let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        println!("installing {} for the tests", packages.join(" "));
        let _updated = sh::command("apt-get", &["update", "-qq"]).status();
        let mut install =
            sh::command("apt-get", &["install", "-y", "-qq", "--no-install-recommends"]);
        install
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::process::Stdio::null());
        let _installed = install.status();
    }
    missing
        .iter()
        .filter(|(program, _)| !sh::have(program))
        .map(|(program, package)| {
            format!("tests that need {program}: Debian's package {package} could not be installed")
        })
        .collect()
}
