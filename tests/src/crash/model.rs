//! A random life of some containers, held against a model that fits on a page.

use super::{Scene, guarded};
use std::collections::BTreeMap;
use testkit::Output;
use testkit::seed::Random;

/// Steps in one life.
const STEPS: usize = 150;
/// Names that containers have; few, so that they clash.
const NAMES: [&str; 4] = ["ada", "bob", "cyd", "dan"];

/// What a container is, as far as a client can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Paused,
    Exited,
}

/// What a client or the world does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Run,
    Start,
    Stop,
    Kill,
    Restart,
    Pause,
    Unpause,
    Rename,
    Remove,
    RemoveForced,
    Exec,
    RestartDaemon,
    KillDaemon,
}

const ALL: [Step; 14] = [
    Step::Create,
    Step::Run,
    Step::Start,
    Step::Stop,
    Step::Kill,
    Step::Restart,
    Step::Pause,
    Step::Unpause,
    Step::Rename,
    Step::Remove,
    Step::RemoveForced,
    Step::Exec,
    Step::RestartDaemon,
    Step::KillDaemon,
];

/// Lives one life; the count of steps that were made.
pub fn run(seed: u64, findings: &mut Vec<String>) -> usize {
    let mut made = 0;
    guarded(&format!("life with seed {seed}"), findings, || live(seed, &mut made));
    made
}

fn live(seed: u64, made: &mut usize) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut scene = Scene::start();
    let mut model: BTreeMap<&str, State> = BTreeMap::new();
    let mut told = Vec::new();
    for _ in 0..STEPS {
        let (step, name, other) = (*random.pick(&ALL), *random.pick(&NAMES), *random.pick(&NAMES));
        told.push(format!("{step:?} {name} {other}"));
        let last = || told[told.len().saturating_sub(8)..].join(", ");
        let expected = expect(&mut model, step, name, other);
        let output = act(&mut scene, step, name, other);
        if let Some(output) = output
            && (output.code == 0) != expected
        {
            return Err(format!(
                "{}: expected {}\n{output}",
                last(),
                if expected { "success" } else { "a refusal" }
            ));
        }
        let listed = scene.client.run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
        let mut listed: Vec<&str> =
            listed.stdout.lines().filter(|l| !l.starts_with("bystander ")).collect();
        listed.sort_unstable();
        let wanted: Vec<String> =
            model.iter().map(|(n, s)| format!("{n} {}", format!("{s:?}").to_lowercase())).collect();
        if listed != wanted {
            return Err(format!("{}: listed are {listed:?}, expected {wanted:?}", last()));
        }
        *made += 1;
    }
    for name in model.keys() {
        scene.client.run(&["rm", "-f", name]).ok();
    }
    scene.check().map_err(|e| format!("at the end: {e}"))
}

/// What the step does to the model; whether it succeeds.
fn expect<'a>(
    model: &mut BTreeMap<&'a str, State>,
    step: Step,
    name: &'a str,
    other: &'a str,
) -> bool {
    let state = model.get(name).copied();
    let next = match (step, state) {
        (Step::RestartDaemon | Step::KillDaemon, _) => return true,
        (Step::Create, None) => State::Created,
        (Step::Run, None) | (Step::Start | Step::Restart, Some(State::Created | State::Exited)) => {
            State::Running
        }
        (Step::Create | Step::Run, Some(_)) => return false,
        // Removing by force what is not there is no error of the command.
        (Step::RemoveForced, None) => return true,
        (_, None) => return false,
        (Step::Start, Some(State::Running)) => return true,
        (Step::Start, Some(State::Paused)) => return false,
        (Step::Restart, Some(State::Running | State::Paused)) => State::Running,
        // Stopping what never ran is as good as done.
        (Step::Stop, Some(State::Created | State::Exited)) => return true,
        (Step::Stop | Step::Kill, Some(State::Running | State::Paused)) => State::Exited,
        (Step::Kill, Some(_)) => return false,
        (Step::Pause, Some(State::Running)) => State::Paused,
        (Step::Pause, Some(_)) => return false,
        (Step::Unpause, Some(State::Paused)) => State::Running,
        (Step::Unpause, Some(_)) => return false,
        (Step::Exec, Some(state)) => return state == State::Running,
        (Step::Rename, Some(state)) => {
            if model.contains_key(other) {
                return false;
            }
            model.remove(name);
            model.insert(other, state);
            return true;
        }
        (Step::Remove, Some(State::Running | State::Paused)) => return false,
        (Step::Remove | Step::RemoveForced, Some(_)) => {
            model.remove(name);
            return true;
        }
    };
    model.insert(name, next);
    true
}

/// Does it; nothing when it is none of a client's doing.
fn act(scene: &mut Scene, step: Step, name: &str, other: &str) -> Option<Output> {
    let words: &[&str] = match step {
        Step::RestartDaemon => {
            scene.daemon.restart();
            return None;
        }
        Step::KillDaemon => {
            scene.recover();
            return None;
        }
        Step::Create => &["create", "--name", name, "busybox", "sleep", "1000"],
        Step::Run => &["run", "-d", "--name", name, "busybox", "sleep", "1000"],
        Step::Start => &["start", name],
        Step::Stop => &["stop", "-t", "0", name],
        Step::Kill => &["kill", name],
        Step::Restart => &["restart", "-t", "0", name],
        Step::Pause => &["pause", name],
        Step::Unpause => &["unpause", name],
        Step::Rename => &["rename", name, other],
        Step::Remove => &["rm", name],
        Step::RemoveForced => &["rm", "-f", name],
        Step::Exec => &["exec", name, "true"],
    };
    let output = scene.client.run(words);
    // `kill` answers when the signal is sent; the exit follows.
    if step == Step::Kill && output.code == 0 {
        scene.client.run(&["wait", name]).ok();
    }
    Some(output)
}
