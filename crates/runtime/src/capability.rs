//! Capabilities by name and as sets of bits.

/// Names in the order of their numbers (linux/capability.h), without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `CAP_SYS_ADMIN` as a set.
pub(crate) const SYS_ADMIN: u64 = 1 << 21;

/// Numbers a kernel can have at all.
pub(crate) const COUNT: u32 = 64;

/// All names, as specifications have them.
pub fn capabilities() -> Vec<String> {
    NAMES.iter().map(|name| format!("CAP_{name}")).collect()
}

/// The set of the capabilities named (`CAP_CHOWN`); the first unknown name as the error.
pub(crate) fn set(names: &[String]) -> Result<u64, String> {
    names.iter().try_fold(0, |set, name| {
        let number =
            name.strip_prefix("CAP_").and_then(|n| NAMES.iter().position(|known| *known == n));
        number.map(|n| set | 1 << n).ok_or_else(|| name.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bits() {
        let names = |list: &[&str]| set(&list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&[]), Ok(0));
        assert_eq!(names(&["CAP_CHOWN", "CAP_KILL", "CAP_CHOWN"]), Ok(1 | 1 << 5));
        assert_eq!(names(&["CAP_SYS_ADMIN"]), Ok(SYS_ADMIN));
        assert_eq!(names(&["CAP_CHECKPOINT_RESTORE"]), Ok(1 << 40));
        for bad in ["CHOWN", "cap_chown", "CAP_NONSENSE", ""] {
            assert_eq!(names(&[bad]), Err(bad.to_owned()));
        }
    }
}
