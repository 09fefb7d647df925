//! The files of a container: `archive`, `export`, `changes`, `commit`.

use super::Daemon;
use super::images::reading;
use crate::convert;
use crate::edge::conn::Outcome;
use crate::reply;
use crate::router::{Call, invalid_json};
use api::{ChangeItem, ContainerConfig, IdResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{ArchiveStream, ChangeKind, CommitContainer, ExtractOptions, PathStat};
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode};
use std::io;
use stdx::{Error, Result};

const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

/// `HEAD /containers/{id}/archive`
pub(crate) async fn stat(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let stat = daemon.engine.stat_in_container(&call.name, call.query.text("path")).await?;
    let mut outcome = reply::empty(StatusCode::OK);
    tell(&mut outcome, &stat)?;
    Ok(outcome)
}

/// `GET /containers/{id}/archive`
pub(crate) async fn read(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let path = call.query.text("path");
    let (stat, archive) = daemon.engine.archive_of_container(&call.name, path).await?;
    let mut outcome = sending("application/x-tar", archive).await?;
    tell(&mut outcome, &stat)?;
    Ok(outcome)
}

/// `PUT /containers/{id}/archive`
pub(crate) async fn write(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let path = call.query.text("path").to_owned();
    let options = ExtractOptions {
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        to_user: call.query.flag("copyUIDGID"),
    };
    let (archive, taking) = reading(call.body);
    let done =
        daemon.engine.extract_to_container(&call.name, &path, options, Box::new(archive)).await;
    let _all_taken = taking.await;
    done?;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /containers/{id}/export`
pub(crate) async fn export(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let archive = daemon.engine.export_container(&call.name).await?;
    sending("application/octet-stream", archive).await
}

/// `GET /containers/{id}/changes`
pub(crate) async fn changes(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let changes = daemon.engine.container_changes(&call.name).await?;
    let items: Vec<ChangeItem> = changes
        .into_iter()
        .map(|change| ChangeItem {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    // None at all is `null`, as from Docker.
    reply::ok(&Some(items).filter(|items| !items.is_empty()))
}

/// `POST /commit`
pub(crate) async fn commit(daemon: &Daemon, call: Call) -> Result<Outcome> {
    let query = call.query.clone();
    // Some clients send no body, and no type for it.
    let typed = call.headers.contains_key(http::header::CONTENT_TYPE);
    let config = match if typed { call.json_text().await? } else { None } {
        Some(text) => {
            api::json::from_slice::<Option<ContainerConfig>>(&text).map_err(|e| invalid_json(&e))?
        }
        None => None,
    };
    let commit = CommitContainer {
        container: query.text("container").to_owned(),
        repository: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        author: query.text("author").to_owned(),
        comment: query.text("comment").to_owned(),
        pause: query.flag_or_true("pause"),
        changes: query.texts("changes").map(str::to_owned).collect(),
        config: config
            .filter(|config| *config != ContainerConfig::default())
            .map(convert::create::to_engine),
    };
    let id = daemon.engine.commit_container(commit).await?;
    reply::json(StatusCode::CREATED, &IdResponse { id })
}

/// An archive as it comes. What fails before its first piece is an answer of its own; later it cuts the connection, so
/// that nobody takes half an archive for a whole one.
async fn sending(kind: &'static str, mut archive: ArchiveStream) -> Result<Outcome> {
    let first = archive.next().await.transpose()?;
    let pieces = stream::unfold((first, archive), |(mut first, mut archive)| async move {
        let piece = match first.take() {
            Some(piece) => Ok(piece),
            None => archive.next().await?,
        };
        if let Err(error) = &piece {
            tracing::warn!(%error, "an archive ends early");
        }
        let piece = piece.map(Bytes::from).map_err(|e| io::Error::other(e.to_string()));
        Some((piece, (None, archive)))
    });
    Ok(reply::stream(kind, pieces))
}

fn tell(outcome: &mut Outcome, stat: &PathStat) -> Result<()> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        name: &'a str,
        size: i64,
        mode: u32,
        mtime: String,
        link_target: &'a str,
    }
    let wire = Wire {
        name: &stat.name,
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: stat.modified.to_string(),
        link_target: &stat.link_target,
    };
    let text = serde_json::to_vec(&wire)
        .map_err(|e| Error::internal("write what is at a path").caused_by(e))?;
    if let Outcome::Respond(response) = outcome {
        let value = HeaderValue::from_str(&STANDARD.encode(text))
            .map_err(|e| Error::internal("write what is at a path").caused_by(e))?;
        response.headers_mut().insert(PATH_STAT, value);
    }
    Ok(())
}

/// `st_mode` as Go's `os.FileMode` has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        0o020_000 => 1 << 26 | 1 << 21,
        _ => 0,
    };
    let bit = |unix: u32, go: u32| if mode & unix == 0 { 0 } else { 1 << go };
    mode & 0o777 | kind | bit(0o4000, 23) | bit(0o2000, 22) | bit(0o1000, 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        // From the reference's own answers.
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o104_755), 8_389_101);
        assert_eq!(go_mode(0o020_644), 69_206_436);
        assert_eq!(go_mode(0o010_644), 33_554_852);
    }
}
