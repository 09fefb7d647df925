//! What a test needs of the machine. It is had, or the test says why it did not run.
//!
//! A test that cannot run returns early and prints one line that begins with `skipped:`; `cargo xtask test` collects
//! these lines (through the file named by `GANTRY_TEST_SKIPS`). With `GANTRY_TEST_STRICT=1` it fails instead.

use crate::{client, reference};
use std::io::Write as _;
use std::path::PathBuf;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The right to make namespaces, mounts and cgroups.
    Root,
    /// A `docker` command on the machine.
    Docker,
    /// The reference daemon and client, fetched by `cargo xtask peers`.
    Peers,
    /// A program on `PATH`, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// Loop devices, for file systems of a chosen size.
    Loop,
}

impl Need {
    /// Why it is missing, if it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
            Self::Docker => client::Cli::Docker
                .path()
                .is_none()
                .then(|| "there is no docker command".to_owned()),
            Self::Peers => reference::missing(),
            Self::Program(name, package) => {
                find(name).is_none().then(|| format!("needs {name} (Debian's package {package})"))
            }
            Self::Loop => {
                let control = std::path::Path::new("/dev/loop-control");
                (!control.exists()).then(|| "there are no loop devices".to_owned())
            }
        }
    }
}

/// Whether everything in `needs` is there; if not, says so in the name of the calling test.
///
/// # Panics
/// When something is missing and `GANTRY_TEST_STRICT=1` is set.
pub fn met(test: &str, needs: &[Need]) -> bool {
    let Some(why) = needs.iter().find_map(|need| need.missing()) else { return true };
    skip(test, &why);
    false
}

/// Says that a test does not run, and why.
///
/// # Panics
/// When `GANTRY_TEST_STRICT=1` is set.
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    assert!(std::env::var_os("GANTRY_TEST_STRICT").is_none(), "{line}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("GANTRY_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // The summary is poorer without the line, the test's own output has it.
        let _written =
            file.and_then(|mut file| writeln!(file, "{}", line.trim_start_matches("skipped: ")));
    }
}

/// A program on `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Returns from the calling test, with a word, unless everything named is there: `need!(Root, Docker)`.
#[macro_export]
macro_rules! need {
    ($($need:expr),+ $(,)?) => {{
        #[allow(unused_imports, reason = "a need with fields names its type itself")]
        use $crate::need::Need::*;
        let place = std::thread::current().name().unwrap_or("test").to_owned();
        if !$crate::need::met(&place, &[$($need),+]) {
            return;
        }
    }};
}
