//! Devices of the Container Device Interface (CDI 1.0): `--device vendor.com/class=name` and `--gpus`.
//!
//! A vendor's specification file says what a device needs: nodes, mounts, environment, hooks, groups. The files are looked
//! for at every start in the daemon's folders, later folders winning, as the interface asks for. They are the host's own
//! (root's), so what they name is trusted as what an administrator wrote.

mod document;

use document::{Document, Edits};
use oci::runtime as oci;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stdx::{Error, Result};
use store::records::container::DeviceRequest;

/// What all folders together know, by the devices' full names.
#[derive(Debug, Default)]
struct Registry {
    /// `vendor/class=name` → the document and the device in it; `None`: two files of one folder say it.
    devices: BTreeMap<String, Option<(usize, usize)>>,
    documents: Vec<Document>,
    broken: Vec<String>,
}

/// Puts what `requests` ask for into a container's specification.
pub(crate) fn inject(
    folders: &[PathBuf],
    requests: &[DeviceRequest],
    spec: &mut oci::Spec,
) -> Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    let registry = Registry::read(folders);
    let mut names = Vec::new();
    for request in requests {
        names.extend(registry.names(request)?);
    }
    registry.edit(&names, spec)
}

impl Registry {
    fn read(folders: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for folder in folders {
            let mut here = BTreeMap::new();
            for path in files(folder) {
                match Document::read(&path) {
                    Ok(document) => registry.add(document, &mut here),
                    Err(e) => registry.broken.push(format!("{}: {e}", path.display())),
                }
            }
            registry.devices.extend(here);
        }
        registry
    }

    fn add(&mut self, document: Document, here: &mut BTreeMap<String, Option<(usize, usize)>>) {
        let number = self.documents.len();
        for (i, device) in document.devices.iter().enumerate() {
            let name = format!("{}={}", document.kind, device.name);
            // Two files of one folder that say the same contradict each other: neither counts.
            let known = here.contains_key(&name);
            here.insert(name, (!known).then_some((number, i)));
        }
        self.documents.push(document);
    }

    /// The names of the devices that a request means.
    fn names(&self, request: &DeviceRequest) -> Result<Vec<String>> {
        if request.driver == "cdi" {
            return Ok(request.ids.clone());
        }
        let unknown = || {
            let groups: Vec<String> =
                request.capabilities.iter().map(|all| format!("[{}]", all.join(" "))).collect();
            Error::invalid(format!(
                "could not select device driver \"{}\" with capabilities: [{}]",
                request.driver,
                groups.join(" ")
            ))
        };
        let wants_gpu = request.capabilities.iter().any(|all| all.iter().any(|c| c == "gpu"));
        if !wants_gpu || !matches!(request.driver.as_str(), "" | "nvidia" | "amd") {
            return Err(unknown());
        }
        // `--gpus` without a driver takes the vendor whose devices there are.
        let vendors = ["nvidia.com/gpu", "amd.com/gpu"].into_iter();
        let kind = vendors
            .filter(|kind| request.driver.is_empty() || kind.starts_with(&request.driver))
            .find(|kind| self.devices.keys().any(|d| d.starts_with(&format!("{kind}="))))
            .ok_or_else(unknown)?;
        if !request.ids.is_empty() {
            return Ok(request.ids.iter().map(|id| format!("{kind}={id}")).collect());
        }
        if request.count < 0 {
            return Ok(vec![format!("{kind}=all")]);
        }
        Ok((0..request.count).map(|n| format!("{kind}={n}")).collect())
    }

    /// Applies each device's edits, and its document's own once.
    fn edit(&self, names: &[String], spec: &mut oci::Spec) -> Result<()> {
        let found: Vec<Option<(usize, usize)>> =
            names.iter().map(|name| self.devices.get(name).copied().flatten()).collect();
        let missing: Vec<&str> = (names.iter().zip(&found))
            .filter(|(_, found)| found.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !missing.is_empty() {
            let mut why = String::new();
            for broken in &self.broken {
                why.push_str(&format!("; {broken}"));
            }
            return Err(Error::invalid(format!(
                "CDI device injection failed: unresolvable CDI devices {}{why}",
                missing.join(", ")
            )));
        }
        let failed = |e: Error| {
            Error::new(e.kind(), format!("CDI device injection failed: {}", e.message()))
        };
        let mut used: Vec<usize> = Vec::new();
        for (number, device) in found.into_iter().flatten() {
            let document = &self.documents[number];
            if !used.contains(&number) {
                used.push(number);
                document.container_edits.apply(spec).map_err(failed)?;
            }
            document.devices[device].container_edits.apply(spec).map_err(failed)?;
        }
        Ok(())
    }
}

/// The specification files of a folder, by name; a folder that is not there has none.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_spec =
        |path: &PathBuf| path.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).filter(is_spec).collect();
    files.sort();
    files
}

impl Edits {
    fn apply(&self, spec: &mut oci::Spec) -> Result<()> {
        if self.intel_rdt.is_some() {
            return Err(Error::not_implemented("intelRdt is not there yet"));
        }
        let process = spec.process.get_or_insert_default();
        crate::spec::merge_env(&mut process.env, &self.env);
        for gid in &self.additional_gids {
            if *gid != 0 && !process.user.additional_gids.contains(gid) {
                process.user.additional_gids.push(*gid);
            }
        }
        let linux = spec.linux.get_or_insert_default();
        for node in &self.device_nodes {
            let (device, permissions) = node.resolve()?;
            linux.devices.retain(|d| d.path != device.path);
            let resources = linux.resources.get_or_insert_default();
            resources.devices.push(oci::DeviceRule {
                allow: true,
                kind: Some(device.kind.clone()),
                major: device.major,
                minor: device.minor,
                access: Some(permissions),
            });
            linux.devices.push(device);
        }
        for mount in &self.mounts {
            spec.mounts.retain(|m| m.destination != mount.container_path);
            let bind = mount.options.iter().any(|o| o == "bind" || o == "rbind");
            let kind = mount.kind.clone().filter(|k| !k.is_empty());
            spec.mounts.push(oci::Mount {
                destination: mount.container_path.clone(),
                source: Some(mount.host_path.clone()),
                kind: kind.or_else(|| (!bind).then(|| "bind".to_owned())),
                options: mount.options.clone(),
                ..oci::Mount::default()
            });
        }
        for hook in &self.hooks {
            let hooks = spec.hooks.get_or_insert_default();
            let list = match hook.hook_name.as_str() {
                "prestart" => &mut hooks.prestart,
                "createRuntime" => &mut hooks.create_runtime,
                "createContainer" => &mut hooks.create_container,
                "startContainer" => &mut hooks.start_container,
                "poststart" => &mut hooks.poststart,
                "poststop" => &mut hooks.poststop,
                other => return Err(Error::invalid(format!("unknown hook name {other:?}"))),
            };
            list.push(oci::Hook {
                path: hook.path.clone(),
                args: hook.args.clone(),
                env: hook.env.clone(),
                timeout: hook.timeout,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
