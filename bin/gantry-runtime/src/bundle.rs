//! What a bundle and the caller's environment bring: the specification, and descriptors.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci::runtime::{Hook, Process, Spec};
use stdx::{Context as _, Error, Result};

/// Reads `config.json`, with every path that is relative to the bundle made absolute.
pub(crate) fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::not_found(format!(
                "JSON specification file {} not found",
                path.display()
            )));
        }
        text => text.context(|| format!("read {}", path.display()))?,
    };
    let mut spec: Spec = serde_json::from_slice(&text)
        .map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
    if let Some(root) = &mut spec.root {
        root.path = bundle.join(&root.path);
    }
    for mount in &mut spec.mounts {
        let bind = mount.kind.as_deref() == Some("bind")
            || mount.options.iter().any(|o| o == "bind" || o == "rbind");
        if let Some(source) = mount.source.as_mut().filter(|s| bind && s.is_relative()) {
            *source = bundle.join(&*source);
        }
    }
    Ok(spec)
}

/// Descriptors that the container's program gets from our caller: those of socket activation (sd_listen_fds(3)), then as
/// many more as were asked for. Tells the process about the former.
///
/// To be called before anything is opened that stays open.
pub(crate) fn inherit(process: &mut Process, preserve: u32) -> Result<Vec<OwnedFd>> {
    let variable = |name: &str| std::env::var(name).ok();
    let for_us = variable("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let listen: u32 = variable("LISTEN_FDS")
        .filter(|_| for_us)
        .map_or(Ok(0), |n| n.parse())
        .map_err(|_| Error::invalid("LISTEN_FDS is no number"))?;
    if listen > 0 {
        process.env.push(format!("LISTEN_FDS={listen}"));
        // It is the container's first process.
        process.env.push("LISTEN_PID=1".to_owned());
    }
    let count = listen.checked_add(preserve).filter(|n| *n <= 1024);
    let count = count.ok_or_else(|| Error::invalid("too many descriptors to preserve"))?;
    sys::process::take_inherited(3, count)
        .context(|| format!("preserve descriptors 3 to {} (are they all open?)", 2 + count))
}

/// The hooks of one kind.
pub(crate) fn hooks(spec: &Spec, kind: &str) -> Vec<Hook> {
    let Some(hooks) = &spec.hooks else { return Vec::new() };
    match kind {
        "poststart" => hooks.poststart.clone(),
        "poststop" => hooks.poststop.clone(),
        _ => Vec::new(),
    }
}
