//! Networks.

use crate::client::Client;
use crate::error::Result;
use crate::system::Filters;
use crate::url::Target;
use api::{
    Network, NetworkConnectBody, NetworkCreateBody, NetworkCreateResponse, NetworkDisconnectBody,
    NetworkExplanation, NetworkPruneReport,
};
use bytes::Bytes;
use http::Method;

impl Client {
    /// `POST /networks/create`
    pub async fn create_network(&self, body: &NetworkCreateBody) -> Result<NetworkCreateResponse> {
        self.post_json(Target::path("/networks/create"), body, "network").await
    }

    /// `GET /networks`
    pub async fn list_networks(&self, filters: &Filters) -> Result<Vec<Network>> {
        let target = Target::path("/networks").query_if("filters", &filters.to_json());
        self.get(target, "network list").await
    }

    /// `GET /networks/{name}` as the daemon wrote it.
    pub async fn inspect_network_raw(&self, name: &str, verbose: bool) -> Result<Bytes> {
        let target = Target::new("/networks/", name, "");
        let target = if verbose { target.query("verbose", "true") } else { target };
        let answer = self.send(Method::GET, &target, None, &[]).await?;
        self.bytes(answer, "network").await
    }

    /// `GET /gantry/networks/explain`; `kind`: `port` or `container`.
    pub async fn explain_network(&self, kind: &str, asked: &str) -> Result<NetworkExplanation> {
        let target = Target::path("/gantry/networks/explain").query(kind, asked);
        self.get(target, "network explanation").await
    }

    /// `DELETE /networks/{name}`
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        self.command(Method::DELETE, Target::new("/networks/", name, "")).await
    }

    /// `POST /networks/{name}/connect`
    pub async fn connect_network(&self, name: &str, body: &NetworkConnectBody) -> Result<()> {
        self.tell(Target::new("/networks/", name, "/connect"), body).await
    }

    /// `POST /networks/{name}/disconnect`
    pub async fn disconnect_network(&self, name: &str, body: &NetworkDisconnectBody) -> Result<()> {
        self.tell(Target::new("/networks/", name, "/disconnect"), body).await
    }

    /// `POST /networks/prune`
    pub async fn prune_networks(&self, filters: &Filters) -> Result<NetworkPruneReport> {
        let target = Target::path("/networks/prune").query_if("filters", &filters.to_json());
        let answer = self.send(Method::POST, &target, Some(Bytes::new()), &[]).await?;
        self.json(answer, "prune").await
    }
}
