//! One group: a directory in every hierarchy, made, opened and written to.

mod make;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use oci::runtime::Resources;
use rustix::io::Errno;
use stdx::{Context, Error, Kind, Result};

use crate::devices::DevicePolicy;
use crate::dir::Dir;
use crate::ebpf::assemble;
use crate::hierarchy::Hierarchies;
use crate::path::GroupPath;
use crate::plan::{self, On, OnError, Present, UNIFIED, Write};

/// One container's group in every hierarchy of the host. Dropping it leaves the group as it is.
#[derive(Debug)]
pub struct Group {
    pub(crate) path: GroupPath,
    pub(crate) members: Vec<Member>,
}

/// The group's directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) dir: Dir,
    /// Whether it is in the v2 hierarchy.
    pub(crate) unified: bool,
    /// v1: those of the hierarchy; v2: those enabled for this group.
    pub(crate) controllers: Vec<String>,
}

impl Group {
    /// Makes the group `path` (such as `gantry/<id>`, relative to the root of each hierarchy) and everything above it,
    /// refuses it all devices but those allowed, and applies the limits.
    ///
    /// A leftover group of the same name without processes is made anew; one with processes is a
    /// [`Kind::Conflict`]. On any error nothing of the group itself stays behind.
    pub fn create(hierarchies: &Hierarchies, path: &str, resources: &Resources) -> Result<Self> {
        let path = GroupPath::parse(path)?;
        let policy = DevicePolicy::for_container(&resources.devices)?;
        let mut group = Self { path, members: Vec::with_capacity(hierarchies.all.len()) };
        let made = group
            .make(hierarchies, resources)
            .and_then(|()| group.deny_devices(&policy))
            .and_then(|()| group.apply(resources));
        if let Err(error) = made {
            group.forget();
            return Err(error);
        }
        Ok(group)
    }

    /// Opens a group that exists, in whichever hierarchies it does: a daemon or shim adopting a container.
    ///
    /// [`Kind::NotFound`] when it exists in none.
    pub fn open(hierarchies: &Hierarchies, path: &str) -> Result<Self> {
        let path = GroupPath::parse(path)?;
        let mut members = Vec::with_capacity(hierarchies.all.len());
        for hierarchy in &hierarchies.all {
            let Some(dir) = Dir::open_if_any(&hierarchy.mount.join(path.as_str()))? else {
                continue;
            };
            let controllers = if hierarchy.unified {
                dir.read("cgroup.controllers")?.split_whitespace().map(str::to_owned).collect()
            } else {
                hierarchy.controllers.clone()
            };
            members.push(Member { dir, unified: hierarchy.unified, controllers });
        }
        if members.is_empty() {
            return Err(Error::not_found(format!("cgroup {path} does not exist")));
        }
        Ok(Self { path, members })
    }

    /// The path beneath the root of each hierarchy.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// Moves a process, all its threads, into the group in every hierarchy.
    ///
    /// On v1 the caller does this while the process still waits. [`Kind::NotFound`] when there is no such process.
    pub fn add(&self, pid: u32) -> Result<()> {
        self.add_to(pid, |_| true)
    }

    /// As [`add`](Self::add), in the v1 hierarchies only: for a process that was born in the v2 one (`CLONE_INTO_CGROUP`
    /// with [`enter_fd`](Self::enter_fd)). Nothing is done where all is v2.
    pub fn add_v1(&self, pid: u32) -> Result<()> {
        self.add_to(pid, |member| !member.unified)
    }

    fn add_to(&self, pid: u32, which: impl Fn(&Member) -> bool) -> Result<()> {
        let pid = pid.to_string();
        for member in self.members.iter().filter(|m| which(m)) {
            member.dir.write("cgroup.procs", &pid)?;
        }
        Ok(())
    }

