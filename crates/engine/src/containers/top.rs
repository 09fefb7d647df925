//! The processes of a container.

use super::view::Top;
use crate::Engine;
use crate::ps::{Plan, Table};
use stdx::{Error, Result};

impl Engine {
    /// The processes of a running container, as `ps` with these options shows them. Read from the host's own `/proc`;
    /// nothing is executed, and nothing of the container is asked.
    pub async fn top_container(&self, name: &str, ps_args: &str) -> Result<Top> {
        let container = self.inner.containers.find(name)?;
        let now = container.now();
        if now.phase.live().is_none() {
            return Err(Error::conflict(format!("container {} is not running", now.record.id)));
        }
        let plan = Plan::new(if ps_args.is_empty() { "-ef" } else { ps_args })?;
        let hierarchies: cgroups::Hierarchies = self.inner.services.hierarchies.parse()?;
        let group = self.inner.services.cgroup_of(&now.record);
        let top = tokio::task::spawn_blocking(move || -> Result<Top> {
            let pids = cgroups::Group::open(&hierarchies, &group)?.pids()?;
            let processes = Table::look(&pids, plan.threads)?.rows(&plan);
            Ok(Top { titles: plan.titles(), processes })
        })
        .await
        .map_err(|e| Error::internal(e.to_string()))??;
        crate::world::tell(&self.inner.events, &container, "top", &[]);
        Ok(top)
    }
}
