//! What the daemon told, one event after the other, through the states that a container can be in.

use super::Event;
use std::collections::BTreeMap;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Created,
    Running,
    Paused,
    Exited,
    Gone,
}

/// A container, as far as it was told of.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) name: String,
    pub(super) state: State,
}

/// The lives of all containers, by id. What no container can do is noted in `wrong`.
pub(super) fn replay(history: &[Event], wrong: &mut Vec<String>) -> BTreeMap<String, Life> {
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    // An empty id is the daemon's own doing, a prune.
    for (at, event) in history.iter().enumerate().filter(|(_, e)| !e.id.is_empty()) {
        let Event { action, id, name } = event;
        let before = lives.get(id).map(|life| life.state);
        match step(before, action) {
            Ok(state) => {
                let taken = lives.iter().find(|(other, life)| {
                    *other != id && life.state != State::Gone && life.name == *name
                });
                // A name is free a moment before its owner is told to be gone: that must be the next thing told of it.
                let goes = |other: &str| {
                    let next = history[at..].iter().find(|e| e.id == other);
                    next.is_some_and(|e| e.action == "destroy")
                };
                if let Some((other, _)) = taken
                    && matches!(action.as_str(), "create" | "rename")
                    && !goes(other)
                {
                    wrong.push(format!("{action} gives {id} the name {name} of {other}"));
                }
                lives.insert(id.clone(), Life { name: name.clone(), state });
            }
            Err(()) => wrong.push(format!("{id} ({name}) was told to {action} when {before:?}")),
        }
    }
    lives
}

/// The state after an event; an error when it cannot be.
fn step(before: Option<State>, action: &str) -> Result<State, ()> {
    use State::{Created, Exited, Gone, Paused, Running};
    match (action.split(':').next().unwrap_or_default(), before) {
        ("create", None) => Ok(Created),
        ("start", Some(Created | Exited)) => Ok(Running),
        ("die", Some(Running | Paused)) => Ok(Exited),
        ("pause", Some(Running)) => Ok(Paused),
        ("unpause", Some(Paused)) => Ok(Running),
        ("destroy", Some(Created | Exited)) => Ok(Gone),
        ("kill", Some(state @ (Running | Paused))) => Ok(state),
        ("stop", Some(state @ Exited)) => Ok(state),
        // It may have ended by the time that it is told.
        ("restart" | "exec_create" | "exec_start" | "exec_die" | "resize" | "top", Some(state))
            if state != Gone =>
        {
            Ok(state)
        }
        ("rename" | "update", Some(state)) if state != Gone => Ok(state),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(actions: &[&str], findings: usize) {
        let history: Vec<Event> = actions
            .iter()
            .map(|a| Event { action: (*a).to_owned(), id: "1".to_owned(), name: "n".to_owned() })
            .collect();
        let mut wrong = Vec::new();
        replay(&history, &mut wrong);
        assert_eq!(wrong.len(), findings, "{actions:?}: {wrong:?}");
    }

    #[test]
    fn what_cannot_be_is_found() {
        check(&["create", "start", "kill", "die", "stop", "start", "die", "destroy"], 0);
        check(&["create", "start", "pause", "kill", "die", "destroy"], 0);
        check(&["start"], 1);
        check(&["create", "start", "start"], 1);
        check(&["create", "start", "destroy"], 1);
        check(&["create", "destroy", "start"], 1);
        check(&["create", "start", "pause", "pause"], 1);
        check(&["create", "start", "die", "kill"], 1);
    }
}
