//! The profile `strict` when a container is created: what it fills in, and what contradicts it.
//!
//! One rule decides what is refused. What takes a protection away as a whole (`--privileged`, the host's namespaces, no
//! filter, visible system paths) contradicts the profile. What names one thing or a number of its own (`--cap-add`,
//! `--device`, a limit, another seccomp profile) is the user's word and stays.
//!
//! What is filled in stands in the record, so that `inspect` tells it and a daemon that is set differently later does not
//! change containers that exist. The rest is `container::strict`.

use super::pair;
use container::{join, spec, strict};
use std::collections::BTreeMap;
use stdx::{Error, Result};
use store::records::container::{HostConfig, Ulimit, UserNamespace};

/// Processes a container may have that does not say.
const PIDS: i64 = 512;

/// Settles a container's `host` as the profile wants it. `features`: what the kernel can limit; `user_of` tells the user
/// namespace of another container.
pub(crate) fn settle(
    host: &mut HostConfig,
    features: &BTreeMap<&'static str, bool>,
    user_of: impl Fn(&str) -> Result<Option<UserNamespace>>,
) -> Result<()> {
    refuse(host)?;
    for mode in [&host.network_mode, &host.pid_mode, &host.ipc_mode] {
        if let Some(peer) = join::of_container(mode)
            && user_of(peer)?.is_none()
        {
            return Err(conflict(&format!("{mode} (which has the host's user namespace)")));
        }
    }
    let options = &mut host.security_opt;
    if !options.iter().any(|o| pair(o).0 == "no-new-privileges") {
        options.push("no-new-privileges".to_owned());
    }
    if host.userns_mode.is_empty() {
        "auto".clone_into(&mut host.userns_mode);
    }
    "private".clone_into(&mut host.cgroupns_mode);
    host.masked_paths = Some(joined(host.masked_paths.take(), || {
        let extra = strict::MASKED.iter().map(|path| (*path).to_owned());
        spec::default_masked_paths().into_iter().chain(extra).collect()
    }));
    host.readonly_paths = Some(joined(host.readonly_paths.take(), spec::default_readonly_paths));
    limits(host, |feature| features.get(feature) == Some(&true));
    Ok(())
}

/// What contradicts the profile.
fn refuse(host: &HostConfig) -> Result<()> {
    let refused = [
        (host.privileged, "privileged mode"),
        (host.userns_mode == "host", "the host's user namespace"),
        (host.network_mode == "host", "the host's network namespace"),
        (host.pid_mode == "host", "the host's PID namespace"),
        (host.ipc_mode == "host", "the host's IPC namespace"),
        (host.uts_mode == "host", "the host's UTS namespace"),
        (host.cgroupns_mode == "host", "the host's cgroup namespace"),
        // As clients send it.
        (shows_all(host.masked_paths.as_ref()), "systempaths=unconfined"),
        (shows_all(host.readonly_paths.as_ref()), "systempaths=unconfined"),
    ];
    if let Some((_, what)) = refused.iter().find(|(asked, _)| *asked) {
        return Err(conflict(what));
    }
    for option in &host.security_opt {
        match pair(option) {
            ("seccomp", "unconfined")
            | ("systempaths", "unconfined")
            | ("no-new-privileges", "false")
            | ("writable-cgroups", "true" | "") => return Err(conflict(option)),
            _ => {}
        }
    }
    Ok(())
}

fn conflict(what: &str) -> Error {
    Error::invalid(format!(
        "conflicting options: {what} and the security profile strict (say --security-opt profile=default to go without it)"
    ))
}

fn shows_all(paths: Option<&Vec<String>>) -> bool {
    paths.is_some_and(Vec::is_empty)
}

