//! `crash`: kills the daemon at every named point and at random moments, `--rounds N --seed S [--only POINT]`.
//!
//! The work is done by the `crash` program of the tests crate, so that this one stays small for the first build.

use crate::{build, sh};
use anyhow::{Context as _, Result};
use std::process::ExitCode;

pub(crate) fn task(args: &[String]) -> Result<ExitCode> {
    build::build()?;
    let status = run(args)?;
    Ok(if status { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs it on the programs that have been built; whether all was as it should be.
pub(crate) fn run(args: &[String]) -> Result<bool> {
    let mut command =
        sh::command("cargo", &["run", "--quiet", "-p", "tests", "--bin", "crash", "--"]);
    Ok(command.args(args).status().context("run cargo")?.success())
}
