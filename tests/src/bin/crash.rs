//! `crash`: kills the daemon at every named point and at random moments, and holds what is left against what should be.
//!
//! `cargo xtask crash --rounds N --seed S [--only POINT]`. A round is the matrix (every `fail_point!` of the sources, each
//! on a fresh daemon with a bystander running), kills at random moments of each operation, and a random life of
//! containers held against a model. After each: nothing leaks, names are usable, exit codes are the real ones.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;
use std::time::Instant;
use testkit::seed::Random;
use tests::crash::{matrix, model, moments};

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("usage: crash [--rounds N] [--seed S] [--only POINT]");
        return ExitCode::from(2);
    };
    if let Some(why) = testkit::need::Need::Root.missing() {
        eprintln!("crash: {why}");
        return ExitCode::FAILURE;
    }
    println!("seed {}", options.seed);
    let start = Instant::now();
    let mut random = Random::new(options.seed);
    let mut findings = Vec::new();
    for round in 1..=options.rounds {
        let points = matrix::run(options.only.as_deref(), &mut findings);
        println!(
            "round {round}: {} points, each hit once, {} s",
            points,
            start.elapsed().as_secs()
        );
        if options.only.is_some() {
            continue;
        }
        let kills = moments::run(&mut random, &mut findings);
        println!("round {round}: {kills} kills at random moments, {} s", start.elapsed().as_secs());
        let steps = model::run(random.number(), &mut findings);
        println!("round {round}: {steps} steps of a random life, {} s", start.elapsed().as_secs());
    }
    for finding in &findings {
        println!("FAILED {finding}");
    }
    println!("{} rounds, seed {}, {} failures", options.rounds, options.seed, findings.len());
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Options {
    rounds: u32,
    seed: u64,
    only: Option<String>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { rounds: 1, seed: 1, only: None };
        while let Some(flag) = args.next() {
            let value = args.next()?;
            match flag.as_str() {
                "--rounds" => options.rounds = value.parse().ok()?,
                "--seed" => options.seed = value.parse().ok()?,
                "--only" => options.only = Some(value),
                _ => return None,
            }
        }
        Some(options)
    }
}
