//! Devices of the host for containers.

use oci::runtime::{BlockIo, Device, ThrottleDevice, WeightDevice};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use stdx::{Error, Result};
use store::records::container::{BlockRate, BlockWeight, Resources};

/// Resolves `--device HOST:CONTAINER:PERMISSIONS` requests: the node to make and the access to allow.
pub fn resolve(requests: &[store::records::container::Device]) -> Result<Vec<(Device, String)>> {
    let mut devices = Vec::new();
    for request in requests {
        let gone = |e: std::io::Error| {
            let why = match e.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => e.to_string(),
            };
            Error::invalid(format!(
                "error gathering device information while adding custom device \"{}\": {why}",
                request.host
            ))
        };
        let permissions = if request.permissions.is_empty() { "rwm" } else { &request.permissions };
        if !permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(Error::invalid(format!("invalid device mode: {permissions}")));
        }
        let inside = if request.container.is_empty() { &request.host } else { &request.container };
        let path = std::fs::canonicalize(&request.host).map_err(gone)?;
        if path.is_dir() {
            for (node, below) in nodes_below(&path) {
                devices.push((at(&node, &Path::new(inside).join(below))?, permissions.to_owned()));
            }
        } else {
            devices.push((at(&path, Path::new(inside))?, permissions.to_owned()));
        }
    }
    Ok(devices)
}

/// The limits of block devices, by number instead of by name. The weight of all of them is not among them.
pub fn block_io(resources: &Resources) -> Result<BlockIo> {
    let rates = |list: &[BlockRate]| {
        let one = |limit: &BlockRate| {
            let (major, minor) = number(&limit.path)?;
            Ok(ThrottleDevice { major, minor, rate: limit.rate })
        };
        list.iter().map(one).collect::<Result<Vec<_>>>()
    };
    let weight = |limit: &BlockWeight| {
        let (major, minor) = number(&limit.path)?;
        Ok(WeightDevice { major, minor, weight: Some(limit.weight), leaf_weight: None })
    };
    Ok(BlockIo {
        weight_device: resources.blkio_weight_device.iter().map(weight).collect::<Result<_>>()?,
        throttle_read_bps_device: rates(&resources.blkio_read_bps)?,
        throttle_write_bps_device: rates(&resources.blkio_write_bps)?,
        throttle_read_iops_device: rates(&resources.blkio_read_iops)?,
        throttle_write_iops_device: rates(&resources.blkio_write_iops)?,
        ..BlockIo::default()
    })
}

/// Major and minor number of a block device.
fn number(path: &str) -> Result<(i64, i64)> {
    let gone = |e: std::io::Error| {
        if e.kind() == std::io::ErrorKind::NotFound {
            return Error::invalid(format!("stat {path}: no such file or directory"));
        }
        Error::io(format!("stat {path}"), e).with_kind(stdx::Kind::InvalidArgument)
    };
    let metadata = std::fs::metadata(path).map_err(gone)?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::invalid(format!("{path}: not a block device")));
    }
    let number = metadata.rdev();
    Ok((i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}

/// Every device node below `/dev`, for `--privileged`; terminals and what each container has of its own left out.
pub fn host_devices() -> Vec<Device> {
    nodes_below(Path::new("/dev"))
        .into_iter()
        .filter_map(|(node, _)| at(&node, &node).ok())
        .collect()
}

/// Where this host's processors count how often they were too hot (GHSA-6fw5), for what is hidden from containers.
pub fn thermal_counters() -> Vec<String> {
    let Ok(folder) = std::fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let of_processor = |name: &str| {
        name.strip_prefix("cpu").is_some_and(|n| n.bytes().all(|digit| digit.is_ascii_digit()))
    };
    folder
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(of_processor))
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.is_dir())
        .map(|path| path.display().to_string())
        .collect()
}

pub(crate) fn at(node: &Path, inside: &Path) -> Result<Device> {
    let not_a_device = || {
        Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": not a device node",
            node.display()
        ))
    };
    let metadata = std::fs::symlink_metadata(node).map_err(|_| not_a_device())?;
    let kind = match metadata.file_type() {
        t if t.is_char_device() => "c",
        t if t.is_block_device() => "b",
        _ => return Err(not_a_device()),
    };
    let number = metadata.rdev();
    Ok(Device {
        path: inside.to_owned(),
        kind: kind.to_owned(),
        major: Some(i64::from(rustix::fs::major(number))),
        minor: Some(i64::from(rustix::fs::minor(number))),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}

/// Device nodes below `root` with their path from there.
fn nodes_below(root: &Path) -> Vec<(std::path::PathBuf, std::path::PathBuf)> {
    let own = ["pts", "shm", "fd", "mqueue", "console"];
    let mut nodes = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            if folder == Path::new("/dev") && own.iter().any(|o| name == *o) {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_char_device() || kind.is_block_device() {
                let path = entry.path();
                let below = path.strip_prefix(root).unwrap_or(&path).to_owned();
                nodes.push((path, below));
            }
        }
    }
    nodes
}
