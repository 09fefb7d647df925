//! Gantry's own tasks: `cargo xtask NAME`. Without a name it lists them.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]
#![allow(clippy::disallowed_methods, reason = "it runs cargo and other programs")]

mod bare;
mod bench;
mod build;
mod crash;
mod deps;
mod peers;
mod run;
mod sh;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

/// A task: its name, what it does in one line, and how.
type Task = (&'static str, &'static str, fn(&[String]) -> anyhow::Result<ExitCode>);

const TASKS: [Task; 11] = [
    (
        "run",
        "IMAGE [ARG…]: build, start a private daemon if none answers, and run the image with gantry",
        run::task,
    ),
    (
        "build",
        "[--fast]: build all programs into target/bin/; --fast: unoptimised, for a quick try",
        build::task,
    ),
    ("test", "install what tests need and run every tier that this machine allows", test::task),
    ("tidy", "check what no compiler checks: headers, layers, named tests, file lists", tidy::task),
    ("peers", "fetch the reference dockerd 26.1 and its friends into target/peers", peers::task),
    (
        "crash",
        "[--rounds N] [--seed S]: kill the daemon at every named point and at random moments, look for leaks",
        crash::task,
    ),
    (
        "bare",
        "[--fresh]: run hello-world from a clone in a minimal Debian with nothing installed",
        bare::task,
    ),
    (
        "vm",
        "[--fresh] [FILTER…]: tests of cgroups and of the kernel, on cgroup v2 and Linux 6.1 in a small machine",
        vm::task,
    ),
    (
        "bench",
        "[NAME…] [--rounds N]: the same work on Gantry, its peers and the bare kernel",
        bench::task,
    ),
    ("bench-ask", "NAME: ask 127.0.0.11; what `bench names` runs beside a container", bench::ask),
    ("deps", "check the layers and print the count of packages", deps::task),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        for (name, what, _) in TASKS {
            println!("cargo xtask {name:6} {what}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, _, task)) = TASKS.iter().find(|(n, ..)| n == name) else {
        eprintln!("xtask: no task \"{name}\"; cargo xtask lists them");
        return ExitCode::from(2);
    };
    match task(rest) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("xtask {name}: {e:#}");
            ExitCode::FAILURE
        }
    }
}
