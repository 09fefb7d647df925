//! `-v [SOURCE:]DESTINATION[:MODE]`. A source that begins with a slash is a path of the host, any other a volume's name.

use super::mode::Mode;
use super::{bind_point, destination, volume_point};
use stdx::{Error, Result};
use store::records::container::MountPoint;

pub(super) fn parse(text: &str) -> Result<MountPoint> {
    let invalid =
        |why: String| Error::invalid(format!("invalid volume specification: '{text}'{why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, Mode::parse(mode).map(|_| mode)?),
        _ => return Err(invalid(String::new())),
    };
    if parts.len() > 1 && source.is_empty() {
        return Err(invalid(String::new()));
    }
    let mode = Mode::parse(mode)?;
    let is_bind = source.starts_with('/');
    let kind = if is_bind { "bind" } else { "volume" };
    let config = |why: &str| invalid(format!(": invalid mount config for type \"{kind}\": {why}"));
    let destination = destination(target).map_err(|e| config(e.message()))?;
    let mut point = if is_bind {
        if mode.no_copy {
            return Err(config("field VolumeOptions must not be specified"));
        }
        MountPoint { create_source: true, ..bind_point(source) }
    } else {
        if mode.propagation.is_some() {
            return Err(config("field BindOptions must not be specified"));
        }
        let point = volume_point(source);
        // Docker shows a volume's mode as that of SELinux, whether there is one or not.
        MountPoint { mode: "z".to_owned(), copy_up: !mode.no_copy, ..point }
    };
    point.destination = destination;
    point.rw = mode.rw;
    if !mode.text.is_empty() || is_bind {
        point.mode = mode.text;
    }
    if let Some(propagation) = mode.propagation {
        point.propagation = propagation;
    }
    Ok(point)
}
