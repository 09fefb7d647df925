//! Which kernel parameters a container may have, and their files.
//!
//! Only parameters of namespaces that are the container's own: anything else would be the host's (CVE-2022-0811,
//! CVE-2024-3154).

use std::collections::BTreeMap;

use super::invalid;
use crate::error::Result;

/// Which namespaces are not the host's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) ipc: bool,
    pub(crate) network: bool,
    pub(crate) uts: bool,
}

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Paths beneath `/proc/sys` and values to write, or why one may not be written.
pub(crate) fn check(sysctls: &BTreeMap<String, String>, own: Own) -> Result<Vec<(String, String)>> {
    sysctls
        .iter()
        .map(|(name, value)| {
            let path =
                path(name).ok_or_else(|| invalid(format!("invalid sysctl name {name:?}")))?;
            let in_host =
                |kind| invalid(format!("sysctl {name:?} not allowed in host {kind} namespace"));
            let allowed = match path.split('/').next().unwrap_or("") {
                _ if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") => {
                    own.ipc.then_some(()).ok_or_else(|| in_host("ipc"))
                }
                "net" => own.network.then_some(()).ok_or_else(|| in_host("network")),
                _ if path == "kernel/domainname" => {
                    own.uts.then_some(()).ok_or_else(|| in_host("uts"))
                }
                _ if path == "kernel/hostname" => Err(invalid(format!(
                    "sysctl {name:?} is not allowed as it conflicts with the hostname"
                ))),
                _ => Err(invalid(format!("sysctl {name:?} is not in a separate kernel namespace"))),
            };
            allowed.map(|()| (path, value.clone()))
        })
        .collect()
}

/// The file of a parameter. Its separator is whichever of `.` and `/` comes first; the other one then stands for itself
/// (sysctl(8): `net.ipv4.conf.eth0/1.forwarding` is about the interface `eth0.1`).
fn path(name: &str) -> Option<String> {
    let dotted = name.find(['.', '/']).is_some_and(|i| name.as_bytes()[i] == b'.');
    let swap = |c| match c {
        '.' if dotted => '/',
        '/' if dotted => '.',
        other => other,
    };
    let path: String = name.chars().map(swap).collect();
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_graphic())
    };
    path.split('/').all(plain).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, own: Own) -> String {
        match check(&BTreeMap::from([(name.to_owned(), "1".to_owned())]), own) {
            Ok(list) => list.into_iter().map(|(path, _)| path).collect(),
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn namespaced_parameters_only() {
        let all = Own { ipc: true, network: true, uts: true };
        let none = Own { ipc: false, network: false, uts: false };
        let separate =
            |name: &str| format!("error: sysctl {name:?} is not in a separate kernel namespace");
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("kernel.msgmax", "kernel/msgmax"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
            ("kernel.domainname", "kernel/domainname"),
        ] {
            assert_eq!(check_one(name, all), expected);
            assert!(check_one(name, none).starts_with("error: sysctl"), "{name}");
        }
        for name in [
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel.shm_rmid_forced=1+kernel.core_pattern",
            "netx.a",
        ] {
            assert_eq!(check_one(name, all), separate(name));
        }
        assert!(check_one("kernel.hostname", all).contains("conflicts with the hostname"));
        for name in [
            "net/ipv4/../../kernel/core_pattern",
            "net..x",
            "",
            ".",
            "net.",
            "net.ipv4 x",
            "net/./x",
            "/net",
        ] {
            assert_eq!(check_one(name, all), format!("error: invalid sysctl name {name:?}"));
        }
    }
}
