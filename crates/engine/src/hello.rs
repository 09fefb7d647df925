//! The bundled `hello-world` image: a first run needs no network.
//!
//! It is assembled from the `gantry-init` beside the daemon, which greets when it is started as `/hello`. A new image
//! store gets it once; when its user removes it, it stays removed.

use crate::Engine;
use std::path::Path;
use stdx::fs::{Durability, replace};
use stdx::time::Timestamp;
use stdx::{Context as _, Error, Result};

/// The image's name.
const NAME: &str = "hello-world:latest";

/// Bundles the image if this data-root has never had it, or had it from another build of `gantry-init`.
pub(crate) fn bundle(engine: &Engine, init: &Path) -> Result<()> {
    let program = match std::fs::read(init) {
        Ok(program) => program,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            tracing::warn!("{} is missing: there is no hello-world image", init.display());
            return Ok(());
        }
        Err(e) => return Err(e).context(|| format!("read {}", init.display())),
    };
    let mark = engine.settings().data_root.join("hello-world");
    let version = checksum(&program);
    if std::fs::read_to_string(&mark).is_ok_and(|bundled| bundled == version) {
        return Ok(());
    }
    let layer = layer(&program)?;
    let now = Timestamp::now().to_string();
    let config = oci::image::ImageConfig {
        created: Some(now.clone()),
        architecture: types::Platform::host().architecture().to_owned(),
        os: "linux".to_owned(),
        config: oci::image::RunConfig {
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ],
            cmd: Some(vec!["/hello".to_owned()]),
            ..oci::image::RunConfig::default()
        },
        history: vec![oci::image::History {
            created: Some(now),
            created_by: "gantryd: bundled".to_owned(),
            ..oci::image::History::default()
        }],
        ..oci::image::ImageConfig::default()
    };
    engine.inner.images.assemble(NAME, config, &[layer])?;
    replace(&mark, version.as_bytes(), 0o600, Durability::Power)
}

/// One layer with `/hello`.
fn layer(program: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = tar::Writer::new(&mut bytes);
    let mut entry = tar::Entry::new("hello", tar::Kind::File);
    entry.mode = 0o755;
    entry.size = program.len() as u64;
    let broken = |e: tar::Error| Error::internal("assemble the hello-world image").caused_by(e);
    writer.append(&entry, &mut &*program).map_err(broken)?;
    writer.finish().map_err(broken)?;
    Ok(bytes)
}

/// A checksum that tells builds apart (FNV-1a); no secret hangs on it.
fn checksum(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
