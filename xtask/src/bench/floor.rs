//! The bare kernel as a contestant: see `benches/floor`.

use super::{Contest, image};
use crate::sh;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The built program and what it needs.
#[derive(Debug)]
pub(crate) struct Floor {
    program: PathBuf,
    timer: PathBuf,
    filter: PathBuf,
    lower: PathBuf,
}

/// Rounds of one turn; the first warms the new process up and is dropped.
const ROUNDS: usize = 4;

impl Floor {
    /// Builds it like the other small programs.
    pub(crate) fn build(contest: &Contest) -> Result<Self> {
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let args = ["build", "--quiet", "--profile", "small", "--package", "floor"];
        let mut with_target = args.to_vec();
        with_target.extend(["--target", &target]);
        // Without musl it is linked dynamically, which costs it microseconds at its own start only.
        let built = match sh::run("cargo", &with_target) {
            Ok(()) => sh::target().join(&target).join("small"),
            Err(_) => {
                sh::run("cargo", &args)?;
                sh::target().join("small")
            }
        };
        let filter = contest.folder.join("floor.bpf");
        let maker = built.join("floor-filter").display().to_string();
        sh::run(&maker, &[&filter.display().to_string()])?;
        let lower = image::busybox_tree(&contest.folder)?;
        Ok(Self { program: built.join("floor"), timer: built.join("floor-time"), filter, lower })
    }

    /// Milliseconds of one container from nothing to gone: the median of a few.
    pub(crate) fn time(&self, network: &str) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command.arg("--lower").arg(&self.lower).arg("--filter").arg(&self.filter).args([
            "--network",
            network,
            "--rounds",
            &ROUNDS.to_string(),
        ]);
        median(command)
    }

    /// How to time another program in the same way: what begins with this, `program` and its arguments, is for
    /// [`median`].
    pub(crate) fn timer(&self, program: &Path) -> [OsString; 3] {
        [self.timer.clone().into(), ROUNDS.to_string().into(), program.into()]
    }
}

/// The median, in milliseconds, of the rounds that `command` prints.
pub(crate) fn median(mut command: Command) -> Result<f64> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut times: Vec<f64> = text.lines().skip(1).filter_map(|l| l.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    let median =
        times.get(times.len() / 2).with_context(|| format!("{program} printed no figures"))?;
    Ok(median / 1e3)
}
