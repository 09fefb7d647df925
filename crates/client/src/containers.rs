//! Containers.

use crate::client::Client;
use crate::error::Result;
use crate::hijack::Hijacked;
use crate::lines::JsonLines;
use crate::system::Filters;
use crate::url::Target;
use api::stats::Stats;
use api::{
    ContainerCreateBody, ContainerCreateResponse, ContainerInspect, ContainerPruneReport,
    ContainerSummary, ContainerUpdateBody, ContainerUpdateResponse, Top, WaitResponse,
};
use bytes::Bytes;
use http::Method;
use serde::de::IgnoredAny;

/// Which containers to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// The newest so many.
    pub limit: Option<i64>,
    /// With their sizes on disk, which costs.
    pub size: bool,
    /// Only those that match.
    pub filters: Filters,
}

/// What to attach to.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
    /// What was written before.
    pub logs: bool,
    /// The keys that detach; empty for the daemon's default.
    pub detach_keys: String,
}

/// Which lines of a log.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// Go on with new lines.
    pub follow: bool,
    /// With time stamps.
    pub timestamps: bool,
    /// With the attributes of the log driver's options.
    pub details: bool,
    /// Since a moment, in Docker's forms.
    pub since: String,
    /// Until a moment.
    pub until: String,
    /// The last so many lines, or `all`.
    pub tail: String,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once if it does not.
    NotRunning,
    /// Its next exit, even if it has not been started.
    NextExit,
    /// That it is gone.
    Removed,
}

impl WaitCondition {
    fn as_str(self) -> &'static str {
        match self {
            // The default.
            Self::NotRunning => "",
            Self::NextExit => "next-exit",
            Self::Removed => "removed",
        }
    }
}

impl Client {
    /// `POST /containers/create`
    pub async fn create_container(
        &self,
        name: &str,
        platform: &str,
        body: &ContainerCreateBody,
    ) -> Result<ContainerCreateResponse> {
        let target = Target::path("/containers/create")
            .query_if("name", name)
            .query_if("platform", platform);
        self.post_json(target, body, "create").await
    }

    /// `POST /containers/{id}/start`
    pub async fn start_container(&self, id: &str, detach_keys: &str) -> Result<()> {
        let target = Target::new("/containers/", id, "/start").query_if("detachKeys", detach_keys);
        self.command(Method::POST, target).await
    }

    /// `POST /containers/{id}/attach`, hijacked.
    pub async fn attach_container(&self, id: &str, options: &AttachOptions) -> Result<Hijacked> {
        let target = Target::new("/containers/", id, "/attach")
            .query_if("detachKeys", &options.detach_keys)
            .flag("logs", options.logs)
            .flag("stderr", options.stderr)
            .flag("stdin", options.stdin)
            .flag("stdout", options.stdout)
            .query("stream", "1");
        self.hijack(target, None).await
    }

