//! Rotated files → compressed ones, while a shim may be rotating on.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use stdx::{Context as _, Result, fail_point};

use super::{Name, compressed, lock_names, names, present, with_suffix};

/// Compresses the rotated files of the log at `path` for which `wanted` holds, oldest first; says how many there were.
///
/// One thread of one daemon does this for a log. A daemon that dies meanwhile leaves a temporary file, which the next
/// call overwrites, or both forms of a file, of which the plain one is read and compressed again.
pub fn compress(path: &Path, wanted: impl Fn(&Metadata) -> bool) -> Result<usize> {
    let mut plain: Vec<Name> = names(path).filter(|n| n.index > 0 && !n.compressed).collect();
    plain.reverse();
    let mut count = 0;
    for name in plain {
        let doing = || format!("compress {}", name.path.display());
        count += usize::from(one(path, &name, &wanted).context(doing)?);
    }
    Ok(count)
}

fn one(path: &Path, name: &Name, wanted: &impl Fn(&Metadata) -> bool) -> Result<bool> {
    let mut source = match super::source::open(&name.path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let ours = source.metadata()?;
    if !wanted(&ours) {
        return Ok(false);
    }
    let temporary = with_suffix(path, ".gz.tmp");
    let result = write(&mut source, &temporary)
        .map_err(stdx::Error::from)
        .and_then(|()| replace(path, &ours, &temporary));
    if !matches!(result, Ok(true)) {
        present(std::fs::remove_file(&temporary))?;
    }
    result
}

fn write(source: &mut File, temporary: &Path) -> io::Result<()> {
    present(std::fs::remove_file(temporary))?;
    let target = OpenOptions::new().write(true).create_new(true).mode(0o640).open(temporary)?;
    // Logs shrink to a tenth at the fastest level; the others cost the containers' processors more than they give.
    let mut encoder = GzEncoder::new(target, Compression::fast());
    io::copy(source, &mut encoder)?;
    encoder.finish()?;
    Ok(())
}

/// Puts the compressed file where the plain one is by now, if it still is anywhere.
fn replace(path: &Path, ours: &Metadata, temporary: &Path) -> Result<bool> {
    let _lock = lock_names(path, true)?;
    let is_ours = |name: &Name| {
        name.path.symlink_metadata().is_ok_and(|m| m.dev() == ours.dev() && m.ino() == ours.ino())
    };
    let Some(name) = names(path).find(is_ours) else { return Ok(false) };
    std::fs::rename(temporary, compressed(path, name.index))?;
    fail_point!("log.compress.after-rename");
    std::fs::remove_file(&name.path)?;
    Ok(true)
}
