//! Further processes in running containers.

use crate::client::Client;
use crate::containers::with_size;
use crate::error::{Error, Result};
use crate::hijack::Hijacked;
use crate::url::Target;
use api::{ExecCreateBody, ExecInspect, ExecStartBody, IdResponse};
use bytes::Bytes;
use http::Method;

impl Client {
    /// `POST /containers/{id}/exec`
    pub async fn create_exec(&self, container: &str, body: &ExecCreateBody) -> Result<IdResponse> {
        self.post_json(Target::new("/containers/", container, "/exec"), body, "exec").await
    }

    /// `POST /exec/{id}/start`, detached.
    pub async fn start_exec(&self, id: &str, body: &ExecStartBody) -> Result<()> {
        let target = Target::new("/exec/", id, "/start");
        let answer = self.send(Method::POST, &target, Some(encode(body)?), &[]).await?;
        self.bytes(answer, "exec").await.map(|_| ())
    }

    /// `POST /exec/{id}/start`, hijacked.
    pub async fn attach_exec(&self, id: &str, body: &ExecStartBody) -> Result<Hijacked> {
        self.hijack(Target::new("/exec/", id, "/start"), Some(encode(body)?)).await
    }

    /// `POST /exec/{id}/resize`
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        self.command(Method::POST, with_size(Target::new("/exec/", id, "/resize"), rows, columns))
            .await
    }

    /// `GET /exec/{id}/json`
    pub async fn inspect_exec(&self, id: &str) -> Result<ExecInspect> {
        self.get(Target::new("/exec/", id, "/json"), "exec").await
    }
}

fn encode(body: &ExecStartBody) -> Result<Bytes> {
    let encoded = serde_json::to_vec(body)
        .map_err(|e| Error::Answer { what: "request", message: e.to_string() });
    encoded.map(Bytes::from)
}
