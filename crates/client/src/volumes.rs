//! Volumes.

use crate::client::Client;
use crate::error::Result;
use crate::system::Filters;
use crate::url::Target;
use api::{Volume, VolumeCreateBody, VolumeList, VolumePruneReport};
use bytes::Bytes;
use http::Method;

impl Client {
    /// `POST /volumes/create`
    pub async fn create_volume(&self, body: &VolumeCreateBody) -> Result<Volume> {
        self.post_json(Target::path("/volumes/create"), body, "volume").await
    }

    /// `GET /volumes`
    pub async fn list_volumes(&self, filters: &Filters) -> Result<VolumeList> {
        let target = Target::path("/volumes").query_if("filters", &filters.to_json());
        self.get(target, "volume list").await
    }

    /// `GET /volumes/{name}` as the daemon wrote it.
    pub async fn inspect_volume_raw(&self, name: &str) -> Result<Bytes> {
        let answer = self.send(Method::GET, &Target::new("/volumes/", name, ""), None, &[]).await?;
        self.bytes(answer, "volume").await
    }

    /// `DELETE /volumes/{name}`
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let target = Target::new("/volumes/", name, "").flag("force", force);
        self.command(Method::DELETE, target).await
    }

    /// `POST /volumes/prune`
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumePruneReport> {
        let target = Target::path("/volumes/prune").query_if("filters", &filters.to_json());
        let answer = self.send(Method::POST, &target, Some(Bytes::new()), &[]).await?;
        self.json(answer, "prune").await
    }
}
