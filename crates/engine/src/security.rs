//! `--security-opt`: what is accepted, and what it needs of the host.
//!
//! As with Docker, a profile of a security module that is not active here is accepted and has no effect: there is nothing
//! that could heed it. Where the module *is* active it would have, and is refused until the runtime applies it.

use std::path::Path;
use stdx::{Error, Result};

pub(crate) fn check(options: &[String]) -> Result<()> {
    for option in options {
        let (name, value) =
            option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
        match (name, value) {
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", _) if is_there("/sys/kernel/security/apparmor") => {
                return Err(missing(option, "AppArmor profiles are"));
            }
            ("label", _) if is_there("/sys/fs/selinux/enforce") => {
                return Err(missing(option, "SELinux labels are"));
            }
            ("seccomp", "unconfined" | "builtin") => {}
            ("seccomp", profile) => {
                seccomp::Profile::parse(profile)
                    .map_err(|e| Error::invalid(format!("Decoding seccomp profile failed: {e}")))?;
            }
            ("writable-cgroups", "true" | "false" | "") => {}
            ("apparmor" | "label" | "no-new-privileges" | "systempaths" | "disable", _) => {}
            _ => {
                return Err(Error::invalid(format!("invalid --security-opt 2: {option:?}")));
            }
        }
    }
    Ok(())
}

fn is_there(path: &str) -> bool {
    Path::new(path).exists()
}

fn missing(option: &str, what: &str) -> Error {
    Error::not_implemented(format!(
        "--security-opt {option}: {what} not applied yet (see docs/compat.tsv)"
    ))
}
