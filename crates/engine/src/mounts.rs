//! What is mounted into a container: `-v`, `--mount`, `--tmpfs` and the image's volumes, resolved once at create.

use std::path::{Component, Path, PathBuf};
use stdx::time::Timestamp;
use stdx::{Context as _, Error, Kind, Result};
use store::records::container::{Config, HostConfig, MountKind, MountPoint, MountRequest};
use store::records::volume::{VolumeRecord, VolumeState};

/// A container's mounts and the volumes that must be made for them.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) points: Vec<MountPoint>,
    pub(crate) new_volumes: Vec<VolumeRecord>,
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Resolves everything that is to be mounted. `known` says whether a volume exists. Pure but for looking at sources.
pub(crate) fn plan(
    config: &Config,
    host: &HostConfig,
    known: impl Fn(&str) -> Result<bool>,
) -> Result<Plan> {
    if !host.volumes_from.is_empty() {
        return Err(Error::not_implemented(
            "--volumes-from is not there yet; name the volumes with -v",
        ));
    }
    let mut points = Vec::new();
    for bind in &host.binds {
        points.push(parse_bind(bind)?);
    }
    for request in &host.mounts {
        points.push(from_request(request)?);
    }
    for (target, options) in &host.tmpfs {
        points.push(tmpfs(target, options)?);
    }
    for (i, point) in points.iter().enumerate() {
        if points[..i].iter().any(|other| other.destination == point.destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", point.destination)));
        }
    }
    for path in &config.volumes {
        let destination = destination(path, path, "volume")?;
        if !points.iter().any(|point| point.destination == destination) {
            points.push(MountPoint { destination, copy_up: true, ..volume_point("", true) });
        }
    }
    let mut plan = Plan { points, new_volumes: Vec::new() };
    for point in plan.points.iter_mut().filter(|p| p.kind == MountKind::Volume) {
        let name = match &point.name {
            Some(name) if known(name)? => continue,
            Some(name) => name.clone(),
            None => {
                let name = volume::Name::anonymous(&random()?);
                point.name.insert(name.as_str().to_owned()).clone()
            }
        };
        plan.new_volumes.push(VolumeRecord {
            name,
            driver: "local".to_owned(),
            created: Timestamp::now().to_string(),
            labels: std::collections::BTreeMap::new(),
            options: std::collections::BTreeMap::new(),
            anonymous: point.anonymous,
            state: VolumeState::Ready,
        });
    }
    Ok(plan)
}

/// Thirty-two random bytes.
pub(crate) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)
        .context(|| "read random bytes")?;
    Ok(bytes)
}

fn volume_point(name: &str, anonymous: bool) -> MountPoint {
    MountPoint {
        kind: MountKind::Volume,
        name: (!name.is_empty()).then(|| name.to_owned()),
        source: PathBuf::new(),
        destination: String::new(),
        driver: Some("local".to_owned()),
        mode: String::new(),
        rw: true,
        propagation: String::new(),
        non_recursive: false,
        options: Vec::new(),
        anonymous,
        copy_up: true,
    }
}

fn bind_point(source: &str) -> MountPoint {
    MountPoint {
        kind: MountKind::Bind,
        name: None,
        source: source.into(),
        driver: None,
        propagation: "rprivate".to_owned(),
        copy_up: false,
        ..volume_point("", false)
    }
}

/// `[SOURCE:]DESTINATION[:MODE]`
fn parse_bind(text: &str) -> Result<MountPoint> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let destination = destination(target, text, kind)?;
    let mut point = if source.starts_with('/') {
        bind_point(source)
    } else if source.is_empty() && parts.len() == 1 {
        volume_point("", true)
    } else {
        let name: volume::Name = source.parse().map_err(|e| Error::invalid(format!("{e}")))?;
        volume_point(name.as_str(), false)
    };
    point.destination = destination;
    point.mode = mode.to_owned();
    for option in mode.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "readonly" => point.rw = false,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" | "default" => {}
            "nocopy" if point.kind == MountKind::Volume => point.copy_up = false,
            p if PROPAGATIONS.contains(&p) && point.kind == MountKind::Bind => {
                point.propagation = p.to_owned()
            }
            _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
        }
    }
    if point.kind == MountKind::Bind {
        make_missing_source(&point.source)?;
    }
    Ok(point)
}

