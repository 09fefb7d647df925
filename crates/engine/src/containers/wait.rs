//! Waiting for a container's end.

use crate::Engine;
use container::Phase;
use std::future::Future;
use stdx::{Error, Result};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; may be so already.
    NotRunning,
    /// Its next end, though it may have ended before.
    NextExit,
    /// That it is gone.
    Removed,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Its exit code.
    pub code: i64,
    /// Why it could not be removed, if that was waited for.
    pub error: Option<String>,
}

impl Engine {
    /// Waits for a container. Nothing that happens after this returns is missed: the future may be awaited later.
    pub fn wait_container(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Result<Waited>> + Send + 'static + use<>> {
        let container = self.inner.containers.find(name)?;
        let mut published = container.follow();
        let exits_before = published.borrow().exits;
        Ok(async move {
            let reached = |now: &container::Published| {
                let gone = matches!(now.phase, Phase::Gone);
                gone || match condition {
                    // Who waits for the next start counts as running, and each end is one to whoever waited before.
                    WaitCondition::NotRunning => {
                        let up = matches!(now.phase, Phase::Starting | Phase::Restarting);
                        now.exits > exits_before || !(up || now.phase.is_running())
                    }
                    WaitCondition::NextExit => now.exits > exits_before,
                    WaitCondition::Removed => matches!(now.phase, Phase::Dead(_)),
                }
            };
            let now = match published.wait_for(reached).await {
                Ok(now) => now.clone(),
                Err(_) => return Err(Error::internal("the daemon is stopping")),
            };
            // A container that could not be started is the business of whoever started it, as with Docker.
            let error = match &now.phase {
                Phase::Dead(error) if condition == WaitCondition::Removed => Some(error.clone()),
                _ => None,
            };
            Ok(Waited { code: i64::from(now.record.last.code), error })
        })
    }
}