/// The user's own paths and ours.
fn joined(own: Option<Vec<String>>, ours: impl FnOnce() -> Vec<String>) -> Vec<String> {
    let mut all = ours();
    for path in own.unwrap_or_default() {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

fn limits(host: &mut HostConfig, kernel_has: impl Fn(&str) -> bool) {
    let limits = &mut host.resources;
    if matches!(limits.pids_limit, None | Some(0)) && kernel_has("PidsLimit") {
        limits.pids_limit = Some(PIDS);
    }
    if !limits.ulimits.iter().any(|limit| limit.name == "core") {
        limits.ulimits.push(Ulimit { name: "core".to_owned(), soft: 0, hard: 0 });
    }
    match limits.memory {
        // Memory and swap together may be what memory alone may be.
        1.. if limits.memory_swap == 0 && kernel_has("SwapLimit") => {
            limits.memory_swap = limits.memory;
        }
        0 if limits.memory_swappiness.is_none() && kernel_has("MemorySwappiness") => {
            limits.memory_swappiness = Some(0);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(change: impl FnOnce(&mut HostConfig)) -> Result<HostConfig> {
        let mut host = HostConfig::default();
        change(&mut host);
        let all = ["PidsLimit", "SwapLimit", "MemorySwappiness"].map(|name| (name, true));
        settle(&mut host, &BTreeMap::from(all), |peer| {
            Ok((peer == "mapped").then_some(UserNamespace::Peers))
        })
        .map(|()| host)
    }

    #[test]
    fn what_nobody_said_is_filled_in() {
        let host = settled(|_| ()).unwrap();
        assert_eq!(host.security_opt, ["no-new-privileges"]);
        assert_eq!((host.userns_mode.as_str(), host.cgroupns_mode.as_str()), ("auto", "private"));
        assert_eq!(host.masked_paths.unwrap().len(), 23);
        assert_eq!(host.readonly_paths.unwrap().len(), 5);
        let limits = host.resources;
        assert_eq!((limits.pids_limit, limits.memory_swappiness), (Some(512), Some(0)));
        assert_eq!(limits.ulimits, [Ulimit { name: "core".to_owned(), soft: 0, hard: 0 }]);
        let limits = settled(|h| h.resources.memory = 5 << 20).unwrap().resources;
        assert_eq!((limits.memory_swap, limits.memory_swappiness), (5 << 20, None));
    }

    #[test]
    fn numbers_and_single_things_are_the_users() {
        let host = settled(|h| {
            h.resources.pids_limit = Some(-1);
            h.resources.memory = 1 << 20;
            h.resources.memory_swap = -1;
            h.resources.ulimits = vec![Ulimit { name: "core".to_owned(), soft: 1, hard: 2 }];
            h.security_opt = vec!["no-new-privileges=true".to_owned(), "seccomp={}".to_owned()];
            h.masked_paths = Some(vec!["/proc/own".to_owned(), "/proc/kcore".to_owned()]);
            h.pid_mode = "container:mapped".to_owned();
        })
        .unwrap();
        let limits = &host.resources;
        assert_eq!((limits.pids_limit, limits.memory_swap), (Some(-1), -1));
        assert_eq!(limits.ulimits.len(), 1);
        assert_eq!(host.security_opt.len(), 2);
        assert_eq!(host.masked_paths.unwrap().len(), 24);
    }

    #[test]
    fn what_takes_a_protection_away_is_refused() {
        let refused = |change: fn(&mut HostConfig)| settled(change).unwrap_err().to_string();
        let says = |text: String, what: &str| {
            let start = format!("conflicting options: {what} and the security profile strict");
            assert!(text.starts_with(&start), "{text}");
        };
        says(refused(|h| h.privileged = true), "privileged mode");
        says(refused(|h| h.userns_mode = "host".to_owned()), "the host's user namespace");
        says(refused(|h| h.network_mode = "host".to_owned()), "the host's network namespace");
        says(refused(|h| h.pid_mode = "host".to_owned()), "the host's PID namespace");
        says(refused(|h| h.ipc_mode = "host".to_owned()), "the host's IPC namespace");
        says(refused(|h| h.uts_mode = "host".to_owned()), "the host's UTS namespace");
        says(refused(|h| h.cgroupns_mode = "host".to_owned()), "the host's cgroup namespace");
        says(refused(|h| h.masked_paths = Some(Vec::new())), "systempaths=unconfined");
        let option = |text: &str| {
            let result = settled(|h| h.security_opt = vec![text.to_owned()]);
            says(result.unwrap_err().to_string(), text);
        };
        option("seccomp=unconfined");
        option("systempaths=unconfined");
        option("no-new-privileges:false");
        option("writable-cgroups=true");
        assert!(refused(|h| h.ipc_mode = "container:plain".to_owned()).contains("container:plain"));
    }
}
