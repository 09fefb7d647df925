//! The agent that answers system calls for a container: `SCMP_ACT_NOTIFY` with `listenerPath`.
//!
//! The filter's listener comes into being in the process that is filtered. From then on it may not be able to send
//! anything without being answered by the agent, so it only says the number of the descriptor, by write(2), and waits;
//! whoever starts the container fetches the descriptor and hands it to the agent with the state of the container.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use oci::runtime::Seccomp;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Error, Result, Step as _};

/// Where an agent listens and what it is told (runtime-spec, `config-linux.md`, seccomp, container process state).
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
    metadata: String,
    version: String,
    state: serde_json::Value,
}

impl Agent {
    /// The agent that a profile names; `state` is the container's, see [`state`](crate::state). `None` when no rule of
    /// the profile asks one.
    pub fn of(profile: &Seccomp, version: &str, state: serde_json::Value) -> Option<Self> {
        wants(profile).then(|| Self {
            socket: profile.listener_path.clone().unwrap_or_default().into(),
            metadata: profile.listener_metadata.clone().unwrap_or_default(),
            version: version.to_owned(),
            state,
        })
    }

    /// Takes descriptor `number` from the process and hands it over.
    pub(crate) fn hand_over(&self, process: &OwnedFd, pid: i32, number: i32) -> Result<()> {
        let step = || format!("hand seccomp's listener to the agent at {}", self.socket.display());
        let flags = rustix::process::PidfdGetfdFlags::empty();
        let listener = rustix::process::pidfd_getfd(process, number, flags)
            .step(|| "take the listener of the container's filter")?;
        let mut state = self.state.clone();
        // It may have been made before the process.
        if self.state.get("pid").and_then(serde_json::Value::as_i64) == Some(0) {
            state["pid"] = pid.into();
        }
        let document = serde_json::json!({
            "ociVersion": self.version,
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": self.metadata,
            "state": state,
        });
        let address = SocketAddrUnix::new(&self.socket).step(step)?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .step(step)?;
        rustix::net::connect(&socket, &address).step(step)?;
        let text = document.to_string();
        let sent =
            sys::scm::send_with_fds(&socket, text.as_bytes(), &[listener.as_fd()]).step(step)?;
        if sent < text.len() {
            return Err(Error::Ended(format!("{}: it does not take the state", step())));
        }
        Ok(())
    }
}

/// Whether any call is to be answered by an agent.
pub(crate) fn wants(profile: &Seccomp) -> bool {
    profile.syscalls.iter().any(|rule| rule.action == NOTIFY)
}

/// Refuses what could never be answered, as runc does.
pub(crate) fn check(profile: &Seccomp) -> Result<()> {
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    if profile.default_action == NOTIFY {
        return invalid("SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let listener = profile.listener_path.as_ref().filter(|p| !p.is_empty());
    if wants(profile) {
        if listener.is_none() {
            return invalid("seccomp listenerPath is not set");
        }
        let notifies = |name: &str| {
            profile.syscalls.iter().any(|r| r.action == NOTIFY && r.names.iter().any(|n| n == name))
        };
        if notifies("write") {
            return invalid("SCMP_ACT_NOTIFY cannot be used for the write syscall");
        }
    }
    Ok(())
}

const NOTIFY: &str = "SCMP_ACT_NOTIFY";