fn from_request(request: &MountRequest) -> Result<MountPoint> {
    let invalid = |why: String| {
        Error::invalid(format!("invalid mount config for type \"{}\": {why}", request.kind))
    };
    if request.target.is_empty() {
        return Err(invalid("field Target must not be empty".to_owned()));
    }
    if !request.target.starts_with('/') {
        return Err(invalid(format!(
            "invalid mount path: '{}' mount path must be absolute",
            request.target
        )));
    }
    let target = destination(&request.target, &request.target, &request.kind)?;
    let mut point = match request.kind.as_str() {
        "bind" => {
            if request.source.is_empty() {
                return Err(invalid("field Source must not be empty".to_owned()));
            }
            if !request.source.starts_with('/') {
                return Err(invalid(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    request.source
                )));
            }
            if request.create_mountpoint {
                make_missing_source(Path::new(&request.source))?;
            } else if std::fs::symlink_metadata(&request.source).is_err() {
                return Err(invalid(format!(
                    "bind source path does not exist: {}",
                    request.source
                )));
            }
            let mut point = bind_point(&request.source);
            if !request.propagation.is_empty() {
                if !PROPAGATIONS.contains(&request.propagation.as_str()) {
                    return Err(invalid(format!(
                        "invalid propagation mode: {}",
                        request.propagation
                    )));
                }
                point.propagation.clone_from(&request.propagation);
            }
            point.non_recursive = request.non_recursive;
            if request.read_only && request.read_only_force_recursive {
                point.options.push("rro".to_owned());
            }
            point
        }
        "volume" => {
            if !request.subpath.is_empty() {
                return Err(Error::not_implemented("volume-subpath is not there yet"));
            }
            if !(request.driver.is_empty() || request.driver == "local")
                || !request.driver_options.is_empty()
            {
                return Err(Error::not_implemented(
                    "volume drivers and their options are not there yet",
                ));
            }
            let name = match request.source.as_str() {
                "" => String::new(),
                name => name
                    .parse::<volume::Name>()
                    .map_err(|e| invalid(e.to_string()))?
                    .as_str()
                    .to_owned(),
            };
            let mut point = volume_point(&name, name.is_empty());
            point.copy_up = !request.no_copy;
            point
        }
        "tmpfs" => {
            let mut options = Vec::new();
            if request.tmpfs_size > 0 {
                options.push(format!("size={}", request.tmpfs_size));
            }
            if request.tmpfs_mode != 0 {
                options.push(format!("mode={:o}", request.tmpfs_mode));
            }
            tmpfs(&request.target, &options.join(","))?
        }
        other => {
            return Err(Error::not_implemented(format!(
                "mounts of type \"{other}\" are not there yet"
            )));
        }
    };
    point.destination = target;
    point.rw = !request.read_only;
    Ok(point)
}

fn tmpfs(target: &str, options: &str) -> Result<MountPoint> {
    let mut point = MountPoint {
        kind: MountKind::Tmpfs,
        driver: None,
        copy_up: false,
        destination: destination(target, target, "tmpfs")?,
        ..volume_point("", false)
    };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let name = option.split('=').next().unwrap_or_default();
        match name {
            "ro" => point.rw = false,
            "rw" => {}
            "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "exec" | "noexec"
            | "suid" | "nosuid" | "dev" | "nodev" | "sync" | "async" | "dirsync" | "noatime"
            | "nodiratime" | "relatime" | "strictatime" => {
                point.options.push(option.to_owned());
            }
            _ => return Err(Error::invalid(format!("invalid tmpfs option [\"{option}\"]"))),
        }
    }
    Ok(point)
}

/// A path inside a container, cleaned as Go's `path.Clean` does.
fn destination(path: &str, whole: &str, kind: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{whole}': invalid mount config for type \"{kind}\": invalid mount path: \
             '{path}' mount path must be absolute"
        )));
    }
    let mut clean: Vec<&str> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean.is_empty() {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{whole}': invalid mount config for type \"{kind}\": invalid specification: \
             destination can't be '/'"
        )));
    }
    Ok(format!("/{}", clean.join("/")))
}

/// `-v` makes a source that is missing, as a directory of root.
fn make_missing_source(source: &Path) -> Result<()> {
    match std::fs::create_dir_all(source) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::new(
            Kind::InvalidArgument,
            format!("error while creating mount source path '{}'", source.display()),
        )
        .caused_by(e)),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bind: &str) -> String {
        match parse_bind(bind) {
            Ok(p) => format!(
                "{:?} {}{} → {} {}",
                p.kind,
                p.source.display(),
                p.name.unwrap_or_default(),
                p.destination,
                if p.rw { "rw" } else { "ro" }
            ),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn bind_texts() {
        assert_eq!(check("/tmp:/a/../b"), "Bind /tmp → /b rw");
        assert_eq!(check("/tmp:/b:ro"), "Bind /tmp → /b ro");
        assert_eq!(check("data:/b:ro,nocopy"), "Volume data → /b ro");
        assert_eq!(check("/only"), "Volume  → /only rw");
        assert_eq!(check("/tmp:/b:bad"), "invalid mode: bad");
        assert!(check("/tmp:/").contains("destination can't be '/'"));
        assert!(check("/tmp:b").contains("mount path must be absolute"));
        assert!(check("a:b:c:d").starts_with("invalid volume specification: 'a:b:c:d'"));
    }

    #[test]
    fn the_same_place_twice_is_refused() {
        let host = HostConfig {
            binds: vec!["/tmp:/x".to_owned(), "vol:/x".to_owned()],
            ..HostConfig::default()
        };
        let error = plan(&Config::default(), &host, |_| Ok(true)).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /x");
    }

    #[test]
    fn an_images_volume_gets_a_name_of_its_own() {
        let config = Config { volumes: vec!["/data".to_owned()], ..Config::default() };
        let plan = plan(&config, &HostConfig::default(), |_| Ok(false)).unwrap();
        assert_eq!(plan.new_volumes.len(), 1);
        assert!(
            plan.points[0].anonymous && plan.points[0].name.as_ref().is_some_and(|n| n.len() == 64)
        );
    }
}
