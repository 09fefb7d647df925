//! Places for connections, of which there are only so many.
//!
//! Clients keep connections for hours on which they ask nothing, so these have no deadline; but neither may they keep
//! others out. Whoever comes when all places are taken gets the place of the connection that has been idle for longest,
//! of those first on which nothing was ever asked (on a network anybody can open these), and when none is idle, of the
//! first that becomes so.

use super::conn::{self, Turn};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Duration;

/// How long is waited for a connection to leave, or to become idle, before the next one is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// When so many have become few, memory is given back.
const MANY: usize = 256;

/// All connections of a server.
#[derive(Debug)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// By number; each has a place.
    all: HashMap<u64, Arc<Turn>>,
    next: u64,
    /// The most that there were since memory was given back.
    most: usize,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    turn: Arc<Turn>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Crowd {
    pub(super) fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), turns: Mutex::default() }
    }

    /// A place for one more connection.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let place = Arc::clone(&self.places).acquire_owned();
            let permit = match Arc::clone(&self.places).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    self.make_room();
                    match tokio::time::timeout(PATIENCE, place).await {
                        Ok(permit) => permit.ok(),
                        // Everybody was busy, or whoever was asked had been faster with a request.
                        Err(_) => continue,
                    }
                }
            };
            let turn = Arc::new(Turn::default());
            let mut turns = self.turns();
            let number = turns.next;
            turns.next += 1;
            turns.all.insert(number, Arc::clone(&turn));
            turns.most = turns.most.max(turns.all.len());
            return Place { crowd: Arc::clone(self), number, turn, _permit: permit };
        }
    }

    /// Asks the connection to leave that has been idle for longest, whoever never asked anything before all others.
    fn make_room(&self) {
        let turns = self.turns();
        let idle = turns
            .all
            .values()
            .filter_map(|turn| Some((turn.number() > 0, turn.idle_since()?, turn)));
        if let Some((.., turn)) = idle.min_by_key(|(asked, since, _)| (*asked, *since)) {
            turn.ask_to_leave();
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.turn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut turns = self.crowd.turns();
        turns.all.remove(&self.number);
        // Each had buffers, which lie free in the allocator now.
        if turns.most >= MANY && turns.all.len() <= turns.most / 8 {
            turns.most = turns.all.len();
            conn::give_memory_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::task::JoinHandle;

    fn newcomer(crowd: &Arc<Crowd>) -> JoinHandle<Place> {
        let crowd = Arc::clone(crowd);
        tokio::spawn(async move { crowd.enter().await })
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_leaves_for_a_newcomer() {
        let crowd = Arc::new(Crowd::new(2));
        let old = crowd.enter().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let new = crowd.enter().await;
        let entering = newcomer(&crowd);
        old.turn().asked_to_leave().await;
        drop(old);
        drop(entering.await.unwrap());
        assert_eq!(crowd.turns().all.len(), 1);
        drop(new);
        assert_eq!(crowd.turns().all.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_something_stays_before_who_never_did() {
        let crowd = Arc::new(Crowd::new(2));
        let client = crowd.enter().await;
        client.turn().begin();
        client.turn().end();
        tokio::time::advance(Duration::from_secs(1)).await;
        let stranger = crowd.enter().await;
        let entering = newcomer(&crowd);
        stranger.turn().asked_to_leave().await;
        drop(stranger);
        drop(entering.await.unwrap());
        assert!(client.turn().asked_to_leave().now_or_never().is_none());
    }
}
