//! What the crash tests share: a scene with a bystander, and what must be true after a crash.

pub mod matrix;
pub mod model;
pub mod moments;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use testkit::process::PATIENCE;
use testkit::{Client, Daemon, Leaks, Output};

/// A daemon with a container that nothing may touch, and a picture of the machine.
#[derive(Debug)]
pub struct Scene {
    /// The daemon.
    pub daemon: Daemon,
    /// Our client of it.
    pub client: Client,
    leaks: Leaks,
    bystander: String,
}

impl Scene {
    /// Starts the daemon and the bystander.
    pub fn start() -> Self {
        let daemon = Daemon::start();
        let client = daemon.gantry();
        client.run(&["run", "-d", "--name", "bystander", "busybox", "sleep", "100000"]).ok();
        client.run(&["run", "--rm", "busybox", "true"]).ok();
        let bystander = pid(&client);
        let leaks = Leaks::snapshot(&daemon);
        Self { daemon, client, leaks, bystander }
    }

    /// Everything that must be true when the victims have been removed again.
    pub fn check(&mut self) -> Result<(), String> {
        let listed = self.client.run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
        if listed.text() != "bystander running" {
            return Err(format!("listed are: {}", listed.text()));
        }
        if pid(&self.client) != self.bystander {
            return Err("the bystander was started anew".to_owned());
        }
        self.client.run(&["exec", "bystander", "true"]).ok();
        // Descriptors of a daemon that was started again are not the old one's.
        let differences: Vec<String> = self
            .leaks
            .differences(&self.daemon)
            .into_iter()
            .filter(|d| !d.contains(" descriptor "))
            .collect();
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!("left behind or lost:\n{}", shorten(&differences)))
        }
    }

    /// The state of a container, as `running 0`; nothing when there is none.
    pub fn state(&self, name: &str) -> Option<String> {
        let output =
            self.client.run(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name]);
        (output.code == 0).then(|| output.text().to_owned())
    }

    /// Kills whatever daemon there is and starts one that nothing is armed in.
    pub fn recover(&mut self) {
        self.daemon.kill9();
        self.daemon.up_with(&[]);
    }
}

fn pid(client: &Client) -> String {
    client.run(&["inspect", "-f", "{{.State.Pid}}", "bystander"]).ok().text().to_owned()
}

/// The first lines of what may be many.
fn shorten(lines: &[String]) -> String {
    let more = lines.len().saturating_sub(12);
    let shown = lines.iter().take(12).map(|l| format!("    {l}")).collect::<Vec<_>>().join("\n");
    if more > 0 { format!("{shown}\n    … and {more} more") } else { shown }
}

/// Runs one case; a panic of the harness is a finding like any other.
pub fn guarded(name: &str, findings: &mut Vec<String>, case: impl FnOnce() -> Result<(), String>) {
    let result = catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default())
    });
    if let Err(why) = result {
        println_flushed(&format!("FAILED {name}: {why}"));
        findings.push(format!("{name}: {why}"));
    }
}

#[allow(clippy::print_stdout, reason = "findings are shown when they are found")]
fn println_flushed(text: &str) {
    println!("{text}");
}

/// Requires success and says what failed otherwise.
pub fn want(output: Output) -> Result<Output, String> {
    if output.code == 0 { Ok(output) } else { Err(output.to_string()) }
}

/// How long a container takes that is to end by itself.
pub const SOON: Duration = PATIENCE;
