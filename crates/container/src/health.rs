//! Health: what a probe is, what its results mean. Pure; the driver runs the probes.
//!
//! ```text
//!   Starting ──success──▶ Healthy ◀──success── Unhealthy
//!      │                     │                     ▲
//!      └── failures in a row ┴── as many as asked ─┘     within the start period they do not count
//! ```

use serde::{Deserialize, Serialize};
use std::time::Duration;
use stdx::time::Timestamp;
use stdx::{Error, Result};
use store::records::container::{Config, ContainerRecord};

/// The annotation that says what happens when a container becomes unhealthy: `none`, `restart`, `stop` or `kill`.
/// Docker's clients pass it on as it is (`--annotation`), so it needs no field that they do not know.
pub const ON_FAILURE: &str = "gantry.health-on-failure";

/// Results that are kept.
const KEPT: usize = 5;
/// Bytes of a probe's output that are kept.
pub const OUTPUT_LIMIT: usize = 4096;
/// The exit code of a probe that did not end by itself.
pub const NO_CODE: i32 = -1;

/// How to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Between the end of a probe and the next one.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// After the start, in which failures do not count.
    pub start_period: Duration,
    /// Instead of `interval` within the start period, until the first success.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl Plan {
    /// From a configuration; `None` when nothing is to be probed.
    pub fn of(config: &Config) -> Option<Self> {
        let check = config.healthcheck.as_ref()?;
        let (kind, words) = check.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.clone().filter(|shell| !shell.is_empty());
                let mut command =
                    shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
                command.extend_from_slice(words);
                command
            }
            _ => return None,
        };
        let time = |nanos: i64, default: u64| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => Duration::from_secs(default),
        };
        Some(Self {
            command,
            interval: time(check.interval, 30),
            timeout: time(check.timeout, 30),
            start_period: time(check.start_period, 0),
            start_interval: time(check.start_interval, 5),
            retries: u32::try_from(check.retries).ok().filter(|n| *n > 0).unwrap_or(3),
        })
    }

    /// How long to wait for the next probe of a container that has run for `ran`.
    pub fn wait(&self, status: Status, ran: Duration) -> Duration {
        if ran < self.start_period && status == Status::Starting {
            self.start_interval
        } else {
            self.interval
        }
    }
}

/// What is done with a container that becomes unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing: who looks sees it.
    Nothing,
    /// It is stopped and started.
    Restart,
    /// It is stopped, as by its user.
    Stop,
    /// It is killed; its restart policy decides what follows.
    Kill,
}

impl OnFailure {
    /// What a container's annotation asks for.
    pub fn of(record: &ContainerRecord) -> Self {
        let asked = record.host.annotations.get(ON_FAILURE).map(String::as_str);
        Self::parse(asked.unwrap_or_default()).unwrap_or(Self::Nothing)
    }

    /// From the word; an error for any other.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "" | "none" => Ok(Self::Nothing),
            "restart" => Ok(Self::Restart),
            "stop" => Ok(Self::Stop),
            "kill" => Ok(Self::Kill),
            other => Err(Error::invalid(format!(
                "invalid {ON_FAILURE} \"{}\": use one of none, restart, stop, kill",
                other.chars().take(40).collect::<String>()
            ))),
        }
    }
}

/// How healthy a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No probe has succeeded yet.
    Starting,
    /// The last probes say so.
    Healthy,
    /// Too many probes failed in a row, or nobody probes (Docker's word for that, too).
    Unhealthy,
}

impl Status {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe's result. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: i64,
    /// When it was known how it ended.
    pub end: i64,
    /// Its exit code; [`NO_CODE`] when it could not be run or took too long.
    pub code: i32,
    /// What it wrote.
    pub output: String,
}

/// A container's health. Kept in `health.json` of its runtime folder, for the next daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In one word.
    pub status: Status,
    /// Failures in a row.
    pub streak: u32,
    /// The last results, oldest first.
    pub log: Vec<Probe>,
}

impl Default for Health {
    fn default() -> Self {
        Self { status: Status::Starting, streak: 0, log: Vec::new() }
    }
}

impl Health {
    /// Takes a result in, of a container that runs since `started`.
    pub fn take(&mut self, probe: Probe, plan: &Plan, started: Timestamp) {
        if probe.code == 0 {
            self.streak = 0;
            self.status = Status::Healthy;
        } else {
            let ran = i128::from(probe.start) - started.unix_nanos();
            let period = i128::try_from(plan.start_period.as_nanos()).unwrap_or(i128::MAX);
            if self.status != Status::Starting || ran >= period {
                self.streak = self.streak.saturating_add(1);
                if self.streak >= plan.retries {
                    self.status = Status::Unhealthy;
                }
            }
        }
        if self.log.len() >= KEPT {
            self.log.drain(..=self.log.len() - KEPT);
        }
        self.log.push(probe);
    }
}

