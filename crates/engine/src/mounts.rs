//! What is mounted into a container: `--volumes-from`, `-v`, `--mount`, `--tmpfs` and the image's volumes, resolved once at
//! create.
//!
//! Later wins over earlier where Docker lets it: what comes `from` other containers gives way to the container's own
//! mounts, the image's volumes give way to everything.

mod bind;
mod mode;
mod request;
mod tmpfs;

use crate::volumes::{LOCAL, Wanted};
use mode::Mode;
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use stdx::{Context as _, Error, Result};
use store::records::container::{Config, HostConfig, MountKind, MountPoint};

/// Mounts that a container may have: images are strangers', a volume costs a directory and a record, and the kernel has
/// room for 100,000 mounts of everybody (`fs.mount-max`).
const MOST: usize = 1000;

/// A container's mounts and the volumes that they need.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) points: Vec<MountPoint>,
    pub(crate) volumes: Vec<Wanted>,
}

/// Resolves everything that is to be mounted. `mounts_of` are the mounts of another container by name or id. Pure but
/// for `--mount type=bind`, whose source must be there.
pub(crate) fn plan(
    config: &Config,
    host: &HostConfig,
    mounts_of: impl Fn(&str) -> Result<Vec<MountPoint>>,
) -> Result<Plan> {
    let mut points = from_others(&host.volumes_from, mounts_of)?;
    let mut volumes = Vec::new();
    let asked = config.volumes.len() + host.binds.len() + host.mounts.len() + host.tmpfs.len();
    check_count(asked)?;
    let own = own(host, &mut volumes)?;
    let places: HashSet<&str> = own.iter().map(|p| p.destination.as_str()).collect();
    points.retain(|p| !places.contains(p.destination.as_str()));
    points.extend(own);
    let mut places: HashSet<String> = points.iter().map(|p| p.destination.clone()).collect();
    for path in &config.volumes {
        let destination = destination(path)
            .map_err(|e| Error::invalid(format!("invalid volume specification: '{path}': {e}")))?;
        if places.insert(destination.clone()) {
            points.push(MountPoint { destination, ..volume_point("") });
        }
    }
    check_count(points.len())?;
    let mut known: HashSet<String> = volumes.iter().map(|wanted| wanted.name.clone()).collect();
    for point in points.iter_mut().filter(|p| p.kind == MountKind::Volume) {
        if point.name.is_none() {
            point.name = Some(volume::Name::anonymous(&random()?).to_string());
        }
        let name = point.name.clone().unwrap_or_default();
        if known.insert(name.clone()) {
            let driver = host.volume_driver.clone();
            volumes.push(Wanted { name, anonymous: point.anonymous, driver, ..Wanted::default() });
        }
    }
    Ok(Plan { points, volumes })
}

fn check_count(mounts: usize) -> Result<()> {
    if mounts > MOST {
        return Err(Error::invalid(format!(
            "a container cannot have more than {MOST} mounts, image volumes included; {mounts} are asked for"
        )));
    }
    Ok(())
}

/// `--volumes-from CONTAINER[:MODE]`
fn from_others(
    specs: &[String],
    mounts_of: impl Fn(&str) -> Result<Vec<MountPoint>>,
) -> Result<Vec<MountPoint>> {
    check_count(specs.len())?;
    let mut points: Vec<Option<MountPoint>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for spec in specs {
        let (name, mode) = spec.split_once(':').unwrap_or((spec, ""));
        let mode = Mode::parse(mode)?;
        if mode.propagation.is_some() || mode.no_copy {
            return Err(Error::invalid(format!("invalid mode: {}", mode.text)));
        }
        for mut point in mounts_of(name)? {
            point.rw &= mode.rw;
            // Who used it first has filled it.
            point.copy_up = false;
            if let Some(earlier) = places.insert(point.destination.clone(), points.len()) {
                points[earlier] = None;
            }
            points.push(Some(point));
            check_count(places.len())?;
        }
    }
    Ok(points.into_iter().flatten().collect())
}

/// What the container itself asks for; no two of it at the same place.
fn own(host: &HostConfig, volumes: &mut Vec<Wanted>) -> Result<Vec<MountPoint>> {
    let mut points: Vec<MountPoint> = Vec::new();
    let mut add = |point: MountPoint| {
        if points.iter().any(|other| other.destination == point.destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", point.destination)));
        }
        points.push(point);
        Ok(())
    };
    let mut requested = Vec::new();
    for bind in &host.binds {
        add(bind::parse(bind)?)?;
    }
    for request in &host.mounts {
        let (point, wanted) = request::parse(request)?;
        requested.push((point.kind, point.destination.clone()));
        volumes.extend(wanted.map(|mut wanted| {
            if wanted.driver.is_empty() {
                wanted.driver.clone_from(&host.volume_driver);
            }
            wanted
        }));
        add(point)?;
    }
    for (target, options) in &host.tmpfs {
        let point = tmpfs::parse(target, options)?;
        // Docker lets `--mount type=tmpfs` win over `--tmpfs` at the same place.
        if !requested.contains(&(MountKind::Tmpfs, point.destination.clone())) {
            add(point)?;
        }
    }
    Ok(points)
}

/// Thirty-two random bytes.
pub(crate) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)
        .context(|| "read random bytes")?;
    Ok(bytes)
}

/// A writable volume; without a name it is one of the container's own.
fn volume_point(name: &str) -> MountPoint {
    MountPoint {
        kind: MountKind::Volume,
        name: (!name.is_empty()).then(|| name.to_owned()),
        source: PathBuf::new(),
        destination: String::new(),
        driver: Some(LOCAL.to_owned()),
        mode: String::new(),
        rw: true,
        propagation: String::new(),
        non_recursive: false,
        options: Vec::new(),
        anonymous: name.is_empty(),
        copy_up: true,
        subpath: String::new(),
        create_source: false,
        read_only_non_recursive: false,
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
        anonymous: false,
        ..volume_point("")
    }
}

/// A path inside a container, cleaned as Go's `path.Clean` does.
fn destination(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    let clean = clean(path);
    if clean == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(clean)
}

fn clean(path: &str) -> String {
    let mut clean: Vec<&str> = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", clean.join("/"))
}

#[cfg(test)]
mod tests;
