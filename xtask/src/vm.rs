//! `vm [--fresh] [FILTER]`: the tests that depend on cgroups and on the kernel, in a small machine of their own.
//!
//! Its kernel is Debian's (6.1 in Debian 12: the oldest that Gantry supports), and it has cgroup v2 only, which the
//! machine that builds may not have. It is emulated by qemu without KVM, so that it works wherever tests run; a processor
//! of it is some ten times slower than a real one, hence a choice of stories. Downloads and the disk are kept in
//! `target/vm`, unless `--fresh` is said.

mod cpio;
mod disk;
mod kernel;

use crate::{build, sh, test};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

/// Debian packages without which there is no machine: a program that shows whether it is there, and its package.
const PACKAGES: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("lz4", "lz4"),
    ("mkfs.ext4", "e2fsprogs"),
    ("busybox", "busybox-static"),
    ("nft", "nftables"),
];

/// What runs of one package.
struct Choice {
    package: &'static str,
    /// How long each of its test programs may take, in seconds.
    limit: u32,
    /// Its tests whose names contain one of these, all if there are none, unless the caller has filters of their own.
    tests: &'static [&'static str],
}

/// What depends on the version of cgroups or on the kernel's and does not measure time; the rest is tested elsewhere.
const CHOICES: [Choice; 8] = [
    Choice { package: "cgroups", limit: 200, tests: &[] },
    Choice {
        package: "runtime",
        limit: 400,
        tests: &["confinement::", "exec::", "mounts::", "rootfs::"],
    },
    Choice {
        package: "gantry-shim",
        limit: 200,
        tests: &[
            "life::a_container_goes_on_without_a_daemon",
            "life::exec_sessions",
            "life::limits_can_be_changed",
            "life::paused_stands_still",
            "life::processes_that_outlive",
            "life::want_of_memory",
            "life::what_cannot_be_started",
        ],
    },
    // What the kernel of the machine that builds may not have.
    Choice { package: "macvlan", limit: 300, tests: &[] },
    Choice { package: "bridge", limit: 200, tests: &["sctp::"] },
    Choice {
        package: "gantry-netd",
        limit: 200,
        tests: &["datagrams::datagrams_on_ipv6", "datagrams::another_hosts"],
    },
    Choice {
        package: "gantry-runtime",
        limit: 200,
        tests: &["a_life_in_single_steps", "exec_adds_processes", "run_gives_output"],
    },
    Choice {
        package: "tests",
        limit: 600,
        tests: &[
            "isolation::what_is_granted_is_granted",
            "life::exec_adds_processes",
            "life::verbs_move_a_container_through_its_states",
            "limits::",
            "run::a_fork_bomb_is_a_matter_of_its_container",
            "run::memory_is_limited_and_the_kill_is_told",
        ],
    },
];

/// The machine: as much of a PC as Linux needs.
const MACHINE: &str =
    "-M pc,accel=tcg -cpu max -smp 2 -m 1536 -nodefaults -display none -no-reboot";

/// What the whole machine may take before it is ended, in seconds.
const LIMIT: &str = "1200";

/// One test program and what it is called with.
#[derive(Debug)]
struct Suite {
    name: String,
    /// Where it runs: cargo starts tests in their package's folder.
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    /// In seconds.
    limit: u32,
}

/// How it went.
#[derive(Debug, Default)]
struct Verdict {
    failed: Vec<String>,
    skipped: Vec<String>,
    done: bool,
}

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    let (flags, filters): (Vec<&String>, Vec<&String>) =
        args.iter().partition(|a| a.starts_with("--"));
    for flag in flags {
        ensure!(
            flag == "--fresh",
            "vm knows no flag {flag}; it takes --fresh and filters for the names of tests"
        );
        match std::fs::remove_dir_all(place("")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).context("remove target/vm");
            }
            _ => {}
        }
    }
    if let Some(why) = missing() {
        bail!("there is no machine: {why}");
    }
    if !sh::programs().join("gantryd").exists() {
        build::build()?;
    }
    let filters: Vec<String> = filters.into_iter().cloned().collect();
    for why in run(&filters)? {
        println!("skipped  {why}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Why there can be no machine, once what is missing has been tried to install.
pub(crate) fn missing() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("it is made for x86_64".to_owned());
    }
    if let Some(why) = test::install(&PACKAGES).into_iter().next() {
        return Some(why);
    }
    std::fs::create_dir_all(place(""))
        .context("make target/vm")
        .and_then(|()| kernel::kernel())
        .err()
        .map(|e| format!("{e:#}"))
}

