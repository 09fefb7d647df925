//! The files of containers.

use crate::client::Client;
use crate::connection::{ByteStream, streamed};
use crate::error::{Error, Result};
use crate::lines::JsonLines;
use crate::url::Target;
use api::{ChangeItem, IdResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;

/// What is at a path of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathStat {
    /// Its last name.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`.
    pub mode: u32,
    /// Where a link leads in the end.
    pub link_target: String,
}

impl PathStat {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & 1 << 31 != 0
    }

    /// Whether it is a link.
    pub fn is_link(&self) -> bool {
        self.mode & 1 << 27 != 0
    }

    /// Whether it is a device.
    pub fn is_device(&self) -> bool {
        self.mode & 1 << 26 != 0
    }
}

/// What to commit, and as what.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Repository; empty: no name.
    pub repository: String,
    /// Tag.
    pub tag: String,
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}

impl Client {
    /// `HEAD /containers/{id}/archive`
    pub async fn stat_path(&self, id: &str, path: &str) -> Result<PathStat> {
        let target = Target::new("/containers/", id, "/archive").query("path", path);
        let answer = self.send(Method::HEAD, &target, None, &[]).await?;
        let stat = path_stat(answer.response.headers());
        self.bytes(answer, "path").await?;
        stat
    }

    /// `GET /containers/{id}/archive`
    pub async fn read_archive(&self, id: &str, path: &str) -> Result<(PathStat, JsonLines)> {
        let target = Target::new("/containers/", id, "/archive").query("path", path);
        let answer = self.send(Method::GET, &target, None, &[]).await?;
        let stat = path_stat(answer.response.headers())?;
        Ok((stat, Self::lines(answer)))
    }

    /// `PUT /containers/{id}/archive`
    pub async fn write_archive(
        &self,
        id: &str,
        path: &str,
        to_user: bool,
        archive: ByteStream,
    ) -> Result<()> {
        let target = Target::new("/containers/", id, "/archive")
            .query("path", path)
            .query("noOverwriteDirNonDir", "true")
            .flag("copyUIDGID", to_user);
        let body = streamed(archive);
        let answer = self.upload(&Method::PUT, &target, body, "application/x-tar").await?;
        self.bytes(answer, "answer").await.map(|_| ())
    }

    /// `GET /containers/{id}/export`
    pub async fn export_container(&self, id: &str) -> Result<JsonLines> {
        let target = Target::new("/containers/", id, "/export");
        Ok(Self::lines(self.send(Method::GET, &target, None, &[]).await?))
    }

    /// `GET /containers/{id}/changes`
    pub async fn container_changes(&self, id: &str) -> Result<Vec<ChangeItem>> {
        let target = Target::new("/containers/", id, "/changes");
        let changes: Option<Vec<ChangeItem>> = self.get(target, "changes").await?;
        Ok(changes.unwrap_or_default())
    }

    /// `POST /commit`; the new image's id.
    pub async fn commit_container(&self, id: &str, options: &CommitOptions) -> Result<String> {
        let mut target = Target::path("/commit")
            .query_if("author", &options.author)
            .query_if("comment", &options.comment)
            .query("container", id)
            .query_if("repo", &options.repository)
            .query_if("tag", &options.tag);
        for change in &options.changes {
            target = target.query("changes", change);
        }
        if !options.pause {
            target = target.query("pause", "0");
        }
        let body = Some(Bytes::from_static(b"null"));
        let answer = self.send(Method::POST, &target, body, &[]).await?;
        let response: IdResponse = self.json(answer, "commit").await?;
        Ok(response.id)
    }
}

fn path_stat(headers: &HeaderMap) -> Result<PathStat> {
    let wrong = |message: &str| Error::Answer {
        what: "unable to decode container path stat header",
        message: message.to_owned(),
    };
    let text = headers.get("x-docker-container-path-stat").ok_or_else(|| wrong("it is missing"))?;
    let json = STANDARD.decode(text.as_bytes()).map_err(|e| wrong(&e.to_string()))?;
    api::json::from_slice(&json).map_err(|e| wrong(&e.to_string()))
}