    /// The v2 directory for `clone3(CLONE_INTO_CGROUP)`; `None` where there is no v2 hierarchy.
    pub fn enter_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(|m| m.dir.as_fd())
    }

    /// Changes the limits that `resources` names and leaves the others. Device rules are changed when there are any. When
    /// the kernel refuses one, the limits before it are put back.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        if !resources.devices.is_empty() {
            self.update_devices(&DevicePolicy::for_container(&resources.devices)?)?;
        }
        let writes = plan::plan(resources, self)?;
        let before: Vec<_> = writes.iter().filter_map(|write| self.before(write)).collect();
        self.carry_out_all(&writes).inspect_err(|_| {
            for (dir, file, value) in before.iter().rev() {
                // Each was in force a moment ago. What is refused nevertheless is not what the user has to know.
                let _refused = dir.try_write(file, value);
            }
        })
    }

    /// What is in the file that `write` changes; `None` when there is no such file or it cannot be written back as it is.
    fn before<'a>(&'a self, write: &'a Write) -> Option<(&'a Dir, &'a str, String)> {
        let dir = &self.member_for(write.controller)?.dir;
        let file = write.files.iter().find(|file| dir.has(file))?;
        let value = dir.read(file).ok()?;
        let value = value.trim();
        (!value.contains('\n')).then(|| (dir, file.as_str(), value.to_owned()))
    }

    /// The member whose hierarchy has `controller`.
    pub(crate) fn home(&self, controller: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.controllers.iter().any(|c| c == controller))
    }

    /// The v2 member.
    pub(crate) fn unified(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.unified)
    }

    fn apply(&self, resources: &Resources) -> Result<()> {
        self.carry_out_all(&plan::plan(resources, self)?)
    }

    fn carry_out_all(&self, writes: &[Write]) -> Result<()> {
        let mut late = None;
        for write in writes {
            match self.carry_out(write) {
                Err(Errno::INVAL) if write.on_error == OnError::RetryAfterNext => {
                    late = Some(write);
                    continue;
                }
                result => result.map_err(|errno| self.explain(write, errno))?,
            }
            if let Some(write) = late.take() {
                self.carry_out(write).map_err(|errno| self.explain(write, errno))?;
            }
        }
        Ok(())
    }

    fn carry_out(&self, write: &Write) -> Result<(), Errno> {
        let member = self.member_for(write.controller).ok_or(Errno::NOENT)?;
        let mut result = Err(Errno::NOENT);
        for file in &write.files {
            result = member.dir.try_write(file, &write.value);
            if result != Err(Errno::NOENT) {
                break;
            }
        }
        match result {
            Err(Errno::NOENT) if write.on_error == OnError::IgnoreMissing => Ok(()),
            other => other,
        }
    }

    fn member_for(&self, controller: &str) -> Option<&Member> {
        if controller == UNIFIED { self.unified() } else { self.home(controller) }
    }

    fn explain(&self, write: &Write, errno: Errno) -> Error {
        let Some(member) = self.member_for(write.controller) else {
            return Error::invalid(format!(
                "the {} cgroup controller is not available",
                write.controller
            ));
        };
        let file = write.files.first().map_or("", String::as_str);
        let error = member.dir.write_error(file, &write.value, errno);
        match (write.on_error, errno) {
            (OnError::ExplainUsage, Errno::BUSY) => {
                let read = |file| {
                    member.dir.read(file).map_or_else(|_| "?".to_owned(), |t| t.trim().to_owned())
                };
                Error::invalid(format!(
                    "unable to set memory limit to {} (current usage: {}, peak usage: {})",
                    write.value,
                    read("memory.usage_in_bytes"),
                    read("memory.max_usage_in_bytes"),
                ))
                .caused_by(error)
            }
            (OnError::ExplainBudget, Errno::INVAL) => Error::invalid(format!(
                "unable to set real-time runtime to {}: it does not fit what the groups above have left of theirs, which \
                 the daemon gives them (--cpu-rt-runtime)",
                write.value
            ))
            .caused_by(error),
            (OnError::ExplainUnified, Errno::NOENT | Errno::PERM | Errno::ACCESS) => {
                let controller = file.split('.').next().unwrap_or(file);
                if member.controllers.iter().any(|c| c == controller) {
                    return error;
                }
                Error::invalid(format!(
                    "unified resource \"{file}\" can't be set: controller \"{controller}\" not available"
                ))
                .caused_by(error)
            }
            (_, Errno::NOENT) => {
                let size = write.value.len().min(64);
                let value = write.value.get(..size).unwrap_or_default();
                Error::invalid(format!("this kernel has no {file}, so \"{value}\" cannot be set"))
                    .caused_by(error)
            }
            _ => error,
        }
    }

    /// Refuses all devices but those of `policy`, in a new group.
    fn deny_devices(&self, policy: &DevicePolicy) -> Result<()> {
        if let Some(member) = self.home("devices") {
            return write_lines(&member.dir, policy.v1());
        }
        // Nothing to ask the kernel for when it would always say yes.
        if policy.allows_all() { Ok(()) } else { self.attach_devices(policy, &[]) }
    }

    fn update_devices(&self, policy: &DevicePolicy) -> Result<()> {
        if let Some(member) = self.home("devices") {
            let current = member.dir.read("devices.list")?;
            return write_lines(&member.dir, policy.v1_difference(&current));
        }
        let Some(member) = self.unified() else { return Err(no_device_control()) };
        let old = sys::bpf::DeviceProgram::attached(member.dir.as_fd())
            .context(|| format!("list device programs of {}", member.dir.path().display()))?;
        self.attach_devices(policy, &old)
    }

    fn attach_devices(&self, policy: &DevicePolicy, old: &[sys::bpf::DeviceProgram]) -> Result<()> {
        let Some(member) = self.unified() else { return Err(no_device_control()) };
        let doing = || format!("attach device program to {}", member.dir.path().display());
        let program = sys::bpf::DeviceProgram::load(&assemble(policy)).context(doing)?;
        let (replaced, rest) =
            old.split_first().map_or((None, old), |(first, rest)| (Some(first), rest));
        program.attach(member.dir.as_fd(), replaced).context(doing)?;
        for program in rest {
            program.detach(member.dir.as_fd()).context(doing)?;
        }
        Ok(())
    }
}

