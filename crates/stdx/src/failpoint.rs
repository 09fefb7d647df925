//! Named points at which a test can stop the daemon.
//!
//! Every durable step has one. They are compiled into the one build and armed only by the environment:
//! `GANTRY_FAILPOINTS="container.start.after-network=kill;image.pull.before-commit=error"`. An unarmed point costs one
//! relaxed load. The crash matrix (`cargo xtask crash`) kills the daemon at each, restarts it and looks for leaks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every point that exists, so that the matrix can prove that it hit each one.
pub const ENV: &str = "GANTRY_FAILPOINTS";

/// What an armed point does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process ends at once, as by `kill -9`.
    Kill,
    /// The step fails with an error.
    Error,
}

static ARMED: AtomicBool = AtomicBool::new(false);
static TABLE: OnceLock<Vec<(String, Action)>> = OnceLock::new();

/// Reads [`ENV`] once, at the start of a program. Unknown actions are an error that names them.
pub fn arm_from_env() -> Result<(), String> {
    let Ok(text) = std::env::var(ENV) else { return Ok(()) };
    let mut table = Vec::new();
    for entry in text.split(';').filter(|e| !e.is_empty()) {
        let (name, action) = entry
            .split_once('=')
            .ok_or_else(|| format!("{ENV}: \"{entry}\" is not name=action"))?;
        let action = match action {
            "kill" => Action::Kill,
            "error" => Action::Error,
            other => return Err(format!("{ENV}: unknown action \"{other}\" (kill, error)")),
        };
        table.push((name.to_owned(), action));
    }
    ARMED.store(!table.is_empty(), Ordering::Relaxed);
    // A second call would be a programming error; the first table stays.
    let _already = TABLE.set(table);
    Ok(())
}

/// What the point `name` shall do now. Used through [`fail_point!`](crate::fail_point).
pub fn hit(name: &str) -> Option<Action> {
    if !ARMED.load(Ordering::Relaxed) {
        return None;
    }
    let action = TABLE.get()?.iter().find(|(n, _)| n == name).map(|(_, a)| *a)?;
    if action == Action::Kill {
        // SIGKILL, not exit: no destructor may run, as in a real crash.
        let _sent =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    Some(action)
}

/// A named step that a test can make the last one.
///
/// `fail_point!("name")` inside a function that returns [`Result`](crate::Result).
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        if let Some(_action) = $crate::failpoint::hit($name) {
            return Err($crate::Error::internal(concat!("failpoint ", $name)).into());
        }
    };
}
