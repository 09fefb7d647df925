//! Durations and states as `docker ps` words them.

use engine::health::Status as Health;
use engine::{StateView, Status};
use stdx::time::Timestamp;

/// `About an hour`, `3 weeks`, … (the words of Docker's go-units).
pub(crate) fn human(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A container's `Status` in lists.
pub(crate) fn status(state: &StateView, now: Timestamp) -> String {
    let since = |then: Timestamp| {
        human(i64::try_from((now.unix_nanos() - then.unix_nanos()) / 1_000_000_000).unwrap_or(0))
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match state.health.as_ref().map(|health| health.status) {
            None => format!("Up {}", since(state.started)),
            Some(Health::Starting) => format!("Up {} (health: starting)", since(state.started)),
            Some(status) => format!("Up {} ({})", since(state.started), status.word()),
        },
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.code, since(state.finished)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited if state.finished.is_zero() => "Created".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.code, since(state.finished)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_worded_as_docker_words_them() {
        let check = |seconds, wanted: &str| assert_eq!(human(seconds), wanted, "{seconds}");
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(119, "About a minute");
        check(120, "2 minutes");
        check(59 * 60, "59 minutes");
        check(3600, "About an hour");
        check(89 * 60, "About an hour");
        check(90 * 60, "2 hours");
        check(47 * 3600, "47 hours");
        check(48 * 3600, "2 days");
        check(13 * 24 * 3600, "13 days");
        check(14 * 24 * 3600, "2 weeks");
        check(60 * 24 * 3600, "2 months");
        check(365 * 24 * 3600, "12 months");
        check(730 * 24 * 3600, "2 years");
    }

    #[test]
    fn states() {
        let now = Timestamp::from_unix(1000, 0);
        let state = |status| StateView {
            status,
            pid: 0,
            code: 3,
            oom: false,
            error: String::new(),
            started: Timestamp::from_unix(990, 0),
            finished: Timestamp::from_unix(995, 0),
            health: None,
        };
        assert_eq!(status(&state(Status::Running), now), "Up 10 seconds");
        assert_eq!(status(&state(Status::Paused), now), "Up 10 seconds (Paused)");
        assert_eq!(status(&state(Status::Exited), now), "Exited (3) 5 seconds ago");
        assert_eq!(status(&state(Status::Restarting), now), "Restarting (3) 5 seconds ago");
    }
}