impl Present for Group {
    fn on(&self, controller: &str) -> Option<On> {
        if controller == UNIFIED {
            // On hybrid hosts limits are v1's: a v2 file there would be half of the truth.
            return self.members.iter().all(|m| m.unified).then_some(On::V2);
        }
        self.home(controller).map(|m| if m.unified { On::V2 } else { On::V1 })
    }

    fn current(&self, controller: &str, file: &str) -> Result<Option<String>> {
        let Some(member) = self.home(controller) else { return Ok(None) };
        Ok(member.dir.read_if_any(file)?.map(|text| text.trim().to_owned()))
    }
}

/// Writes lines to `devices.allow` and `devices.deny`, which take one rule per write.
fn write_lines(dir: &Dir, lines: Vec<(&'static str, String)>) -> Result<()> {
    let mut open = None;
    for (file, line) in lines {
        let fd = match open.take() {
            Some((name, fd)) if name == file => fd,
            _ => dir.open_for_writing(file).map_err(|e| dir.write_error(file, &line, e))?,
        };
        rustix::io::write(&fd, line.as_bytes()).map_err(|e| dir.write_error(file, &line, e))?;
        open = Some((file, fd));
    }
    Ok(())
}

fn no_device_control() -> Error {
    Error::new(
        Kind::Internal,
        "cannot restrict devices: neither a devices cgroup controller nor a cgroup v2 hierarchy is mounted",
    )
}

/// The group's directory in a hierarchy mounted at `mount`.
pub(crate) fn full(mount: &std::path::Path, path: &GroupPath) -> PathBuf {
    mount.join(path.as_str())
}
