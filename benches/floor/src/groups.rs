//! The container's cgroup in every hierarchy that this machine has.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::Result;

/// One mounted hierarchy.
#[derive(Debug)]
struct Hierarchy {
    mount: PathBuf,
    /// The directory beneath `/sys/fs/cgroup` in a container; empty for v2.
    name: String,
    unified: bool,
}

/// The hierarchies of this machine and our own group in each, above those of the containers.
#[derive(Debug)]
pub(crate) struct Groups {
    hierarchies: Vec<Hierarchy>,
    parent: String,
    /// What an empty v1 cpuset is filled with.
    cpuset: [Vec<u8>; 2],
}

/// One container's group.
#[derive(Debug)]
pub(crate) struct Group {
    members: Vec<Member>,
}

#[derive(Debug)]
pub(crate) struct Member {
    path: PathBuf,
    pub(crate) dir: OwnedFd,
    pub(crate) name: String,
    pub(crate) unified: bool,
}

/// Nodes may be made; null, zero, full, random, urandom, tty, console, ptmx and pseudo terminals may be opened.
const DEVICES: [&[u8]; 11] = [
    b"c *:* m",
    b"b *:* m",
    b"c 1:3 rwm",
    b"c 1:5 rwm",
    b"c 1:7 rwm",
    b"c 1:8 rwm",
    b"c 1:9 rwm",
    b"c 5:0 rwm",
    b"c 5:1 rwm",
    b"c 5:2 rwm",
    b"c 136:* rwm",
];

/// `r0 = 1; exit`: a device program that says yes. What it decides is not what loading it costs.
const YES: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

impl Groups {
    /// Finds the hierarchies and makes the group that the containers' groups will be in.
    pub(crate) fn prepare(parent: String) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(mount), Some(kind)) = (words.next(), words.next()) else { continue };
            let unified = match kind {
                "cgroup" => false,
                "cgroup2" => true,
                _ => continue,
            };
            let mount = PathBuf::from(mount);
            let name = mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if mount.starts_with("/sys/fs/cgroup") && !hierarchies.iter().any(|h| h.mount == mount)
            {
                hierarchies.push(Hierarchy { mount, name, unified });
            }
        }
        if let [one] = &mut hierarchies[..] {
            one.name.clear();
        }
        let mut groups = Self { hierarchies, parent, cpuset: [Vec::new(), Vec::new()] };
        groups.make_parents()?;
        Ok(groups)
    }

    fn make_parents(&mut self) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let path = hierarchy.mount.join(&self.parent);
            std::fs::create_dir(&path).map_err(|e| format!("make {}: {e}", path.display()))?;
            if hierarchy.unified {
                // On a hybrid machine there is nothing to enable.
                let _none =
                    std::fs::write(path.join("cgroup.subtree_control"), "+cpu +memory +pids");
            } else if hierarchy.name == "cpuset" {
                for (value, file) in self.cpuset.iter_mut().zip(["cpuset.cpus", "cpuset.mems"]) {
                    *value = std::fs::read(hierarchy.mount.join(file))?.trim_ascii().to_vec();
                    std::fs::write(path.join(file), &value)?;
                }
            }
        }
        Ok(())
    }

    /// Makes one container's group, closed to all devices but the usual.
    pub(crate) fn make(&self, name: &str) -> Result<Group> {
        let mut members = Vec::with_capacity(self.hierarchies.len());
        let v2 = self.hierarchies.iter().all(|h| h.unified);
        for hierarchy in &self.hierarchies {
            let path = hierarchy.mount.join(&self.parent).join(name);
            rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(&path, flags, Mode::empty())?;
            match hierarchy.name.as_str() {
                "cpuset" => {
                    write(&dir, "cpuset.cpus", &[&self.cpuset[0]])?;
                    write(&dir, "cpuset.mems", &[&self.cpuset[1]])?;
                }
                "devices" => {
                    write(&dir, "devices.deny", &[b"a"])?;
                    write(&dir, "devices.allow", &DEVICES)?;
                }
                "pids" => write(&dir, "pids.max", &[b"max"])?,
                _ if v2 => {
                    sys::bpf::DeviceProgram::load(&YES)?.attach(dir.as_fd(), None)?;
                    write(&dir, "pids.max", &[b"max"])?;
                }
                _ => {}
            }
            let name = hierarchy.name.clone();
            members.push(Member { path, dir, name, unified: hierarchy.unified });
        }
        Ok(Group { members })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            // The error that led here was told; an empty group harms nobody.
            let _gone = std::fs::remove_dir(hierarchy.mount.join(&self.parent));
        }
    }
}

impl Group {
    /// The v2 directory, to be born in.
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.members.iter().find(|m| m.unified).map(|m| m.dir.as_fd())
    }

    /// Moves the calling process into the v1 hierarchies.
    pub(crate) fn enter(&self) -> Result<()> {
        for member in self.members.iter().filter(|m| !m.unified) {
            write(&member.dir, "tasks", &[b"0"])?;
        }
        Ok(())
    }

    /// What the container sees: the v1 hierarchies, or the one of v2.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Member> {
        let v2 = self.members.iter().all(|m| m.unified);
        self.members.iter().filter(move |m| v2 || !m.unified)
    }

    /// Removes it; nobody lives in it any more.
    pub(crate) fn remove(&self) -> Result<()> {
        for member in &self.members {
            rustix::fs::rmdir(&member.path)
                .map_err(|e| format!("remove {}: {e}", member.path.display()))?;
        }
        Ok(())
    }
}

fn write(dir: &OwnedFd, file: &str, values: &[&[u8]]) -> Result<()> {
    let fd = rustix::fs::openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    for value in values {
        rustix::io::write(&fd, value).map_err(|e| format!("write {file}: {e}"))?;
    }
    Ok(())
}
