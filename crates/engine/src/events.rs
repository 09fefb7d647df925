//! What happened, for whoever asks: the last ones are kept, live ones are sent to every subscriber.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use stdx::time::Timestamp;
use tokio::sync::broadcast;

/// How many past events a new subscriber can still see; Docker's number.
const KEPT: usize = 256;
/// How far a subscriber may fall behind before it is cut off.
const BEHIND: usize = 4096;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// `container`, `image`, `volume`, `network`, `daemon`.
    pub kind: &'static str,
    /// What happened, such as `start`.
    pub action: String,
    /// To whom.
    pub id: String,
    /// Name, labels and the action's own attributes.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Events {
    past: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
    total: AtomicU64,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            past: Mutex::default(),
            live: broadcast::channel(BEHIND).0,
            total: AtomicU64::new(0),
        }
    }

    pub(crate) fn publish(
        &self,
        kind: &'static str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Arc::new(Event {
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
            time: Timestamp::now(),
        });
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut past = self.past.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        // Sent under the lock, so that a subscriber sees every event once: in the past or live. Nobody listening is fine.
        let _listeners = self.live.send(event);
    }

    pub(crate) fn subscribe(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> EventStream {
        let past = self.past.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let seen = |event: &&Arc<Event>| {
            since.is_some_and(|since| event.time >= since)
                && until.is_none_or(|until| event.time <= until)
        };
        // Without `since` only what comes is wanted, unless everything wanted is over already.
        let past = past.iter().filter(seen).cloned().collect();
        EventStream { past, live: self.live.subscribe(), until }
    }

    /// How many there have been.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }
}

/// A subscriber's events.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
    until: Option<Timestamp>,
}

impl EventStream {
    /// The next event; `None` at the end: `until` has come, the daemon stops, or the subscriber was too slow.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        let event = match self.until {
            None => self.live.recv().await.ok()?,
            Some(until) => {
                let left = until.unix_nanos() - Timestamp::now().unix_nanos();
                let left = std::time::Duration::from_nanos(u64::try_from(left).ok()?);
                tokio::time::timeout(left, self.live.recv()).await.ok()?.ok()?
            }
        };
        self.until.is_none_or(|until| event.time <= until).then_some(event)
    }
}
