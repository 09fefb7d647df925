//! Capabilities by name: which ones a container gets.

use stdx::{Error, Result};
use store::records::container::HostConfig;

/// All capabilities, in the kernel's order (`linux/capability.h`).
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container gets when nobody says otherwise: Docker's fourteen.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The names of the capabilities in a kernel mask, as in `CapBnd` of `/proc/PID/status`.
pub fn names_of(mask: u64) -> Vec<&'static str> {
    ALL.iter()
        .enumerate()
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// The full name of what a user typed: `net_admin`, `NET_ADMIN` and `CAP_NET_ADMIN` are one.
fn normalize(typed: &str, field: &str) -> Result<String> {
    let upper = typed.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if ALL.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(Error::invalid(format!("invalid {field}: unknown capability: \"{name}\"")))
    }
}

/// The capabilities of a container: those of `base`, plus its `cap_add`, minus its `cap_drop`; everything that
/// `available` has when it is privileged. What the daemon itself lacks cannot be given and is left out, not an error.
pub fn effective(host: &HostConfig, base: &[&str], available: u64) -> Result<Vec<String>> {
    let HostConfig { cap_add: add, cap_drop: drop, privileged, .. } = host;
    let add = add.iter().map(|c| normalize(c, "CapAdd")).collect::<Result<Vec<_>>>()?;
    let drop = drop.iter().map(|c| normalize(c, "CapDrop")).collect::<Result<Vec<_>>>()?;
    let has = |list: &[String], name: &str| list.iter().any(|c| c == name);
    let keep = |name: &&str| {
        if *privileged {
            return true;
        }
        let base = if has(&drop, "ALL") { false } else { base.contains(name) || has(&add, "ALL") };
        let added = has(&add, name) || (has(&add, "ALL") && has(&drop, "ALL"));
        (base || added) && !has(&drop, name)
    };
    Ok(names_of(available).into_iter().filter(|name| keep(name)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], privileged: bool, available: u64) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let host = HostConfig {
            cap_add: own(add),
            cap_drop: own(drop),
            privileged,
            ..HostConfig::default()
        };
        effective(&host, &DEFAULT, available).unwrap()
    }
    const EVERYTHING: u64 = (1 << 41) - 1;

    #[test]
    fn defaults_add_and_drop() {
        assert_eq!(check(&[], &[], false, EVERYTHING).len(), 14);
        assert!(
            check(&["net_admin"], &[], false, EVERYTHING).contains(&"CAP_NET_ADMIN".to_owned())
        );
        assert!(!check(&[], &["MKNOD"], false, EVERYTHING).contains(&"CAP_MKNOD".to_owned()));
        assert!(check(&[], &["ALL"], false, EVERYTHING).is_empty());
        assert_eq!(check(&["CHOWN"], &["ALL"], false, EVERYTHING), ["CAP_CHOWN"]);
        assert_eq!(check(&["ALL"], &[], false, EVERYTHING).len(), 41);
        assert_eq!(check(&["ALL"], &["SYS_ADMIN"], false, EVERYTHING).len(), 40);
    }

    #[test]
    fn what_the_daemon_lacks_is_left_out() {
        let without_resource = EVERYTHING & !(1 << 24);
        assert_eq!(check(&[], &[], true, without_resource).len(), 40);
    }

    #[test]
    fn unknown_names_are_refused_as_docker_does() {
        let host = HostConfig { cap_add: vec!["foo".to_owned()], ..HostConfig::default() };
        let error = effective(&host, &DEFAULT, EVERYTHING).unwrap_err();
        assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_FOO\"");
    }
}
