//! What the daemon's options say for containers that say nothing themselves (`--default-…` and their like).

use crate::SecurityProfile;
use stdx::Result;
use store::records::container::{HostConfig, Ulimit};

/// Settings of the daemon that containers inherit.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// `private` or `host`; empty: private.
    pub cgroupns_mode: String,
    /// `private` or `shareable`; empty: private.
    pub ipc_mode: String,
    /// Bytes of /dev/shm; 0: 64 MiB.
    pub shm_size: i64,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Containers get `no_new_privs`.
    pub no_new_privileges: bool,
    /// Capabilities that containers do not have unless they ask for them.
    pub cap_drop: Vec<String>,
    /// The security profile.
    pub profile: SecurityProfile,
    /// `builtin`, `unconfined`, or the text of a profile; `None`: builtin.
    pub seccomp: Option<String>,
    /// Microseconds of every `realtime_period` that the cgroup above all containers may use the processors in real time;
    /// 0: as the kernel has it.
    pub realtime_runtime: u64,
    /// Microseconds; 0: as the kernel has it.
    pub realtime_period: u64,
    /// The cgroup that containers are below; `None`: the instance's own.
    pub cgroup_parent: Option<String>,
}

impl Defaults {
    /// Refuses names that are no capabilities'.
    pub fn check(&self) -> Result<()> {
        let host = HostConfig { cap_drop: self.cap_drop.clone(), ..HostConfig::default() };
        container::capabilities::effective(&host, &[], 0).map(drop)
    }

    /// Fills in what a container did not say. The record keeps what it got: a daemon that is set differently later does
    /// not change containers that exist.
    pub(crate) fn apply(&self, host: &mut HostConfig) {
        let fill = |mode: &mut String, default: &str| {
            if mode.is_empty() {
                *mode = if default.is_empty() { "private" } else { default }.to_owned();
            }
        };
        fill(&mut host.cgroupns_mode, &self.cgroupns_mode);
        fill(&mut host.ipc_mode, &self.ipc_mode);
        if host.shm_size == 0 {
            host.shm_size = self.shm_size;
        }
        for ulimit in &self.ulimits {
            if !host.resources.ulimits.iter().any(|own| own.name == ulimit.name) {
                host.resources.ulimits.push(ulimit.clone());
            }
        }
        let says = |o: &String| o.starts_with("no-new-privileges");
        if self.no_new_privileges && !host.security_opt.iter().any(says) {
            host.security_opt.push("no-new-privileges".to_owned());
        }
        // Who asks for capabilities by name, or has all, knows what it wants.
        let same = |a: &str, b: &str| bare(a).eq_ignore_ascii_case(bare(b));
        for dropped in self.cap_drop.iter().filter(|_| !host.privileged) {
            let said = |name: &String| same(name, dropped) || same(name, "ALL");
            if !host.cap_add.iter().any(said) && !host.cap_drop.iter().any(said) {
                host.cap_drop.push(dropped.clone());
            }
        }
    }
}

/// A capability's name without `CAP_`.
fn bare(name: &str) -> &str {
    match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_that_are_asked_for_are_not_dropped() {
        let defaults = Defaults {
            cap_drop: vec!["MKNOD".to_owned(), "CAP_NET_RAW".to_owned()],
            ..Defaults::default()
        };
        let check = |add: &[&str], drop: &[&str], wanted: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            let mut host =
                HostConfig { cap_add: own(add), cap_drop: own(drop), ..HostConfig::default() };
            defaults.apply(&mut host);
            assert_eq!(host.cap_drop, wanted);
        };
        check(&[], &[], &["MKNOD", "CAP_NET_RAW"]);
        check(&["cap_mknod"], &["chown"], &["chown", "CAP_NET_RAW"]);
        check(&["ALL"], &[], &[]);
        check(&[], &["net_raw", "CAP_MKNOD"], &["net_raw", "CAP_MKNOD"]);
        let mut host = HostConfig { privileged: true, ..HostConfig::default() };
        defaults.apply(&mut host);
        assert!(host.cap_drop.is_empty());
    }

    #[test]
    fn what_a_container_says_stays() {
        let ulimit = |name: &str, n| Ulimit { name: name.to_owned(), soft: n, hard: n };
        let defaults = Defaults {
            ipc_mode: "shareable".to_owned(),
            shm_size: 5,
            ulimits: vec![ulimit("nofile", 1), ulimit("nproc", 2)],
            no_new_privileges: true,
            ..Defaults::default()
        };
        let mut silent = HostConfig::default();
        defaults.apply(&mut silent);
        assert_eq!(
            (silent.ipc_mode.as_str(), silent.cgroupns_mode.as_str()),
            ("shareable", "private")
        );
        assert_eq!(silent.shm_size, 5);
        assert_eq!(silent.resources.ulimits, defaults.ulimits);
        assert_eq!(silent.security_opt, ["no-new-privileges"]);
        let mut own = HostConfig {
            ipc_mode: "none".to_owned(),
            shm_size: 7,
            security_opt: vec!["no-new-privileges:false".to_owned()],
            ..HostConfig::default()
        };
        own.resources.ulimits = vec![ulimit("nofile", 9)];
        let before = own.clone();
        defaults.apply(&mut own);
        assert_eq!(own.resources.ulimits, [ulimit("nofile", 9), ulimit("nproc", 2)]);
        assert_eq!((own.ipc_mode, own.shm_size), (before.ipc_mode, 7));
        assert_eq!(own.security_opt, before.security_opt);
    }
}
