//! Whether and when a container that ended is started again: Docker's restart policies. Pure.
//!
//! The first wait is 100 ms; each further one is twice as long, up to a minute. A container that ran for ten seconds
//! begins anew with 100 ms.

use std::time::Duration;
use store::records::container::RestartPolicy;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// Who ran as long as this is well: the wait begins anew.
const WELL: Duration = Duration::from_secs(10);

/// How a container ended, as far as its policy is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its user stopped or killed it.
    pub by_user: bool,
    /// It is the daemon's start that finds it ended, not its end itself. Docker then starts `always` and `on-failure`
    /// again even if their user had stopped them.
    pub found: bool,
}

/// Whether `policy` starts a container again that it has started `count` times already.
pub fn is_wanted(policy: &RestartPolicy, count: u32, ended: Ended) -> bool {
    let stays = ended.by_user && !ended.found;
    match policy.name.as_str() {
        "always" => !stays,
        "unless-stopped" => !ended.by_user,
        "on-failure" => {
            let most = policy.maximum_retry_count;
            ended.code != 0 && !stays && (most == 0 || i64::from(count) < most)
        }
        _ => false,
    }
}

/// How long to wait after an end; `last` is the wait before (zero: there was none), `ran` how long it ran since.
pub fn delay(last: Duration, ran: Duration) -> Duration {
    if last.is_zero() || ran >= WELL { FIRST } else { (last * 2).min(LONGEST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str, most: i64, count: u32, code: i32, by_user: bool) -> (bool, bool) {
        let policy = RestartPolicy { name: policy.to_owned(), maximum_retry_count: most };
        let ended = Ended { code, by_user, found: false };
        (
            is_wanted(&policy, count, ended),
            is_wanted(&policy, count, Ended { found: true, ..ended }),
        )
    }

    /// At the end itself, and when the daemon's start finds it ended. Both as dockerd 26.1 does.
    #[test]
    fn policies_are_dockers() {
        for policy in ["", "no"] {
            assert_eq!(check(policy, 0, 0, 1, false), (false, false));
        }
        assert_eq!(check("always", 0, 9, 0, false), (true, true));
        assert_eq!(check("always", 0, 0, 0, true), (false, true));
        assert_eq!(check("unless-stopped", 0, 0, 0, false), (true, true));
        assert_eq!(check("unless-stopped", 0, 0, 137, true), (false, false));
        assert_eq!(check("on-failure", 0, 99, 1, false), (true, true));
        assert_eq!(check("on-failure", 0, 0, 0, false), (false, false));
        assert_eq!(check("on-failure", 2, 1, 1, false), (true, true));
        assert_eq!(check("on-failure", 2, 2, 1, false), (false, false));
        assert_eq!(check("on-failure", 0, 0, 137, true), (false, true));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_ten_good_seconds() {
        let soon = Duration::from_secs(1);
        let mut waits = vec![delay(Duration::ZERO, soon)];
        for _ in 0..10 {
            waits.push(delay(waits[waits.len() - 1], soon));
        }
        let millis: Vec<u128> = waits.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000]);
        assert_eq!(delay(LONGEST, WELL), FIRST);
    }
}
