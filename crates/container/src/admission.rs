//! Which request is possible in which state. Pure, so that every pair is decided and tested here.

use crate::state::Phase;
use stdx::{Error, Kind};

/// What is asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Run it.
    Start,
    /// End it.
    Stop,
    /// End it and run it again.
    Restart,
    /// Send it a signal.
    Kill,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Unpause,
    /// Remove it; `true`: even if it runs.
    Remove(bool),
    /// Run a further process in it.
    Exec,
    /// Change its limits.
    Update,
    /// Put it on a network, or take it from one.
    Network,
}

/// Whether `ask` is possible in `phase`; the error is what Docker would say. `id` and `name` are the container's.
pub fn admit(phase: &Phase, ask: Ask, id: &str, name: &str) -> Result<(), Error> {
    use Ask::{Exec, Kill, Network, Pause, Remove, Restart, Start, Stop, Unpause, Update};
    let conflict = |text: String| Err(Error::conflict(text));
    let already = || Err(Error::new(Kind::NotModified, String::new()));
    match (ask, phase) {
        (Remove(_), Phase::Gone | Phase::Removing) => {
            conflict(format!("removal of container {id} is already in progress"))
        }
        (_, Phase::Gone) => Err(Error::not_found(format!("No such container: {id}"))),

        (Start | Restart, Phase::Removing | Phase::Dead(_)) => {
            conflict("container is marked for removal and cannot be started".to_owned())
        }
        (Start, Phase::Created | Phase::Exited) => Ok(()),
        (Start, Phase::Paused(_)) => {
            conflict("cannot start a paused container, try unpause instead".to_owned())
        }
        (Start, Phase::Starting | Phase::Running(_) | Phase::Stopping(_) | Phase::Restarting) => {
            already()
        }

        (Restart, _) => Ok(()),

        (
            Stop | Kill,
            Phase::Running(_) | Phase::Paused(_) | Phase::Stopping(_) | Phase::Restarting,
        ) => Ok(()),
        (
            Stop,
            Phase::Created | Phase::Starting | Phase::Exited | Phase::Removing | Phase::Dead(_),
        ) => already(),

        (Kill, _) => {
            conflict(format!("cannot kill container: {name}: container {id} is not running"))
        }

        (Pause, Phase::Running(_) | Phase::Stopping(_)) => Ok(()),
        (Pause, Phase::Paused(_)) => conflict(format!("Container {id} is already paused")),
        (Unpause, Phase::Paused(_)) => Ok(()),
        (Pause | Exec, Phase::Restarting) => {
            conflict(format!("Container {id} is restarting, wait until the container is running"))
        }
        (Unpause, _) => conflict(format!("Container {id} is not paused")),
        (Pause, _) => conflict(format!("container {id} is not running")),

        (Remove(_), Phase::Created | Phase::Exited | Phase::Dead(_)) => Ok(()),
        (Remove(true), _) => Ok(()),
        (Remove(false), Phase::Paused(_)) => conflict(format!(
            "cannot remove container \"/{name}\": container is paused and must be unpaused first"
        )),
        (Remove(false), Phase::Restarting) => conflict(format!(
            "cannot remove container \"/{name}\": container is restarting: stop the container before removing or force remove"
        )),
        (Remove(false), _) => conflict(format!(
            "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
        )),

        (Exec, Phase::Running(_) | Phase::Stopping(_)) => Ok(()),
        (Exec, Phase::Paused(_)) => {
            conflict(format!("Container {name} is paused, unpause the container before exec"))
        }
        (Exec, _) => conflict(format!("container {id} is not running")),

        (Update, Phase::Removing | Phase::Dead(_)) => {
            conflict("container is marked for removal and cannot be \"update\"".to_owned())
        }
        (Update, _) => Ok(()),

        (Network, Phase::Removing | Phase::Dead(_)) => conflict(format!(
            "Container {id} is marked for removal and cannot be connected or disconnected to the network"
        )),
        (Network, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(phase: &Phase, ask: Ask) -> String {
        match admit(phase, ask, "abc", "web") {
            Ok(()) => "ok".to_owned(),
            Err(e) => format!("{:?} {}", e.kind(), e),
        }
    }

    #[test]
    fn starting_twice_is_no_error_but_no_change() {
        assert_eq!(check(&Phase::Created, Ask::Start), "ok");
        assert_eq!(check(&Phase::Exited, Ask::Start), "ok");
        assert_eq!(check(&Phase::Starting, Ask::Start), "NotModified ");
    }

    #[test]
    fn what_is_removed_cannot_be_started() {
        assert_eq!(
            check(&Phase::Dead(String::new()), Ask::Start),
            "Conflict container is marked for removal and cannot be started"
        );
        assert_eq!(check(&Phase::Gone, Ask::Start), "NotFound No such container: abc");
    }

    #[test]
    fn a_stopped_container_cannot_be_killed_and_need_not_be_stopped() {
        assert_eq!(check(&Phase::Exited, Ask::Stop), "NotModified ");
        assert_eq!(
            check(&Phase::Exited, Ask::Kill),
            "Conflict cannot kill container: web: container abc is not running"
        );
        assert_eq!(check(&Phase::Exited, Ask::Exec), "Conflict container abc is not running");
    }

    #[test]
    fn what_waits_to_be_started_again_counts_as_running_and_has_no_process() {
        let phase = Phase::Restarting;
        assert_eq!(check(&phase, Ask::Start), "NotModified ");
        for ask in [Ask::Stop, Ask::Kill, Ask::Restart, Ask::Remove(true), Ask::Update] {
            assert_eq!(check(&phase, ask), "ok", "{ask:?}");
        }
        for ask in [Ask::Pause, Ask::Exec] {
            assert_eq!(
                check(&phase, ask),
                "Conflict Container abc is restarting, wait until the container is running"
            );
        }
        assert!(check(&phase, Ask::Remove(false)).contains("container is restarting: stop the"));
    }

    #[test]
    fn removal_is_denied_while_starting_unless_forced() {
        assert!(check(&Phase::Starting, Ask::Remove(false)).contains("container is running"));
        assert_eq!(check(&Phase::Starting, Ask::Remove(true)), "ok");
        assert_eq!(
            check(&Phase::Removing, Ask::Remove(true)),
            "Conflict removal of container abc is already in progress"
        );
    }
}
