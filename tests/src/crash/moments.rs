//! Kills at random moments of each operation.

use super::{Scene, guarded, want};
use std::time::Duration;
use testkit::process::PATIENCE;
use testkit::seed::Random;

/// How often each operation is cut short in a round.
const TIMES: usize = 6;

/// Operations as the words of a command, and how long they take at most, in milliseconds.
const OPERATIONS: [(&[&str], usize); 7] = [
    (&["run", "-d", "--name", "victim", "-v", "/volume", "busybox", "sleep", "1000"], 120),
    (&["run", "--rm", "--name", "victim", "busybox", "true"], 150),
    (&["start", "victim"], 60),
    (&["stop", "-t", "0", "victim"], 60),
    (&["restart", "-t", "0", "victim"], 120),
    (&["rm", "-fv", "victim"], 80),
    (&["exec", "victim", "true"], 60),
];

/// Runs each operation and kills the daemon in the middle; the count of kills.
pub fn run(random: &mut Random, findings: &mut Vec<String>) -> usize {
    let mut kills = 0;
    for (words, longest) in OPERATIONS {
        let moments: Vec<usize> = (0..TIMES).map(|_| random.below(longest)).collect();
        kills += moments.len();
        guarded(&format!("{} killed after {moments:?} ms", words.join(" ")), findings, || {
            one(words, &moments)
        });
    }
    kills
}

fn one(words: &[&str], moments: &[usize]) -> Result<(), String> {
    let mut scene = Scene::start();
    for moment in moments {
        prepare(&scene, words[0])?;
        let running = scene.client.start(words);
        // Not a wait for anything: the moment is what is chosen.
        #[allow(clippy::disallowed_methods, reason = "the moment of the kill is the test's input")]
        std::thread::sleep(Duration::from_millis(*moment as u64));
        scene.daemon.kill9();
        running.end(PATIENCE);
        scene.daemon.up();
        if let Some(state) = scene.state("victim") {
            let known = ["created ", "running ", "exited "].iter().any(|s| state.starts_with(s));
            if !known {
                return Err(format!("the victim is {state} after {moment} ms"));
            }
            if state.starts_with("running") {
                want(scene.client.run(&["exec", "victim", "true"]))
                    .map_err(|e| format!("after {moment} ms: {e}"))?;
            }
            want(scene.client.run(&["rm", "-fv", "victim"]))
                .map_err(|e| format!("after {moment} ms, {state}: {e}"))?;
        }
        want(scene.client.run(&["run", "--rm", "--name", "victim", "busybox", "true"]))
            .map_err(|e| format!("after {moment} ms: {e}"))?;
        scene.check().map_err(|e| format!("after {moment} ms: {e}"))?;
    }
    Ok(())
}

/// Makes the container that the operation needs.
fn prepare(scene: &Scene, verb: &str) -> Result<(), String> {
    let make: &[&str] = match verb {
        "run" => return Ok(()),
        "start" => &["create", "--name", "victim", "busybox", "sleep", "1000"],
        _ => &["run", "-d", "--name", "victim", "-v", "/volume", "busybox", "sleep", "1000"],
    };
    want(scene.client.run(make)).map(drop)
}
