//! Its legacy links: others' addresses change, and a link is taken away.

use super::Driver;
use crate::services::Save;
use crate::state::Phase;
use crate::{files, links};
use std::sync::Arc;
use std::time::Duration;
use stdx::{Error, Result, fail_point};

/// How long Docker waits for those that a container is linked to.
const PATIENCE: Duration = Duration::from_secs(5);

impl Driver {
    /// Policies start many at once, as after the machine went down: those that it is linked to come first, if they come.
    pub(super) async fn wait_for_links(&self) {
        let come = async {
            for link in &self.now.record.links {
                let Some(peer) = self.services.world.follow(&link.container) else { continue };
                peer.recovered().await;
                let comes = |phase: &Phase| matches!(phase, Phase::Restarting | Phase::Starting);
                let mut news = peer.follow();
                // One that is removed meanwhile does not come.
                let _gone = news.wait_for(|now| !comes(&now.phase)).await.is_err();
            }
        };
        // Without them the start says what it lacks.
        let _late = tokio::time::timeout(PATIENCE, come).await;
    }

    /// Others have come back with other addresses. What the container itself wrote into its hosts file stays there.
    pub(super) async fn refresh_links(&mut self) {
        if self.now.phase.live().is_none() {
            return;
        }
        let (services, record) = (Arc::clone(&self.services), Arc::clone(&self.now.record));
        let work = move || {
            services.world.link(None)?;
            let lines = links::lines(&links::reachable(services.world.as_ref(), &record));
            files::update_links(&files::paths(&services.paths, &record.id), &lines)
        };
        let done = tokio::task::spawn_blocking(work).await;
        if let Err(e) = done.map_err(|e| Error::internal(e.to_string())).flatten() {
            tracing::warn!(container = %self.now.record.id, "addresses of linked containers: {e}");
        }
    }

    /// Takes a link away; from its hosts file at once when it runs.
    pub(super) async fn unlink(&mut self, alias: &str) -> Result<()> {
        let before = Arc::clone(&self.now.record);
        self.change(|record| record.links.retain(|link| link.alias != alias));
        fail_point!("container.unlink.before-record");
        if let Err(e) = self.services.world.save(&self.now.record, Save::Now) {
            self.now.record = before;
            return Err(e);
        }
        // A crash here leaves the line in the hosts file until the next start of the container.
        fail_point!("container.unlink.after-record");
        self.publish();
        if self.now.phase.live().is_none() {
            return Ok(());
        }
        let (services, record) = (Arc::clone(&self.services), Arc::clone(&self.now.record));
        let endpoints = self.now.endpoints.clone();
        let work = move || {
            services.world.link(None)?;
            let lines = links::lines(&links::reachable(services.world.as_ref(), &record));
            let own = files::paths(&services.paths, &record.id);
            files::write_hosts(&own, &record, &endpoints, &services.network.host_gateways(), &lines)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
    }
}