/// Runs the tests with the programs of `target/bin`; what they skipped, with reasons. It is an error when one fails.
pub(crate) fn run(filters: &[String]) -> Result<Vec<String>> {
    let kernel = kernel::kernel()?;
    let (suites, programs) = tests(filters)?;
    // The machine has two processors, and these halves take about as long.
    let (with_programs, others): (Vec<Suite>, Vec<Suite>) = suites.into_iter().partition(|s| {
        ["tests::", "gantry-runtime::"].iter().any(|start| s.name.starts_with(start))
    });
    let disk = disk::make([&with_programs, &others], &programs)?;
    println!("Linux {} with cgroup v2, emulated", kernel.release);
    let verdict = watch(&kernel, &disk)?;
    if !verdict.done {
        let console = std::fs::read_to_string(place("console")).unwrap_or_default();
        let last: Vec<&str> = console.lines().rev().take(30).collect();
        for line in last.iter().rev() {
            println!("{line}");
        }
        bail!("the machine ended before its tests did; its kernel's last words are above");
    }
    ensure!(
        verdict.failed.is_empty(),
        "failed: {}; the kernel's messages: target/vm/console",
        verdict.failed.join(", ")
    );
    Ok(verdict.skipped)
}

/// Builds the tests: which to run, and every program that must be in the machine.
fn tests(filters: &[String]) -> Result<(Vec<Suite>, Vec<PathBuf>)> {
    // The whole workspace, as the other steps of `test` build it: a choice of packages has other features.
    let build = "test --no-run --workspace --message-format json-render-diagnostics --features";
    let mut command = sh::command("cargo", &build.split(' ').collect::<Vec<_>>());
    command.arg(test::FEATURES);
    let output = command.stderr(Stdio::inherit()).output().context("run cargo")?;
    ensure!(output.status.success(), "building the tests failed: {}", output.status);
    let mut suites = Vec::new();
    let mut programs: Vec<PathBuf> =
        ["gantry", "gantryd", "gantry-shim", "gantry-netd", "gantry-runtime", "gantry-init"]
            .map(|name| sh::programs().join(name))
            .into();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("read what cargo built")?;
        let Some(program) = message["executable"].as_str().map(PathBuf::from) else { continue };
        let folder = message["manifest_path"]
            .as_str()
            .map(PathBuf::from)
            .context("a package without a manifest")?;
        let folder = folder.parent().context("a manifest lies in a folder")?.to_owned();
        let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(choice) = CHOICES.iter().find(|choice| choice.package == package) else {
            continue;
        };
        programs.push(program.clone());
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        // Of the runtime's library tests, those of the root file system depend on the kernel.
        let of_tests = message["profile"]["test"] == true
            && (kind == "test" || message["target"]["name"] == "runtime");
        if !of_tests {
            continue;
        }
        let mut arguments = vec!["--test-threads=1".to_owned()];
        match filters {
            [] => arguments.extend(choice.tests.iter().map(|test| (*test).to_owned())),
            filters => arguments.extend_from_slice(filters),
        }
        let name = format!("{package}::{}", message["target"]["name"].as_str().unwrap_or_default());
        suites.push(Suite { name, folder, program, arguments, limit: choice.limit });
    }
    ensure!(!suites.is_empty(), "cargo built no tests");
    Ok((suites, programs))
}

/// Starts the machine, shows what its tests say, and waits for its end.
fn watch(kernel: &kernel::Kernel, disk: &std::path::Path) -> Result<Verdict> {
    let mut command = sh::command("timeout", &["-s", "KILL", LIMIT, "qemu-system-x86_64"]);
    command
        .args(MACHINE.split(' '))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&kernel.first)
        // One line for the kernel, one for the tests, or they would write into each other's. A timer that is emulated late,
        // on a machine that has much to do, is not broken, as the kernel would think.
        .args(["-append", "console=ttyS0 panic=-1 cgroup_no_v1=all no_timer_check quiet"])
        .arg("-serial")
        .arg(format!("file:{}", place("console").display()))
        .args(["-serial", "stdio"])
        .arg("-drive")
        .arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut machine = command.spawn().context("run qemu")?;
    let told = machine.stdout.take().context("qemu's output is a pipe")?;
    let mut verdict = Verdict::default();
    for line in BufReader::new(told).split(b'\n') {
        let line = line.context("read from the machine")?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let Some(notice) = line.strip_prefix("@@ ") else {
            println!("{line}");
            continue;
        };
        match notice.split_once(' ').unwrap_or((notice, "")) {
            ("begin", name) => println!("─ {name}"),
            ("end", rest) => {
                let mut words = rest.split(' ');
                let (name, code, seconds) = (words.next(), words.next(), words.next());
                println!(
                    "─ {rest} s",
                    rest = [name, seconds].map(Option::unwrap_or_default).join(" ")
                );
                if code != Some("0") {
                    verdict.failed.push(name.unwrap_or_default().to_owned());
                }
            }
            ("skipped", why) => verdict.skipped.push(format!("in the machine: {why}")),
            ("up", seconds) => println!("up after {seconds} s"),
            ("done", _) => verdict.done = true,
            _ => println!("{line}"),
        }
    }
    machine.wait().context("wait for qemu")?;
    Ok(verdict)
}

/// A file of the machine's.
fn place(name: &str) -> PathBuf {
    sh::root().join("target/vm").join(name)
}
