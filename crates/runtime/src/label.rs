//! Labels of security modules, put on at exec: AppArmor profiles and SELinux contexts.

use std::os::fd::OwnedFd;

use oci::runtime::Process;
use rustix::fs::OFlags;

use crate::child::Procfs;
use crate::error::{Error, Result, Step as _};

/// What a process is to be labelled with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

impl Labels {
    /// Reads `process` of a specification.
    pub(crate) fn from_spec(process: &Process) -> Self {
        let wanted = |label: &Option<String>| label.clone().filter(|l| !l.is_empty());
        Self {
            apparmor: wanted(&process.apparmor_profile),
            selinux: wanted(&process.selinux_label),
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses labels of a module that this kernel does not run, in runc's words: leaving them out would leave the
    /// process less confined than it was asked to be.
    pub(crate) fn check(&self) -> Result<()> {
        let unconfined = self.apparmor.as_deref() == Some("unconfined");
        if self.apparmor.is_some() && !unconfined && !apparmor_is_active() {
            return Err(Error::Invalid(
                "unable to apply apparmor profile: apparmor: config provided but apparmor not supported"
                    .to_owned(),
            ));
        }
        if self.selinux.is_some() {
            check_selinux()?;
        }
        Ok(())
    }

    /// Opens what [`put`](Prepared::put) writes to, through a procfs of our own.
    pub(crate) fn prepare(&self) -> Result<Prepared> {
        let mut prepared = Prepared(Vec::new());
        if self.is_empty() {
            return Ok(prepared);
        }
        let procfs = Procfs::private()?;
        if let Some(profile) = self.apparmor.as_deref()
            && apparmor_is_active()
        {
            let step = || "open the process's AppArmor attribute";
            let file = match procfs.open("self/attr/apparmor/exec", OFlags::WRONLY) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    procfs.open("self/attr/exec", OFlags::WRONLY)
                }
                file => file,
            };
            prepared.0.push((file.step(step)?, format!("exec {profile}")));
        }
        if let Some(label) = &self.selinux {
            let file = procfs.open("self/attr/exec", OFlags::WRONLY);
            prepared.0.push((file.step(|| "open the process's SELinux attribute")?, label.clone()));
        }
        Ok(prepared)
    }
}

/// Attributes held open until exec.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<(OwnedFd, String)>);

impl Prepared {
    /// Has the next exec put the labels on.
    pub(crate) fn put(&self) -> Result<()> {
        self.0.iter().try_for_each(|(file, value)| {
            rustix::io::write(file, value.as_bytes())
                .step(|| format!("put on the label {value:?}"))
                .map(drop)
        })
    }
}

/// Refuses a label of SELinux where it is not active.
pub(crate) fn check_selinux() -> Result<()> {
    /// `SELINUX_MAGIC` (linux/magic.h).
    const SELINUX: i64 = 0xf97c_ff8c;
    if rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|stat| stat.f_type == SELINUX) {
        return Ok(());
    }
    Err(Error::Invalid(
        "selinux label is specified in config, but selinux is disabled or not supported".to_owned(),
    ))
}

fn apparmor_is_active() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}
