//! `--device`, `--gpus`, capabilities.

use super::csv;
use api::{Device, DeviceRequest};
use std::collections::BTreeSet;

/// Devices of the host, and those that a device driver is to find.
pub(super) fn devices(flags: &[String]) -> Result<(Vec<Device>, Vec<DeviceRequest>), String> {
    let mut devices = Vec::new();
    let mut names = Vec::new();
    for flag in flags {
        if is_cdi(flag) {
            names.push(flag.clone());
        } else {
            devices.push(device(flag)?);
        }
    }
    let requests = if names.is_empty() {
        Vec::new()
    } else {
        vec![DeviceRequest {
            driver: "cdi".into(),
            device_ids: Some(names),
            ..DeviceRequest::default()
        }]
    };
    Ok((devices, requests))
}

/// `vendor.com/class=name`
fn is_cdi(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |w: &str| {
        w.starts_with(|c: char| c.is_ascii_alphanumeric())
            && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
    };
    word(vendor) && word(class) && word(name)
}

/// `host[:container[:rwm]]`
fn device(text: &str) -> Result<Device, String> {
    let is_mode = |mode: &str| !mode.is_empty() && mode.bytes().all(|b| b"rwm".contains(&b));
    let (source, target, mode) = match *text.split(':').collect::<Vec<_>>() {
        [source] => (source, source, "rwm"),
        [source, mode] if is_mode(mode) => (source, source, mode),
        [source, target] => (source, target, "rwm"),
        [source, target, mode] if is_mode(mode) => (source, target, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if !target.starts_with('/') {
        return Err(format!("{target} is not an absolute path"));
    }
    Ok(Device {
        path_on_host: source.to_owned(),
        path_in_container: target.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// Says what is wrong with a `--gpus`.
pub(crate) fn check_gpus(text: &str) -> Result<(), String> {
    gpus(text).map(|_| ())
}

/// `--gpus all`, a number, or `device=…,driver=…,capabilities=…,options=…`.
pub(super) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut capabilities = vec!["gpu".to_owned()];
    let mut count = None;
    let mut seen = BTreeSet::new();
    for field in csv(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        if !seen.insert(key.to_owned()) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        match key {
            "count" if value == "all" => count = Some(-1),
            "count" => {
                let wrong = || {
                    format!("invalid count ({value}): value must be either \"all\" or an integer")
                };
                count = Some(value.parse::<i64>().map_err(|_| wrong())?);
            }
            "device" => request.device_ids = Some(value.split(',').map(str::to_owned).collect()),
            "driver" => value.clone_into(&mut request.driver),
            "capabilities" => {
                capabilities =
                    value.split(',').map(str::to_owned).chain(["gpu".to_owned()]).collect();
            }
            "options" => {
                let pair = |o: &str| {
                    let (name, value) = o.split_once('=').unwrap_or((o, ""));
                    (name.to_owned(), value.to_owned())
                };
                request.options = Some(value.split(',').map(pair).collect());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    // Without a number and without devices, one.
    request.count = count.unwrap_or(i64::from(request.device_ids.is_none()));
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}

/// Capabilities in the kernel's spelling, sorted, without those that are both added and dropped.
pub(super) fn capabilities(
    add: &[String],
    drop: &[String],
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let normal = |names: &[String]| -> BTreeSet<String> {
        let full: BTreeSet<String> = names
            .iter()
            .map(|name| name.trim().to_uppercase())
            .map(|name| {
                if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
            })
            .collect();
        if full.contains("ALL") { BTreeSet::from(["ALL".to_owned()]) } else { full }
    };
    let add = normal(add);
    let drop: BTreeSet<String> = normal(drop).difference(&add).cloned().collect();
    let list =
        |set: BTreeSet<String>| Some(set.into_iter().collect::<Vec<_>>()).filter(|l| !l.is_empty());
    (list(add), list(drop))
}
