//! Threads for work whose pace a client sets.
//!
//! tokio's threads for what blocks are few, and everything else needs them, too: clients that send or take an archive
//! slowly, or never, would hold all of them and nobody could start a container. So such work has a thread of its own.

use stdx::{Context as _, Error, Result};
use tokio::sync::{Semaphore, oneshot};

/// Archives on their way at a time. One more waits for its turn, and nothing else does.
static TURNS: Semaphore = Semaphore::const_new(512);

/// Runs what waits for a client on a thread of its own.
pub async fn at_a_clients_pace<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let turn = TURNS.acquire().await.map_err(|e| Error::internal(e.to_string()))?;
    let runtime = tokio::runtime::Handle::current();
    let (done, result) = oneshot::channel();
    let run = move || {
        let _inside = runtime.enter();
        let _turn = turn;
        // Whoever asked may have gone.
        let _unwanted = done.send(work());
    };
    std::thread::Builder::new()
        .name("archive".to_owned())
        .spawn(run)
        .context(|| "start a thread")?;
    result.await.map_err(|_| Error::internal("the thread of an archive panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn errors_and_panics_come_back_and_turns_are_given_back() {
        assert_eq!(at_a_clients_pace(|| Ok(7)).await.unwrap(), 7);
        let refused = at_a_clients_pace(|| Err::<(), _>(Error::invalid("no"))).await;
        assert_eq!(refused.unwrap_err().message(), "no");
        at_a_clients_pace::<()>(|| panic!("a test")).await.unwrap_err();
        while TURNS.available_permits() < 512 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
