//! The container's tree of mounts, assembled by descriptor before anything of it can be seen.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use sys::dir::Dir;
use sys::mount::{self, Attributes, Context};

use super::{Job, Procfs, View, copy_up, dev, place};
use crate::error::{Error, Result, Step as _};
use crate::plan::Plan;
use crate::plan::mounts::{Datum, MountPlan, Source};
use crate::sources::Sources;

/// `PROC_SUPER_MAGIC` (linux/magic.h).
const PROCFS: i64 = 0x9fa0;

/// From here on nothing that happens in this namespace reaches the host.
pub(super) fn cut_off() -> Result<()> {
    let slave = Attributes { propagation: mount::SLAVE, ..Attributes::default() };
    mount::set_attributes_at(CWD, c"/", slave, true).step(|| "cut the mounts off from the host's")
}

/// Attaches the root where only this mount namespace sees it and everything of the plan beneath it. Returns the root.
pub(super) fn assemble(job: &Job<'_>, sources: &Sources) -> Result<Dir> {
    // Sources of bind mounts were cloned before and keep the propagation that was asked for.
    if job.sources.is_some() {
        cut_off()?;
    }
    // Hooks look for the container's root where the specification says that it is.
    let named = job.plan.root_path.as_deref();
    let named = named.filter(|p| p.is_absolute() && job.plan.has_creating_hooks());
    let host = rustix::fs::open(
        named.unwrap_or(Path::new("/")),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step(|| "open the place of the root file system")?;
    mount::attach(&sources.rootfs, &host).step(|| "attach the root file system")?;
    let root = rustix::fs::openat(
        &sources.rootfs,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(std::io::Error::from)
    .and_then(Dir::from_fd)
    .step(|| "open the root file system")?;
    let mut tree = Tree { root, to_be_read_only: Vec::new(), has_proc: false };
    for (plan, source) in job.plan.mounts.iter().zip(&sources.binds) {
        tree.mount(plan, source.as_ref(), job.plan, &sources.views)?;
    }
    if !tree.has_proc {
        let settings = Settings::of(job.plan);
        if !settings.is_empty() {
            settings.write(&Procfs::private()?)?;
        }
    }
    if job.plan.fill_dev {
        dev::fill(&tree.root, &job.plan.devices, &sources.devices)?;
    }
    tree.finish()
}

struct Tree {
    root: Dir,
    /// tmpfs that mount points and devices are still made in.
    to_be_read_only: Vec<OwnedFd>,
    has_proc: bool,
}

impl Tree {
    fn mount(
        &mut self,
        plan: &MountPlan,
        source: Option<&OwnedFd>,
        whole: &Plan,
        views: &[View],
    ) -> Result<()> {
        let target = plan.target.as_path();
        let result = match (&plan.source, source) {
            (Source::Bind { .. }, Some(tree)) => self.bind(plan, tree),
            (Source::Bind { .. }, None) => {
                Err(Error::Invalid("the source was not opened".to_owned()))
            }
            (Source::FileSystem { kind, name, data }, _) => {
                self.file_system(plan, kind, name, data, whole)
            }
            (Source::Cgroup, _) => self.cgroup(plan, views),
        };
        result.map_err(|error| within(&describe(plan), target, error))
    }

    fn bind(&self, plan: &MountPlan, tree: &OwnedFd) -> Result<()> {
        let directory = is_directory(tree)?;
        if plan.target == Path::new("/sys") && file_system(tree)? != SYSFS {
            return Err(Error::Invalid("only a sysfs can be mounted at /sys".to_owned()));
        }
        if plan.target == Path::new("/proc") && file_system(tree)? != PROCFS {
            // Programs believe what they read there (CVE-2019-16884).
            return Err(Error::Invalid(
                "\"/proc\" cannot be mounted because it is not of type proc".to_owned(),
            ));
        }
        let target =
            if directory { self.directory(&plan.target)? } else { self.file(&plan.target)? };
        if !directory && is_directory(&target)? {
            // The kernel's own word, EINVAL, says nothing.
            return Err(rustix::io::Errno::NOTDIR).step(|| "mount a file on a directory");
        }
        self.refuse_procfs(plan, &target)?;
        apply(tree, plan)?;
        mount::attach(tree, &target).step(|| "attach")
    }

    fn file_system(
        &mut self,
        plan: &MountPlan,
        kind: &str,
        name: &str,
        data: &[Datum],
        whole: &Plan,
    ) -> Result<()> {
        let pseudo = matches!(kind, "proc" | "sysfs");
        let target = if pseudo {
            self.ordinary_directory(kind, &plan.target)?
        } else {
            self.directory(&plan.target)?
        };
        if !matches!(kind, "proc" | "binfmt_misc") {
            self.refuse_procfs(plan, &target)?;
        }
        let context = Context::open(kind).step(|| "open the file system type")?;
        context.set("source", name).step(|| format!("source={name}"))?;
        for datum in data {
            match datum {
                Datum::Flag(key) => context.set_flag(key).step(|| key.clone())?,
                Datum::Pair(key, value) => {
                    context.set(key, value.as_str()).step(|| format!("{key}={value}"))?;
                }
            }
        }
        if kind == "tmpfs"
            && !data.iter().any(|d| matches!(d, Datum::Pair(key, _) if key == "mode"))
        {
            // Who covers a directory and says nothing else means one like it, as with runc.
            let mode = rustix::fs::fstat(&target).step(|| "look at the mount point")?.st_mode;
            context.set("mode", format!("{:o}", mode & 0o7777)).step(|| "mode")?;
        }
        if let Some(label) =
            whole.mount_label.as_deref().filter(|_| !matches!(kind, "proc" | "sysfs" | "mqueue"))
        {
            context.set("context", label).step(|| format!("context={label}"))?;
        }
        let mut attributes = plan.attributes.set | plan.recursive.set;
        let later = kind == "tmpfs" && attributes & mount::RDONLY != 0;
        if later {
            attributes &= !mount::RDONLY;
        }
        let mut made = context.mount(attributes).step(|| "create")?;
        if kind == "proc" {
            self.has_proc = true;
            let procfs = Procfs::new(made);
            Settings::of(whole).write(&procfs)?;
            made = procfs.into_mount();
        }
        if plan.copy_up {
            copy_up::copy(&target, &made).step(|| "copy what it covers")?;
        }
        let propagation = plan.attributes.propagation | plan.recursive.propagation;
        if propagation & (mount::SHARED | mount::UNBINDABLE) != 0 {
            let attributes = Attributes { propagation, ..Attributes::default() };
            mount::set_attributes(&made, attributes, false).step(|| "set propagation")?;
        }
        mount::attach(&made, &target).step(|| "attach")?;
        if later {
            self.to_be_read_only.push(made);
        }
        Ok(())
    }

    /// The container's own groups: on v2 one directory, on v1 a tmpfs with a directory a hierarchy.
    fn cgroup(&mut self, plan: &MountPlan, views: &[View]) -> Result<()> {
        let target = self.directory(&plan.target)?;
        self.refuse_procfs(plan, &target)?;
        if let [View { tree, target: name, .. }] = views
            && name.is_empty()
        {
            apply(tree, plan)?;
            return mount::attach(tree, &target).step(|| "attach");
        }
        let context = Context::open("tmpfs").step(|| "open tmpfs")?;
        context.set("mode", "755").step(|| "mode=755")?;
        let made = context.mount(plan.attributes.set & !mount::RDONLY).step(|| "create")?;
        mount::attach(&made, &target).step(|| "attach")?;
        for view in views {
            let name = view.target.as_str();
            let step = || format!("show hierarchy {name}");
            rustix::fs::mkdirat(&made, name, Mode::from_raw_mode(0o755)).step(step)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = rustix::fs::openat(&made, name, flags, Mode::empty()).step(step)?;
            apply(&view.tree, plan)?;
            mount::attach(&view.tree, &place).step(step)?;
            for link in view.links.iter().filter(|l| *l != name) {
                rustix::fs::symlinkat(name, &made, link.as_str()).step(step)?;
            }
        }
        if plan.attributes.set & mount::RDONLY != 0 {
            let read_only = Attributes { set: mount::RDONLY, ..Attributes::default() };
            mount::set_attributes(&made, read_only, false).step(|| "make it read-only")?;
        }
        Ok(())
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd> {
        place::directory(&self.root, path).step(|| "open or make the mount point")
    }

    /// As [`directory`](Self::directory), but no link: that would let an image choose what gets a procfs
    /// (CVE-2019-16884, CVE-2025-54867).
    fn ordinary_directory(&self, kind: &str, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = match self.root.open_in_root(path, flags, Mode::empty()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                self.root.make_dirs(path, 0o755).step(|| "make the mount point")?;
                self.root.open_in_root(path, flags, Mode::empty())
            }
            found => found,
        };
        let found = found.step(|| "open the mount point")?;
        if !is_directory(&found)? {
            return Err(Error::Invalid(format!(
                "filesystem {kind:?} must be mounted on ordinary directory"
            )));
        }
        Ok(found)
    }

    fn file(&self, path: &Path) -> Result<OwnedFd> {
        place::file(&self.root, path).step(|| "open or make the mount point")
    }

    /// Whatever links an image has: nothing is mounted inside a procfs but what [`MountPlan`] allows by its name.
    fn refuse_procfs(&self, plan: &MountPlan, target: &OwnedFd) -> Result<()> {
        if file_system(target)? == PROCFS && !plan.target.starts_with("/proc") {
            return Err(Error::Invalid(format!("{:?} leads into /proc", plan.target.display())));
        }
        Ok(())
    }

    fn finish(self) -> Result<Dir> {
        let read_only = Attributes { set: mount::RDONLY, ..Attributes::default() };
        for made in &self.to_be_read_only {
            mount::set_attributes(made, read_only, false).step(|| "make a tmpfs read-only")?;
        }
        Ok(self.root)
    }
}

/// `SYSFS_MAGIC` (linux/magic.h).
const SYSFS: i64 = 0x6265_6572;

fn is_directory(fd: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstat(fd).step(|| "look at the file")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn file_system(fd: &OwnedFd) -> Result<i64> {
    Ok(rustix::fs::fstatfs(fd.as_fd()).step(|| "look at the file system")?.f_type)
}

/// Sets attributes while the mount is detached: later, somebody might look.
fn apply(tree: &OwnedFd, plan: &MountPlan) -> Result<()> {
    if !plan.recursive.is_empty() {
        mount::set_attributes(tree, plan.recursive, true)
            .step(|| "set attributes of all mounts")?;
    }
    if !plan.attributes.is_empty() {
        mount::set_attributes(tree, plan.attributes, false).step(|| "set attributes")?;
    }
    Ok(())
}

/// What is written through procfs.
struct Settings<'a> {
    sysctls: &'a [(String, String)],
    oom_score_adj: Option<i32>,
}

impl<'a> Settings<'a> {
    fn of(plan: &'a Plan) -> Self {
        // In a user namespace the file is not this process's any more; it was written from outside.
        let oom_score_adj = plan.process.oom_score_adj.filter(|_| !plan.has_user_namespace());
        Self { sysctls: &plan.sysctls, oom_score_adj }
    }

    fn is_empty(&self) -> bool {
        self.sysctls.is_empty() && self.oom_score_adj.is_none()
    }

    fn write(&self, procfs: &Procfs) -> Result<()> {
        if let Some(value) = self.oom_score_adj {
            procfs.set_oom_score_adj(value)?;
        }
        self.sysctls.iter().try_for_each(|(path, value)| procfs.set_sysctl(path, value))
    }
}

fn describe(plan: &MountPlan) -> String {
    match &plan.source {
        Source::Bind { path, .. } => path.display().to_string(),
        Source::FileSystem { kind, .. } => kind.clone(),
        Source::Cgroup => "cgroup".to_owned(),
    }
}

fn within(what: &str, target: &Path, error: Error) -> Error {
    let place = format!("mount {what} at {}", target.display());
    match error {
        Error::System { step, errno, cause } => {
            Error::System { step: format!("{place}: {step}"), errno, cause }
        }
        Error::Invalid(text) => Error::Invalid(format!("{place}: {text}")),
        other => other,
    }
}
