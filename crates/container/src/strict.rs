//! The security profile `strict`: what a container that has it may not, beyond what none may.
//!
//! A container's record says whether it has it (`profile=strict` among its security options); what can be said by flags
//! is settled when it is created (`engine::security`), what cannot is decided here. `docs/security-profiles.md` has both
//! profiles side by side.

use oci::runtime as oci;
use stdx::{Error, Result};
use store::records::container::ContainerRecord;

/// Hidden besides what is hidden from every container: where the kernel lies in memory, how it was built, which pages
/// belong to whom, its file systems for developers.
pub const MASKED: [&str; 11] = [
    "/proc/config.gz",
    "/proc/iomem",
    "/proc/kallsyms",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/modules",
    "/sys/dev/block",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// Of the default capabilities, those that few services need and that have helped attacks.
const WITHOUT: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"];

/// `/dev/fuse`: file systems whose answers come from the container.
const FUSE: (&str, i64, i64) = ("c", 10, 229);

/// Whether a container with these security options has the profile.
pub fn is_strict(options: &[String]) -> bool {
    options.iter().any(|o| matches!(o.as_str(), "profile=strict" | "profile:strict"))
}

/// The capabilities that containers of `user` start from; `default` of those of other profiles.
///
/// Who is not root has none, root has those of [`WITHOUT`] less. A name counts as somebody else's: what the image's
/// `/etc/passwd` says of it is the image's word.
pub(crate) fn capabilities<'a>(default: &[&'a str], user: &str) -> Vec<&'a str> {
    if !is_root(user) {
        return Vec::new();
    }
    default.iter().copied().filter(|name| !WITHOUT.contains(name)).collect()
}

fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    matches!(name, "" | "root") || name.parse() == Ok(0_u32)
}

/// Takes back what was put together for every container and for devices: nobody makes nodes, not even of devices that
/// may be opened; programs are not executed from `/dev`.
///
/// # Errors
/// `/dev/fuse` is among the devices.
pub(crate) fn tighten(spec: &mut oci::Spec, record: &ContainerRecord) -> Result<()> {
    for mount in spec.mounts.iter_mut().filter(|m| m.destination == *"/dev") {
        mount.options.push("noexec".to_owned());
    }
    let Some(linux) = &mut spec.linux else { return Ok(()) };
    let (kind, major, minor) = FUSE;
    let is_fuse =
        |d: &oci::Device| d.kind == kind && (d.major, d.minor) == (Some(major), Some(minor));
    if linux.devices.iter().any(is_fuse) {
        return Err(Error::invalid(format!(
            "conflicting options: device /dev/fuse and the security profile strict of container {}",
            record.name
        )));
    }
    if let Some(resources) = &mut linux.resources {
        for rule in resources.devices.iter_mut().filter(|rule| rule.allow) {
            let access = rule.access.as_deref().unwrap_or("rwm");
            rule.access = Some(access.chars().filter(|c| *c != 'm').collect());
        }
        resources.devices.retain(|rule| rule.access.as_deref() != Some(""));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_keeps_eleven_capabilities_and_nobody_else_any() {
        let default = crate::capabilities::DEFAULT;
        for user in ["", "root", "0", "00", "0:0", "root:wheel", ":"] {
            assert_eq!(capabilities(&default, user).len(), 11, "{user:?}");
        }
        for user in ["1000", "app", "toor", "1000:0", "-1", "0x0", "+1"] {
            assert!(capabilities(&default, user).is_empty(), "{user:?}");
        }
    }

    #[test]
    fn the_option_is_known_by_both_spellings() {
        let is = |option: &str| is_strict(&["no-new-privileges".to_owned(), option.to_owned()]);
        assert!(is("profile=strict") && is("profile:strict"));
        assert!(!is("profile=default") && !is("profile") && !is("seccomp=strict"));
    }
}
