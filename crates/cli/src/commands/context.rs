//! `context`: daemons by name.

mod archive;
pub(super) mod change;
pub(super) mod show;

use crate::app::App;
use crate::contexts::{DEFAULT, Endpoint, Meta, TlsFiles};
use crate::exit::{Failure, Result};
use crate::host;

pub(super) use archive::{EXPORT, IMPORT};
pub(super) use change::{CREATE, RM, UPDATE, USE};
pub(super) use show::{INSPECT, LS, SHOW};

const DEFAULT_DESCRIPTION: &str = "Current DOCKER_HOST based configuration";

/// A context with its files of TLS. The default one is made of what flags and environment say.
fn read(app: &App, name: &str) -> Result<(Meta, TlsFiles)> {
    let store = app.contexts();
    if name != DEFAULT {
        return Ok((store.read(name)?, store.tls_files(name)));
    }
    let tls = app.asked.tls.clone().unwrap_or_default();
    let endpoint = Endpoint {
        host: host::default_host(&app.asked, &app.env),
        skip_verify: app.asked.tls.is_some() && tls.skip_verify,
    };
    let (cert, key) = tls.identity.unzip();
    let files = [("ca.pem", tls.ca), ("cert.pem", cert), ("key.pem", key)];
    let read = |(name, path): (&str, Option<std::path::PathBuf>)| {
        Some((name.to_owned(), std::fs::read(path?).ok()?))
    };
    Ok((Meta::new(DEFAULT, "", &endpoint), files.into_iter().filter_map(read).collect()))
}

/// A file as Go would tell that it cannot be read.
fn read_file(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        Failure::new(match e.kind() {
            std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
            _ => format!("open {path}: {e}"),
        })
    })
}
