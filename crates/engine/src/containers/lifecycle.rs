//! Start, stop, restart, kill, pause, rename, remove, resize.

use super::view::ContainerView;
use super::{RemoveOptions, Resize};
use crate::Engine;
use container::{KillRequest, RemoveRequest, StopRequest, signals};
use stdx::{Error, Kind, Result};
use task::protocol::Session;

impl Engine {
    /// Runs a container. [`Kind::NotModified`] when it runs already.
    pub async fn start_container(&self, name: &str) -> Result<()> {
        self.inner.containers.find(name)?.start().await
    }

    /// Ends a container: its stop signal, then SIGKILL after `timeout` seconds (negative: never). Waits for the end.
    pub async fn stop_container(
        &self,
        name: &str,
        signal: Option<String>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        container.stop(stop_request(signal, timeout)?).await
    }

    /// Ends a container if it runs, and runs it.
    pub async fn restart_container(
        &self,
        name: &str,
        signal: Option<String>,
        timeout: Option<i64>,
    ) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        container
            .restart(stop_request(signal, timeout)?)
            .await
            .map_err(|e| Error::new(e.kind(), format!("Cannot restart container {name}: {e}")))
    }

    /// Sends a signal, SIGKILL when none is named.
    pub async fn kill_container(&self, name: &str, signal: Option<String>) -> Result<()> {
        let worded = |e: Error| {
            let own = e.message().starts_with("cannot kill");
            if own {
                e
            } else {
                Error::new(e.kind(), format!("cannot kill container: {name}: {}", e.message()))
            }
        };
        let signal = signal
            .filter(|s| !s.is_empty())
            .map_or(Ok(signals::KILL), |s| signals::parse(&s))
            .map_err(worded)?;
        let container = self.inner.containers.find(name).map_err(worded)?;
        container.kill(KillRequest { signal }).await
    }

    /// Freezes a container.
    pub async fn pause_container(&self, name: &str) -> Result<()> {
        self.inner.containers.find(name)?.pause().await
    }

    /// Thaws a container.
    pub async fn unpause_container(&self, name: &str) -> Result<()> {
        self.inner.containers.find(name)?.unpause().await
    }

    /// Gives a container another name.
    pub async fn rename_container(&self, name: &str, new: &str) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        if new.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let new: types::ContainerName = new.strip_prefix('/').unwrap_or(new).parse().map_err(
            |e: types::InvalidContainerName| {
                Error::invalid(format!(
                    "Error when allocating new name: {}",
                    e.to_string().replacen('(', "(/", 1)
                ))
            },
        )?;
        let record = container.now().record;
        if record.name == new.as_str() {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        self.inner.containers.reserve(new.as_str(), &record.id).map_err(|e| {
            Error::new(e.kind(), format!("Error when allocating new name: {}", e.message()))
        })?;
        let renamed = container.rename(new.as_str().to_owned()).await;
        // The name that is not in use now is given back. Which one it was before, only the driver knows: somebody else
        // may have given it a name meanwhile.
        let free = renamed.as_ref().map_or(new.as_str(), String::as_str);
        self.inner.containers.release(free, &record.id);
        renamed.map(drop)
    }

    /// Removes a container.
    pub async fn remove_container(&self, name: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return self.remove_link(name).await;
        }
        let container = self.inner.containers.find(name)?;
        container.remove(RemoveRequest { force: options.force, volumes: options.volumes }).await
    }

    /// Changes limits and the restart policy.
    pub async fn update_container(&self, name: &str, update: container::Update) -> Result<()> {
        self.inner.containers.find(name)?.update(update).await
    }

    /// Sets the size of a container's terminal.
    pub async fn resize_container(&self, name: &str, size: Resize) -> Result<()> {
        self.inner.containers.find(name)?.resize(Session::Container, size.into()).await
    }

    /// Removes every container that does not run, unless `keep` wants it. The ids, and the bytes that came free.
    pub async fn prune_containers(
        &self,
        keep: impl Fn(&ContainerView) -> bool,
    ) -> Result<(Vec<String>, u64)> {
        let mut removed = Vec::new();
        let mut bytes = 0;
        let all: Vec<ContainerView> = self.list_containers().collect();
        for view in all {
            let stopped = matches!(
                view.state.status,
                super::view::Status::Created | super::view::Status::Exited
            );
            if !stopped || keep(&view) {
                continue;
            }
            let id = view.record.id.clone();
            let size = self.container_size(&id).map_or(0, |s| u64::try_from(s.rw).unwrap_or(0));
            match self.remove_container(&id, RemoveOptions::default()).await {
                Ok(()) => {
                    removed.push(id);
                    bytes += size;
                }
                // Started or removed by somebody else meanwhile.
                Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        let reclaimed = [("reclaimed".to_owned(), bytes.to_string())].into();
        self.inner.events.publish("container", "prune", "", reclaimed);
        Ok((removed, bytes))
    }
}

fn stop_request(signal: Option<String>, timeout: Option<i64>) -> Result<StopRequest> {
    let signal = signal.filter(|s| !s.is_empty()).map(|s| signals::parse(&s)).transpose()?;
    Ok(StopRequest { signal, timeout })
}
