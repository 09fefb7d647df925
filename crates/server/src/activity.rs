//! What is being answered right now, for whoever wants to know where the daemon stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The requests that are being answered.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    next: u64,
    requests: BTreeMap<u64, (Instant, String)>,
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    activity: &'a Activity,
    number: u64,
}

impl Activity {
    /// Requests that a handler works on, the oldest first, with what they have taken so far. Streams whose head was
    /// sent are not among them.
    pub fn running(&self) -> Vec<String> {
        let now = Instant::now();
        let line = |(began, what): &(Instant, String)| {
            format!("{what} since {:.3} s", now.duration_since(*began).as_secs_f64())
        };
        self.lock().requests.values().map(line).collect()
    }

    /// How many requests a handler works on, and how many there have been.
    pub(crate) fn count(&self) -> (usize, u64) {
        let running = self.lock();
        (running.requests.len(), running.next)
    }

    pub(crate) fn begin(&self, method: &http::Method, path: &str) -> Turn<'_> {
        let what = format!("{method} {path}");
        let mut running = self.lock();
        let number = running.next;
        running.next += 1;
        running.requests.insert(number, (Instant::now(), what));
        Turn { activity: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.activity.lock().requests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_listed_while_it_is_answered() {
        let activity = Activity::default();
        let turn = activity.begin(&http::Method::GET, "/info");
        assert!(activity.running()[0].starts_with("GET /info since 0."));
        assert_eq!(activity.count(), (1, 1));
        drop(turn);
        assert_eq!(activity.count(), (0, 1));
    }
}
