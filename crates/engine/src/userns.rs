//! Which user namespace a container gets.
//!
//! It is settled when the container is created and stays with its record: a daemon that is set differently later does not
//! change containers that exist. Files on disk have the ids that they have inside, so that images, snapshots and volumes
//! are shared by containers with different ids and nothing is ever chowned; `container::userns` tells how.

mod ranges;
mod subids;

pub(crate) use ranges::Ranges;

use crate::Engine;
use container::runtimes::Runtime;
use stdx::{Error, Result};
use store::records::container::{HostConfig, IdRange, UserNamespace};

/// What containers get that do not say (`--userns-remap`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Default {
    /// The host's.
    Host,
    /// One with these ids, the same for all.
    Remapped {
        /// Of users.
        uids: Vec<IdRange>,
        /// Of groups.
        gids: Vec<IdRange>,
    },
    /// One with ids of its own, as `--userns=auto`.
    Auto,
}

impl Default {
    /// Reads the daemon's option; what it names is looked up in the host's files.
    pub(crate) fn from_option(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::Host),
            "auto" => Ok(Self::Auto),
            text => subids::remap(text, &subids::Files::read()),
        }
    }
}

impl Engine {
    /// Settles what a new container gets, and gives it ids of its own if it needs some; `release` them with the record.
    pub(crate) fn user_namespace(
        &self,
        host: &HostConfig,
        id: &str,
    ) -> Result<Option<UserNamespace>> {
        let default = &self.inner.user_namespaces;
        let auto = match host.userns_mode.as_str() {
            "host" => return Ok(None),
            "auto" => true,
            "" if *default == Default::Host => return Ok(None),
            "" => *default == Default::Auto,
            _ => return Err(Error::invalid("--userns: invalid USER mode")),
        };
        refuse_the_hosts(host)?;
        if matches!(self.inner.services.runtimes.find(&host.runtime)?, Runtime::Other(_)) {
            return Err(Error::invalid(format!(
                "runtime {} cannot run containers with user namespaces: leave out --runtime, or say --userns=host",
                host.runtime
            )));
        }
        let modes = [&host.network_mode, &host.pid_mode, &host.ipc_mode];
        if modes.into_iter().any(|mode| container::join::of_container(mode).is_some()) {
            return Ok(Some(UserNamespace::Peers));
        }
        if let (Default::Remapped { uids, gids }, false) = (default, auto) {
            return Ok(Some(UserNamespace::Own { uids: uids.clone(), gids: gids.clone() }));
        }
        let range = self.inner.ranges.take(id)?;
        Ok(Some(UserNamespace::Own { uids: vec![range], gids: vec![range] }))
    }
}

/// What only the host's root may do cannot be asked for. Texts are Docker's.
fn refuse_the_hosts(host: &HostConfig) -> Result<()> {
    let wrong = |text: &str| Err(Error::invalid(text));
    if host.privileged {
        return wrong(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        );
    }
    if host.network_mode == "host" {
        return wrong("cannot share the host's network namespace when user namespaces are enabled");
    }
    if host.pid_mode == "host" {
        return wrong("cannot share the host PID namespace when user namespaces are enabled");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_hosts_is_refused_in_dockers_words() {
        let check = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            refuse_the_hosts(&host).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(check(|_| ()), "");
        assert!(check(|h| h.privileged = true).starts_with("privileged mode is incompatible"));
        assert_eq!(
            check(|h| h.network_mode = "host".to_owned()),
            "cannot share the host's network namespace when user namespaces are enabled"
        );
        assert_eq!(
            check(|h| h.pid_mode = "host".to_owned()),
            "cannot share the host PID namespace when user namespaces are enabled"
        );
    }
}