/// What a probe writes, as far as it is kept.
#[derive(Debug, Default)]
pub struct Output {
    kept: Vec<u8>,
    cut: bool,
}

impl Output {
    /// Takes more of it.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = OUTPUT_LIMIT - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cut |= bytes.len() > room;
    }

    /// As it is shown: what is no text replaced, what was cut off marked.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.kept).into_owned();
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

/// The text of a probe that took longer than `timeout`.
pub fn overdue(timeout: Duration, output: &str) -> String {
    let time = stdx::time::go_duration(timeout);
    if output.is_empty() {
        format!("Health check exceeded timeout ({time})")
    } else {
        format!("Health check exceeded timeout ({time}): {output}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::records::container::Healthcheck;

    fn plan(test: &[&str], check: Healthcheck) -> Option<Plan> {
        let test = test.iter().map(|t| (*t).to_owned()).collect();
        Plan::of(&Config { healthcheck: Some(Healthcheck { test, ..check }), ..Config::default() })
    }

    #[test]
    fn plans_have_dockers_defaults() {
        let shell = plan(&["CMD-SHELL", "true"], Healthcheck::default()).unwrap();
        assert_eq!(shell.command, ["/bin/sh", "-c", "true"]);
        assert_eq!(
            (shell.interval, shell.timeout, shell.retries),
            (Duration::from_secs(30), Duration::from_secs(30), 3)
        );
        assert_eq!(plan(&["CMD", "a", "b"], Healthcheck::default()).unwrap().command, ["a", "b"]);
        for none in [&["NONE"][..], &[], &["WHAT", "x"]] {
            assert_eq!(plan(none, Healthcheck::default()), None);
        }
        assert_eq!(Plan::of(&Config::default()), None);
    }

    /// One probe a second, from the start on: `.` succeeds, `x` fails. The statuses and the last streak.
    fn check(retries: i64, period: i64, results: &str) -> (String, u32) {
        let plan = plan(
            &["CMD", "x"],
            Healthcheck { retries, start_period: period * 1_000_000_000, ..Healthcheck::default() },
        );
        let (plan, mut health) = (plan.unwrap(), Health::default());
        let mut statuses = String::new();
        for (at, result) in (0..).zip(results.chars()) {
            let start = at * 1_000_000_000;
            let code = i32::from(result == 'x');
            let probe = Probe { start, end: start, code, output: String::new() };
            health.take(probe, &plan, Timestamp::from_unix(0, 0));
            statuses.push_str(&health.status.word()[..1]);
        }
        assert!(health.log.len() <= KEPT);
        (statuses, health.streak)
    }

    #[test]
    fn failures_count_in_a_row_and_after_the_start_period() {
        assert_eq!(check(3, 0, "xxx."), ("ssuh".to_owned(), 0));
        assert_eq!(check(2, 0, ".xx"), ("hhu".to_owned(), 2));
        assert_eq!(check(2, 0, ".x.x.x"), ("hhhhhh".to_owned(), 1));
        assert_eq!(check(1, 3, "xxxx"), ("sssu".to_owned(), 1));
        // A success ends the start period's mercy.
        assert_eq!(check(1, 9, ".x"), ("hu".to_owned(), 1));
        assert_eq!(check(0, 0, "xxxxxxxxx"), ("ssuuuuuuu".to_owned(), 9));
    }

    #[test]
    fn the_start_period_has_an_interval_of_its_own() {
        let plan = plan(
            &["CMD", "x"],
            Healthcheck { start_period: 10_000_000_000, ..Healthcheck::default() },
        )
        .unwrap();
        let wait = |status, ran| plan.wait(status, Duration::from_secs(ran)).as_secs();
        assert_eq!(wait(Status::Starting, 0), 5);
        assert_eq!(wait(Status::Healthy, 0), 30);
        assert_eq!(wait(Status::Starting, 10), 30);
    }

    #[test]
    fn output_is_bounded_and_always_text() {
        let mut output = Output::default();
        output.push(&[b'a'; 4000]);
        output.push(&[b'b'; 96]);
        assert_eq!(output.text().len(), 4096);
        output.push(b"c");
        output.push(&[b'd'; 9999]);
        assert!(output.text().ends_with("b...") && output.text().len() == 4099);
        let mut output = Output::default();
        output.push(&[0xff, b'x']);
        assert_eq!(output.text(), "\u{fffd}x");
    }

    #[test]
    fn what_follows_is_one_of_four_words() {
        assert_eq!(OnFailure::parse("kill").unwrap(), OnFailure::Kill);
        assert_eq!(OnFailure::parse("").unwrap(), OnFailure::Nothing);
        OnFailure::parse("reboot").expect_err("no such word");
        assert_eq!(
            overdue(Duration::from_millis(1500), "x"),
            "Health check exceeded timeout (1.5s): x"
        );
    }
}
