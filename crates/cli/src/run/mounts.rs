//! `-v`, `--mount`, `--tmpfs`.

use super::csv;
use crate::flags::check;
use api::{BindOptions, Driver, Empty, Mount, TmpfsOptions, VolumeOptions};
use std::collections::BTreeMap;
use std::path::Path;
use types::ByteSize;

/// Binds as the daemon reads them, and anonymous volumes.
type Places = (Option<Vec<String>>, BTreeMap<String, Empty>);

/// `-v` without a colon is an anonymous volume, everything else a bind that the daemon reads.
pub(super) fn volumes(flags: &[String], directory: &Path) -> Result<Places, String> {
    let mut binds = Vec::new();
    let mut volumes = BTreeMap::new();
    for flag in flags {
        if flag.len() > 2 && flag.split(':').any(str::is_empty) {
            return Err(format!("invalid spec: {flag}: empty section between colons"));
        }
        match flag.split_once(':') {
            None => {
                volumes.insert(flag.clone(), Empty {});
            }
            Some((source, rest)) => {
                let bind = format!("{}:{rest}", absolute(source, directory));
                // Said twice in the same words it is one, as for Docker.
                if !binds.contains(&bind) {
                    binds.push(bind);
                }
            }
        }
    }
    Ok((Some(binds).filter(|b| !b.is_empty()), volumes))
}

/// A path that begins with a dot is meant from where the user is; everything else stays as it is.
fn absolute(path: &str, directory: &Path) -> String {
    if path != "." && path != ".." && !path.starts_with("./") && !path.starts_with("../") {
        return path.to_owned();
    }
    let mut full = directory.to_owned();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                full.pop();
            }
            name => full.push(name),
        }
    }
    full.display().to_string()
}

/// `--tmpfs PATH[:OPTIONS]`
pub(super) fn tmpfs(flags: &[String]) -> Option<BTreeMap<String, String>> {
    if flags.is_empty() {
        return None;
    }
    let split = |flag: &String| {
        let (path, options) = flag.split_once(':').unwrap_or((flag, ""));
        (path.to_owned(), options.to_owned())
    };
    Some(flags.iter().map(split).collect())
}

/// Says what is wrong with a `--mount`.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text, Path::new("/")).map(|_| ())
}

/// One `--mount`.
pub(super) fn parse(text: &str, directory: &Path) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut tmpfs = TmpfsOptions::default();
    let mut driver = Driver::default();
    let (mut has_bind, mut has_volume, mut has_tmpfs, mut has_image) = (false, false, false, false);
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("value is empty".into());
    }
    for field in csv(trimmed)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), Some(value)),
            None => (field.trim().to_lowercase(), None),
        };
        let switch = |value: Option<&str>| match value {
            None => Ok(true),
            Some(value) => {
                check::to_bool(value).map_err(|_| format!("invalid value for {key}: {value}"))
            }
        };
        match key.as_str() {
            "readonly" | "ro" => {
                mount.read_only = switch(value)?;
                continue;
            }
            "volume-nocopy" => {
                has_volume = true;
                volume.no_copy = switch(value)?;
                continue;
            }
            "bind-nonrecursive" => {
                has_bind = true;
                bind.non_recursive = switch(value)?;
                continue;
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        has_bind |= key.starts_with("bind-");
        has_volume |= key.starts_with("volume-");
        has_tmpfs |= key.starts_with("tmpfs-");
        has_image |= key.starts_with("image-");
        match key.as_str() {
            "type" => mount.kind = value.to_lowercase(),
            "source" | "src" => mount.source = absolute(value, directory),
            "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
            "consistency" => mount.consistency = value.to_lowercase(),
            "bind-propagation" => bind.propagation = value.to_lowercase(),
            "bind-recursive" => match value {
                "enabled" => {}
                "disabled" => bind.non_recursive = true,
                "writable" => bind.read_only_non_recursive = true,
                "readonly" => bind.read_only_force_recursive = true,
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            },
            "volume-subpath" => value.clone_into(&mut volume.subpath),
            "volume-label" => put(volume.labels.get_or_insert_default(), value),
            "volume-driver" => value.clone_into(&mut driver.name),
            "volume-opt" => put(driver.options.get_or_insert_default(), value),
            "tmpfs-size" => {
                let size: ByteSize =
                    value.parse().map_err(|_| format!("invalid value for {key}: {value}"))?;
                tmpfs.size_bytes = i64::try_from(size.0).unwrap_or(i64::MAX);
            }
            "tmpfs-mode" => {
                tmpfs.mode = u32::from_str_radix(value, 8)
                    .map_err(|_| format!("invalid value for {key}: {value}"))?;
            }
            "image-subpath" => {
                return Err("image-subpath is not there yet (see docs/compat.tsv)".into());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    for (given, name) in
        [(has_volume, "volume"), (has_bind, "bind"), (has_tmpfs, "tmpfs"), (has_image, "image")]
    {
        if given && mount.kind != name {
            return Err(format!("cannot mix '{name}-*' options with mount type '{}'", mount.kind));
        }
    }
    if bind.read_only_non_recursive && !mount.read_only {
        return Err(
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"
                .into(),
        );
    }
    if bind.read_only_force_recursive {
        if !mount.read_only {
            return Err("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".into());
        }
        if bind.propagation != "rprivate" {
            return Err(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".into(),
            );
        }
    }
    if driver != Driver::default() {
        volume.driver_config = Some(driver);
    }
    mount.bind_options = Some(bind).filter(|b| *b != BindOptions::default());
    mount.volume_options = Some(volume).filter(|v| *v != VolumeOptions::default());
    mount.tmpfs_options = Some(tmpfs).filter(|t| *t != TmpfsOptions::default());
    Ok(mount)
}

fn put(map: &mut BTreeMap<String, String>, pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(name.to_owned(), value.to_owned());
}
