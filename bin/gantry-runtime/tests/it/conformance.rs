//! What the runtime specification and runc's users expect of any runtime.

mod exec;
mod hooks;
mod life;
mod limits;
mod mounts;
mod namespaces;
mod process;
mod seccomp;

use crate::bundle::{OTHER, is_ours};

/// Whether the runtime under test is one that this test is about; runc 1.1 lacks some of what later ones have.
/// `_what`, for the reader: what it lacks.
fn only_newer(_what: &str) -> bool {
    is_ours()
}

/// Runs every other test of this module with Debian's runc.
#[test]
#[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
fn runc_goes_through_the_same_tests() {
    testkit::need!(Program("runc", "runc"));
    if !is_ours() {
        return;
    }
    let runc = testkit::need::find("runc").unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env(OTHER, runc)
        .args(["conformance::", "--skip", "runc_goes_through", "--test-threads", "2"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok") && !text.contains(" 0 passed"), "{text}");
}
