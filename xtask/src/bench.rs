//! `bench`: the same work on Gantry, on whatever peers are installed, and on the bare kernel.
//!
//! Contestants take turns (A, B, C, A, B, C, …), the first round is dropped, medians and their ratios are what counts:
//! machines differ and are noisy, two contestants within one run are not. Each daemon lives in network, mount and
//! process namespaces of its own, so that they never fight over links, rules or mounts. Results are kept in
//! `benches/results/NAME.json`.

mod api;
mod counts;
mod figures;
mod floor;
mod host;
mod image;
mod many;
mod memory;
mod names;
mod network;
mod proc;
mod pull;
mod runtimes;
mod traffic;
mod verbs;

use crate::{build, peers, sh};
use anyhow::{Context as _, Result, bail};
use figures::Report;
use host::{Client, Daemon};
use std::path::PathBuf;
use std::process::ExitCode;

/// A benchmark: its name, what it measures, its default number of rounds, and how.
type Bench = (&'static str, &'static str, usize, fn(&Contest) -> Result<Report>);

const BENCHES: [Bench; 16] = [
    ("run", "run --rm busybox true, by network", 15, verbs::run),
    ("detached", "50 × run -d, one after another", 3, verbs::detached),
    ("verbs", "create, start, exec, stop, rm, rm -f and the clients alone", 10, verbs::verbs),
    ("list", "ps -a with a hundred ended containers", 10, many::list),
    ("parallel", "50 × start, eight at a time", 3, many::parallel),
    ("crowd", "what 500 idle containers cost the daemon", 1, many::crowd),
    ("memory", "proportional memory idle and per running container", 1, memory::memory),
    ("api", "answers over one kept-alive connection", 200, api::api),
    ("pull", "a 300 MB image of five layers from a loopback registry", 3, pull::pull),
    ("counts", "system calls and fsyncs of one run", 1, counts::counts),
    ("throughput", "what a container writes, through logs to the client", 3, verbs::throughput),
    ("join", "start of a container by its networks", 15, network::join),
    ("ports", "what ten thousand published ports take", 5, network::ports),
    ("traffic", "throughput between containers and through a published port", 10, traffic::traffic),
    (
        "names",
        "10,000 questions a second at 127.0.0.11 while containers come and go",
        3,
        names::names,
    ),
    ("runtimes", "OCI runtimes alone, the same bundle", 15, runtimes::runtimes),
];

/// What all benchmarks share.
#[derive(Debug)]
pub(crate) struct Contest {
    /// Rounds that count.
    rounds: usize,
    /// Where everything is made.
    folder: PathBuf,
    /// The reference's programs, if it is there.
    peers: Option<PathBuf>,
    /// The unmodified client, if there is one.
    docker: Option<PathBuf>,
}

pub(crate) use names::ask;

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    let mut names: Vec<&str> = Vec::new();
    let (mut rounds, mut building) = (None, true);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => {
                let value = args.next().context("--rounds needs a number")?;
                rounds = Some(value.parse::<usize>().context("--rounds needs a number")?.max(1));
            }
            "--no-build" => building = false,
            name if BENCHES.iter().any(|b| b.0 == name) => names.push(name),
            other => {
                for (name, what, rounds, _) in BENCHES {
                    println!("{name:10} {what} ({rounds} rounds)");
                }
                bail!("no benchmark \"{other}\"; those above, and --rounds N, --no-build");
            }
        }
    }
    if building {
        build::build()?;
    }
    let _others = peers::fetch().inspect_err(|e| println!("no reference to compare with: {e:#}"));
    let mut failed = 0;
    for (name, what, usual, bench) in BENCHES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let contest = Contest::new(rounds.unwrap_or(usual))?;
        println!("── {name}: {what}");
        match bench(&contest).and_then(|report| report.finish(name, what, contest.rounds)) {
            Ok(()) => {}
            Err(e) => {
                failed += 1;
                println!("{name} failed: {e:#}");
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Contest {
    fn new(rounds: usize) -> Result<Self> {
        let folder = sh::root().join("target/bench");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let peers = std::env::var_os("GANTRY_PEERS")
            .map_or_else(|| peers::folder().join("bin"), PathBuf::from);
        let peers = peers.join("dockerd").exists().then_some(peers);
        let docker = find("docker").or_else(|| peers.as_ref().map(|p| p.join("docker")));
        Ok(Self { rounds, folder, peers, docker })
    }

    /// Fresh daemons with the busybox image: ours, and the reference if it is there.
    fn daemons(&self) -> Result<Vec<Daemon>> {
        let archive = image::busybox(&self.folder)?;
        let mut daemons = vec![Daemon::gantry(&self.folder)?];
        if let Some(peers) = &self.peers {
            daemons.push(Daemon::docker(&self.folder, peers)?);
        }
        for daemon in &daemons {
            self.client(daemon)?.quiet(&["load", "-q", "-i", &archive.display().to_string()])?;
        }
        Ok(daemons)
    }

    /// The unmodified client of a daemon; ours when there is none.
    fn client(&self, daemon: &Daemon) -> Result<Client> {
        match &self.docker {
            Some(docker) => Client::new(docker, daemon, &self.folder),
            None if daemon.is_gantry() => self.gantry(daemon),
            None => bail!("there is no docker client"),
        }
    }

    /// Our client of a daemon.
    fn gantry(&self, daemon: &Daemon) -> Result<Client> {
        Client::new(&programs().join("gantry"), daemon, &self.folder)
    }

    /// Every pair of client and daemon that is compared: `gantry + gantryd`, `docker + gantryd`, `docker + dockerd`.
    fn pairs(&self, daemons: &[Daemon]) -> Result<Vec<Client>> {
        let mut pairs = vec![self.gantry(&daemons[0])?];
        if self.docker.is_some() {
            for daemon in daemons {
                pairs.push(self.client(daemon)?);
            }
        }
        Ok(pairs)
    }
}

/// Where a program is, as a shell finds it.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Our programs: `target/bin`, or `GANTRY_PROGRAMS`.
fn programs() -> PathBuf {
    std::env::var_os("GANTRY_PROGRAMS").map_or_else(sh::programs, PathBuf::from)
}
