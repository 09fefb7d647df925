//! The parent's side: what is prepared once, and one round.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::clone::{self, Clone3, Cloned};
use sys::mount::{Attributes, Context};

use crate::container::{self, Container};
use crate::groups::Groups;
use crate::link::Switch;
use crate::{Network, Options, Result};

/// Everything that a daemon would have ready.
#[derive(Debug)]
pub(crate) struct Host {
    lower: PathBuf,
    filter: Vec<u8>,
    network: Network,
    groups: Groups,
    switch: Option<Switch>,
    scratch: Scratch,
    last_link: String,
}

/// A folder that goes at the end.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

impl Host {
    pub(crate) fn prepare(options: &Options) -> Result<Self> {
        let id = std::process::id();
        sys::process::unshare(clone::NEWNS | clone::NEWNET)?;
        let private = Attributes { propagation: sys::mount::PRIVATE, ..Attributes::default() };
        sys::mount::set_attributes_at(rustix::fs::CWD, c"/", private, true)?;
        sys::process::loopback_up()?;
        let beside = options.lower.parent().unwrap_or(Path::new("/"));
        let scratch = Scratch(beside.join(format!("floor-{id}")));
        std::fs::create_dir(&scratch.0)
            .map_err(|e| format!("make {}: {e}", scratch.0.display()))?;
        for file in container::FILES {
            std::fs::write(scratch.0.join(file), "127.0.0.1 localhost\n")?;
        }
        let bridge = options.network == Network::Bridge;
        Ok(Self {
            lower: options.lower.clone(),
            filter: std::fs::read(&options.filter).map_err(|e| format!("read the filter: {e}"))?,
            network: options.network,
            groups: Groups::prepare(format!("gantry-floor-{id}"))?,
            switch: bridge.then(Switch::make).transpose()?,
            scratch,
            last_link: String::new(),
        })
    }

    /// One container from nothing to gone. What is returned is to be dropped outside of what is measured.
    ///
    /// Among it is the root file system: whoever lets go of it last waits until the whole disk is synced.
    pub(crate) fn round(&mut self, number: u32) -> Result<[OwnedFd; 2]> {
        let group = self.groups.make(&number.to_string())?;
        let upper = self.scratch.0.join("upper");
        let work = self.scratch.0.join("work");
        for dir in [&upper, &work] {
            rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))?;
        }
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
        let container = Container {
            rootfs: self.overlay(&upper, &work)?,
            files: container::open_files(&self.scratch.0)?,
            views: container::views(&group)?,
            group: &group,
            filter: &self.filter,
            network: self.network,
            wait: &wait,
        };
        let mut namespaces =
            clone::NEWNS | clone::NEWPID | clone::NEWIPC | clone::NEWUTS | clone::NEWTIME;
        if self.network != Network::Host {
            namespaces |= clone::NEWNET;
        }
        let cgroup = group.unified();
        let pidfd = match clone::clone3(Clone3 { namespaces, cgroup, sibling: false })? {
            Cloned::Child => container.become_it(),
            Cloned::Parent { pid, pidfd } => {
                if let Some(switch) = &mut self.switch {
                    self.last_link = format!("floor-{number}");
                    switch.connect(&self.last_link, pid)?;
                    rustix::io::write(&go, b"!")?;
                }
                pidfd
            }
        };
        let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let code = status.and_then(|s| s.exit_status());
        if code != Some(0) {
            return Err(format!("the container ended with {code:?}").into());
        }
        group.remove()?;
        remove_layer(&upper)?;
        remove_layer(&work)?;
        let rootfs = container.rootfs;
        Ok([pidfd, rootfs])
    }

    /// Leaves the kernel time to end the last network namespace.
    pub(crate) fn rest(&self, least: Duration) {
        let start = Instant::now();
        let gone = || !self.switch.as_ref().is_some_and(|s| s.has(&self.last_link));
        while start.elapsed() < least || (!gone() && start.elapsed() < Duration::from_secs(1)) {
            let tick = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            // A signal only makes the pause shorter.
            let _interrupted = poll(&mut [], Some(&tick));
        }
    }

    fn overlay(&self, upper: &Path, work: &Path) -> Result<OwnedFd> {
        let context = Context::open("overlay")?;
        context.set("source", "overlay")?;
        context.set("lowerdir+", &self.lower)?;
        context.set("upperdir", upper)?;
        context.set("workdir", work)?;
        for feature in ["redirect_dir", "metacopy", "index", "xino"] {
            context.set(feature, "off")?;
        }
        Ok(context.mount(0)?)
    }
}

/// Removes a writable layer in which the container made nothing but mount points.
fn remove_layer(path: &Path) -> Result<()> {
    if rustix::fs::rmdir(path).is_err() {
        std::fs::remove_dir_all(path).map_err(|e| format!("remove {}: {e}", path.display()))?;
    }
    Ok(())
}
