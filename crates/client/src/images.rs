//! Images.

use crate::client::Client;
use crate::connection::{ByteStream, streamed};
use crate::error::Result;
use crate::lines::JsonLines;
use crate::system::Filters;
use crate::url::Target;
use api::{HistoryItem, ImageDelete, ImageSummary};
use bytes::Bytes;
use http::{HeaderName, Method};

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Repository with its registry.
    pub name: String,
    /// Tag or digest.
    pub tag: String,
    /// `os/arch[/variant]`, empty for the daemon's own.
    pub platform: String,
    /// Value of the header `X-Registry-Auth`; empty for none.
    pub auth: String,
}

impl Client {
    /// `POST /images/create`: a progress stream.
    pub async fn pull_image(&self, options: &PullOptions) -> Result<JsonLines> {
        let target = Target::path("/images/create")
            .query("fromImage", &options.name)
            .query_if("platform", &options.platform)
            .query_if("tag", &options.tag);
        let auth = [(HeaderName::from_static("x-registry-auth"), options.auth.as_str())];
        let headers = if options.auth.is_empty() { &[][..] } else { &auth[..] };
        Ok(Self::lines(self.send(Method::POST, &target, Some(Bytes::new()), headers).await?))
    }

    /// `GET /images/json`
    pub async fn list_images(&self, all: bool, filters: &Filters) -> Result<Vec<ImageSummary>> {
        let target =
            Target::path("/images/json").flag("all", all).query_if("filters", &filters.to_json());
        self.get(target, "image list").await
    }

    /// `GET /images/{name}/json` as the daemon wrote it.
    pub async fn inspect_image_raw(&self, name: &str) -> Result<Bytes> {
        let answer =
            self.send(Method::GET, &Target::new("/images/", name, "/json"), None, &[]).await?;
        self.bytes(answer, "image").await
    }

    /// `GET /images/{name}/history`
    pub async fn image_history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        self.get(Target::new("/images/", name, "/history"), "history").await
    }

    /// `POST /images/{name}/tag`
    pub async fn tag_image(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let target =
            Target::new("/images/", name, "/tag").query("repo", repository).query_if("tag", tag);
        self.command(Method::POST, target).await
    }

    /// `DELETE /images/{name}`
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        prune: bool,
    ) -> Result<Vec<ImageDelete>> {
        let target = Target::new("/images/", name, "").flag("force", force).flag("noprune", !prune);
        let answer = self.send(Method::DELETE, &target, None, &[]).await?;
        self.json(answer, "removed images").await
    }

    /// `POST /images/prune`
    pub async fn prune_images(&self, filters: &Filters) -> Result<api::ImagePruneReport> {
        let target = Target::path("/images/prune").query_if("filters", &filters.to_json());
        let answer = self.send(Method::POST, &target, Some(Bytes::new()), &[]).await?;
        self.json(answer, "prune").await
    }

    /// `POST /images/load`: uploads `archive`, then tells its progress.
    pub async fn load_images(&self, archive: ByteStream, quiet: bool) -> Result<JsonLines> {
        let target = Target::path("/images/load").query("quiet", if quiet { "1" } else { "0" });
        Ok(Self::lines(
            self.upload(&Method::POST, &target, streamed(archive), "application/x-tar").await?,
        ))
    }
}
