//! Many clients at once.

use std::time::Duration;
use testkit::{Daemon, Leaks, need};

#[test]
fn fifty_clients_at_once_find_what_a_model_allows() {
    need!(Root);
    // Another seed: GANTRY_TEST_SEED.
    let seed = std::env::var("GANTRY_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let daemon = Daemon::start();
    let client = daemon.gantry();
    client.run(&["run", "--rm", "busybox", "true"]).ok();
    let leaks = Leaks::snapshot(&daemon);
    let pid = daemon.pid();
    match tests::storm::run(&daemon.socket(), seed, Duration::from_secs(6)) {
        Ok(answers) => assert!(answers > 300, "only {answers} answers"),
        Err(findings) => panic!("{findings}"),
    }
    assert_eq!(daemon.pid(), pid);
    leaks.check(&daemon);
}
