//! What tests of the real programs need: private hosts, daemons in them, clients, images, registries, leak checks.
//!
//! A test reads like a user's session:
//!
//! ```no_run
//! let daemon = testkit::Daemon::start();
//! let client = daemon.client(testkit::Cli::Gantry);
//! client.run(&["run", "--rm", "busybox", "echo", "hello"]).ok().prints("hello\n");
//! ```
//!
//! Every daemon lives in a [`Host`]: network, mount and process namespaces of its own. When the host is dropped, or the
//! test is killed, the kernel ends everything in it. Only cgroups are shared with the machine, below a parent named
//! after the instance, and those are removed by the daemon's drop.
//!
//! The harness panics when it cannot do its own work; what the programs under test do is returned as [`Output`].

#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "starts programs as a user does, and waits as a user does"
)]
#![allow(clippy::print_stderr, reason = "a failing test shows its daemon's log")]

pub mod client;
pub mod compose;
pub mod daemon;
pub mod debian;
pub mod failpoints;
pub mod host;
pub mod http;
pub mod images;
pub mod leaks;
pub mod need;
pub mod papers;
pub mod plugin;
pub mod process;
pub mod pty;
pub mod reference;
pub mod registry;
pub mod seed;

pub use client::{Cli, Client};
pub use compose::Compose;
pub use daemon::{Daemon, Options};
pub use host::Host;
pub use leaks::Leaks;
pub use papers::Papers;
pub use plugin::Plugin;
pub use process::Output;
pub use reference::Reference;

use std::path::PathBuf;

/// The project's root.
pub fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("testkit lies two folders below the root").to_owned()
}

/// Where the programs under test are: `target/bin`, or `GANTRY_PROGRAMS`.
pub fn programs() -> PathBuf {
    std::env::var_os("GANTRY_PROGRAMS").map_or_else(|| root().join("target/bin"), PathBuf::from)
}

/// A program under test.
///
/// # Panics
/// When it has not been built.
pub fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(path.is_file(), "{} is missing: build it with `cargo xtask build`", path.display());
    path
}