    /// Begins to wait: once this returns, the daemon is watching, and no exit is missed.
    pub async fn begin_wait(&self, id: &str, condition: WaitCondition) -> Result<Waiting<'_>> {
        let target =
            Target::new("/containers/", id, "/wait").query_if("condition", condition.as_str());
        let answer = self.send(Method::POST, &target, Some(Bytes::new()), &[]).await?;
        Ok(Waiting { client: self, answer })
    }

    /// `POST /containers/{id}/wait` to its end.
    pub async fn wait_container(&self, id: &str, condition: WaitCondition) -> Result<WaitResponse> {
        self.begin_wait(id, condition).await?.finish().await
    }

    /// `POST /containers/{id}/stop`
    pub async fn stop_container(&self, id: &str, signal: &str, timeout: Option<i64>) -> Result<()> {
        let target = Target::new("/containers/", id, "/stop").query_if("signal", signal);
        self.command(Method::POST, with_timeout(target, timeout)).await
    }

    /// `POST /containers/{id}/restart`
    pub async fn restart_container(
        &self,
        id: &str,
        signal: &str,
        timeout: Option<i64>,
    ) -> Result<()> {
        let target = Target::new("/containers/", id, "/restart").query_if("signal", signal);
        self.command(Method::POST, with_timeout(target, timeout)).await
    }

    /// `POST /containers/{id}/kill`
    pub async fn kill_container(&self, id: &str, signal: &str) -> Result<()> {
        self.command(
            Method::POST,
            Target::new("/containers/", id, "/kill").query_if("signal", signal),
        )
        .await
    }

    /// `POST /containers/{id}/pause`
    pub async fn pause_container(&self, id: &str) -> Result<()> {
        self.command(Method::POST, Target::new("/containers/", id, "/pause")).await
    }

    /// `POST /containers/{id}/unpause`
    pub async fn unpause_container(&self, id: &str) -> Result<()> {
        self.command(Method::POST, Target::new("/containers/", id, "/unpause")).await
    }

    /// `POST /containers/{id}/rename`
    pub async fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        self.command(Method::POST, Target::new("/containers/", id, "/rename").query("name", name))
            .await
    }

    /// `DELETE /containers/{id}`
    pub async fn remove_container(
        &self,
        id: &str,
        volumes: bool,
        force: bool,
        link: bool,
    ) -> Result<()> {
        let target = Target::new("/containers/", id, "")
            .flag("force", force)
            .flag("link", link)
            .flag("v", volumes);
        self.command(Method::DELETE, target).await
    }

    /// `POST /containers/{id}/resize`
    pub async fn resize_container(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let target = Target::new("/containers/", id, "/resize");
        self.command(Method::POST, with_size(target, rows, columns)).await
    }

    /// `GET /containers/json`
    pub async fn list_containers(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>> {
        self.get(list(options), "container list").await
    }

    /// `GET /containers/json`, one container after the other, without what is known of their connections to networks.
    pub async fn each_container(
        &self,
        options: &ListOptions,
        container: impl FnMut(ContainerSummary<IgnoredAny>),
    ) -> Result<()> {
        self.get_each(list(options), "container list", container).await
    }

    /// `GET /containers/{id}/json`
    pub async fn inspect_container(&self, id: &str) -> Result<ContainerInspect> {
        self.get(Target::new("/containers/", id, "/json"), "container").await
    }

    /// `GET /containers/{id}/json` as the daemon wrote it.
    pub async fn inspect_container_raw(&self, id: &str, size: bool) -> Result<Bytes> {
        let target = Target::new("/containers/", id, "/json").flag("size", size);
        let answer = self.send(Method::GET, &target, None, &[]).await?;
        self.bytes(answer, "container").await
    }

    /// `GET /containers/{id}/logs`: raw bytes, framed unless the container has a terminal.
    pub async fn container_logs(&self, id: &str, options: &LogsOptions) -> Result<JsonLines> {
        let target = Target::new("/containers/", id, "/logs")
            .flag("details", options.details)
            .flag("follow", options.follow)
            .query_if("since", &options.since)
            .query("stderr", "1")
            .query("stdout", "1")
            .query_if("tail", &options.tail)
            .flag("timestamps", options.timestamps)
            .query_if("until", &options.until);
        Ok(Self::lines(self.send(Method::GET, &target, None, &[]).await?))
    }

    /// `GET /containers/{id}/top`
    pub async fn top_container(&self, id: &str, arguments: &[String]) -> Result<Top> {
        let target =
            Target::new("/containers/", id, "/top").query_if("ps_args", &arguments.join(" "));
        self.get(target, "top").await
    }

    /// `POST /containers/{id}/update`
    pub async fn update_container(
        &self,
        id: &str,
        body: &ContainerUpdateBody,
    ) -> Result<ContainerUpdateResponse> {
        self.post_json(Target::new("/containers/", id, "/update"), body, "update").await
    }

    /// `GET /containers/{id}/stats`, once.
    pub async fn container_stats(&self, id: &str) -> Result<Stats> {
        self.get(Target::new("/containers/", id, "/stats").query("stream", "0"), "stats").await
    }

    /// `GET /containers/{id}/stats`, every second.
    pub async fn follow_stats(&self, id: &str) -> Result<JsonLines> {
        let target = Target::new("/containers/", id, "/stats").query("stream", "1");
        Ok(Self::lines(self.send(Method::GET, &target, None, &[]).await?))
    }

    /// `POST /containers/prune`
    pub async fn prune_containers(&self, filters: &Filters) -> Result<ContainerPruneReport> {
        let target = Target::path("/containers/prune").query_if("filters", &filters.to_json());
        let answer = self.send(Method::POST, &target, Some(Bytes::new()), &[]).await?;
        self.json(answer, "prune").await
    }
}

/// A wait that the daemon has taken up.
#[derive(Debug)]
pub struct Waiting<'a> {
    client: &'a Client,
    answer: crate::client::Answer,
}

impl Waiting<'_> {
    /// How it ended.
    pub async fn finish(self) -> Result<WaitResponse> {
        self.client.json(self.answer, "wait").await
    }
}

fn with_timeout(target: Target, timeout: Option<i64>) -> Target {
    match timeout {
        Some(seconds) => target.query("t", &seconds.to_string()),
        None => target,
    }
}

fn list(options: &ListOptions) -> Target {
    let limit = options.limit.map(|n| n.to_string()).unwrap_or_default();
    Target::path("/containers/json")
        .flag("all", options.all)
        .query_if("filters", &options.filters.to_json())
        .query_if("limit", &limit)
        .flag("size", options.size)
}

pub(crate) fn with_size(target: Target, rows: u16, columns: u16) -> Target {
    target.query("h", &rows.to_string()).query("w", &columns.to_string())
}
