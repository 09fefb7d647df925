//! The kernel floor: what a container costs when nothing but the kernel works.
//!
//! ```text
//! floor --lower DIR --filter FILE [--network bridge|none|host] [--rounds N] [--rest MS]
//! ```
//!
//! One process, one thread. Each round makes what a default container of Gantry has (a group in every cgroup hierarchy
//! with the usual device rules, a detached overlay, all namespaces, the same mounts, hidden and read-only paths, a veth
//! on a bridge with address and route, capabilities, seccomp), executes `/bin/true` in it, reaps it, removes the groups
//! and the writable layer. The network namespace is dropped, not waited for. There is no daemon, no supervisor, no
//! record, no output and no check: whoever makes containers can come near it and not below.
//!
//! It prints one number a round: microseconds. It works in network and mount namespaces of its own and leaves nothing.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod container;
mod groups;
mod host;
mod link;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Errors say what was being done; nobody decides on them.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How the container is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// A namespace of its own, a veth to a bridge, an address and a route.
    Bridge,
    /// A namespace of its own with loopback.
    None,
    /// The caller's.
    Host,
}

#[derive(Debug)]
struct Options {
    lower: PathBuf,
    filter: PathBuf,
    network: Network,
    rounds: u32,
    rest: Duration,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("floor: {e}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let (mut lower, mut filter) = (None, None);
    let (mut network, mut rounds, mut rest) = (Network::Bridge, 20, 30);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--lower" => lower = Some(PathBuf::from(value)),
            "--filter" => filter = Some(PathBuf::from(value)),
            "--rounds" => rounds = value.parse()?,
            "--rest" => rest = value.parse()?,
            "--network" => {
                network = match value.as_str() {
                    "bridge" => Network::Bridge,
                    "none" => Network::None,
                    "host" => Network::Host,
                    other => return Err(format!("no network {other}").into()),
                }
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(Options {
        lower: lower.ok_or("--lower DIR is needed: a root file system with /bin/true")?,
        filter: filter.ok_or("--filter FILE is needed: a program made by floor-filter")?,
        network,
        rounds,
        rest: Duration::from_millis(rest),
    })
}

fn run(options: &Options) -> Result<()> {
    let mut host = host::Host::prepare(options)?;
    let mut times = Vec::new();
    for round in 0..options.rounds {
        let start = Instant::now();
        let leftovers = host.round(round)?;
        times.push(start.elapsed());
        // What the kernel still does for the last network namespace would be the next round's.
        drop(leftovers);
        host.rest(options.rest);
    }
    for time in &times {
        println!("{}", time.as_micros());
    }
    times.sort_unstable();
    if let (Some(least), Some(median)) = (times.first(), times.get(times.len() / 2)) {
        eprintln!(
            "median {} µs, min {} µs of {}",
            median.as_micros(),
            least.as_micros(),
            times.len()
        );
    }
    Ok(())
}
