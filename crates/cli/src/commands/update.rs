//! `update`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, Flag, Kind, Matches, check};
use crate::output;
use crate::run::{restart_policy, size};
use api::ContainerUpdateBody;
use futures_util::future::join_all;

pub(super) const COMMAND: Command = Command {
    group: "container",
    name: "update",
    aliases: &[],
    top: "update",
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Update configuration of one or more containers",
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FLAGS],
    run: |app, matches| Box::pin(run(app, matches)),
};

const BYTES: Kind = Kind { name: "bytes", check: check::bytes };

const FLAGS: &[Flag] = &[
    Flag::new(
        "blkio-weight",
        Kind { name: "uint16", check: check::uint16 },
        "Block IO (relative weight), between 10 and 1000, or 0 to disable",
    )
    .default("0"),
    Flag::new("cpu-period", Kind::INT, "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag::new("cpu-quota", Kind::INT, "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag::new("cpu-rt-period", Kind::INT, "Limit the CPU real-time period in microseconds"),
    Flag::new("cpu-rt-runtime", Kind::INT, "Limit the CPU real-time runtime in microseconds"),
    Flag::new("cpu-shares", Kind::INT, "CPU shares (relative weight)").short('c'),
    Flag::new("cpus", Kind { name: "decimal", check: check::cpus }, "Number of CPUs"),
    Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    // Deprecated, and without effect on every kernel that still has cgroup v1.
    Flag::new("kernel-memory", BYTES, "Kernel memory limit (deprecated)").hidden(),
    Flag::new("memory", BYTES, "Memory limit").short('m'),
    Flag::new("memory-reservation", BYTES, "Memory soft limit"),
    Flag::new(
        "memory-swap",
        Kind { name: "bytes", check: check::swap_bytes },
        "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
    ),
    Flag::new("pids-limit", Kind::INT, "Tune container pids limit (set -1 for unlimited)"),
    Flag::text("restart", "Restart policy to apply when a container exits"),
];

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if !FLAGS.iter().any(|flag| matches.has(flag.long)) {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let body = body(matches).map_err(Failure::new)?;
    let client = app.client()?;
    let names = &matches.arguments;
    let answers = join_all(names.iter().map(|name| client.update_container(name, &body))).await;
    let (mut done, mut failures) = (String::new(), Vec::new());
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(answer) => {
                done.push_str(&format!("{name}\n"));
                for warning in answer.warnings.unwrap_or_default() {
                    done.push_str(&format!("{warning}\n"));
                }
            }
            Err(e) => failures.push(e.to_string()),
        }
    }
    output::print(&done)?;
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}

fn body(matches: &Matches) -> Result<ContainerUpdateBody, String> {
    let int = |flag: &str| matches.int(flag).unwrap_or(0);
    Ok(ContainerUpdateBody {
        blkio_weight: matches.text("blkio-weight").parse().unwrap_or(0),
        cpu_period: int("cpu-period"),
        cpu_quota: int("cpu-quota"),
        cpu_realtime_period: int("cpu-rt-period"),
        cpu_realtime_runtime: int("cpu-rt-runtime"),
        cpu_shares: int("cpu-shares"),
        nano_cpus: matches.get("cpus").map_or(Ok(0), check::to_nano_cpus)?,
        cpuset_cpus: matches.text("cpuset-cpus"),
        cpuset_mems: matches.text("cpuset-mems"),
        memory: size(matches, "memory")?,
        memory_reservation: size(matches, "memory-reservation")?,
        memory_swap: match matches.get("memory-swap") {
            Some("-1") => -1,
            _ => size(matches, "memory-swap")?,
        },
        pids_limit: matches.int("pids-limit"),
        restart_policy: matches.get("restart").map(restart_policy).transpose()?.unwrap_or_default(),
        ..ContainerUpdateBody::default()
    })
}
