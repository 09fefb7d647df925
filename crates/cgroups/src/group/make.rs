//! Making the directories, with what each hierarchy wants done before a process can live there.

use std::path::Path;

use oci::runtime::Resources;
use rustix::io::Errno;
use stdx::{Error, Result};

use super::{Group, Member, full};
use crate::dir::{Dir, mkdir, rmdir};
use crate::hierarchy::{Hierarchies, Hierarchy};
use crate::life::{Removed, remove_tree};
use crate::path::GroupPath;

/// Controllers that every v2 group gets where the host has them, for limits now or later and for statistics.
const USUAL: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];

impl Group {
    /// Makes the directory in every hierarchy, outer ones first.
    pub(super) fn make(&mut self, hierarchies: &Hierarchies, resources: &Resources) -> Result<()> {
        for hierarchy in &hierarchies.all {
            let member = if hierarchy.unified {
                make_v2(hierarchy, &self.path, &wanted(hierarchy, resources))?
            } else {
                make_v1(hierarchy, &self.path)?
            };
            self.members.push(member);
        }
        Ok(())
    }

    /// Removes what [`make`](Self::make) made, as well as it goes: the error that led here is the one to report.
    pub(super) fn forget(&self) {
        for member in &self.members {
            let _best_effort = rmdir(member.dir.path());
        }
    }
}

fn make_v1(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Member> {
    let cpuset = hierarchy.controllers.iter().any(|c| c == "cpuset");
    let here = full(&hierarchy.mount, path);
    match make_leaf(&here) {
        Err(Errno::NOENT) => {
            for parent in path.parents() {
                let parent = hierarchy.mount.join(parent);
                match mkdir(&parent) {
                    Ok(()) if cpuset => fill_cpuset(&Dir::open(&parent)?)?,
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(cannot_make(&parent, e)),
                }
            }
            make_leaf(&here).map_err(|e| cannot_make(&here, e))?;
        }
        result => result.map_err(|e| cannot_make(&here, e))?,
    }
    let dir = Dir::open(&here)?;
    if cpuset {
        fill_cpuset(&dir).inspect_err(|_| {
            let _best_effort = rmdir(&here);
        })?;
    }
    Ok(Member { dir, unified: false, controllers: hierarchy.controllers.clone() })
}

/// Makes one directory anew: an empty leftover, with limits nobody knows, is removed first, with all beneath it.
fn make_leaf(here: &Path) -> Result<(), Errno> {
    match mkdir(here) {
        Err(Errno::EXIST) => match remove_tree(here) {
            Ok(Removed::Gone) => mkdir(here),
            Ok(Removed::Busy) | Err(_) => Err(Errno::BUSY),
        },
        result => result,
    }
}

/// A v1 cpuset without processors or memory nodes takes no process (ENOSPC): copies both from above where empty.
fn fill_cpuset(dir: &Dir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = dir.read(file)?;
        if value.trim().is_empty() {
            let Some(above) = dir.path().parent() else { continue };
            let above = Dir::open(above)?;
            // Above may be as empty, when somebody else made it; the mount point itself never is.
            let inherited = match above.read(file)? {
                text if text.trim().is_empty() && above.has("cpuset.cpus") => {
                    fill_cpuset(&above)?;
                    above.read(file)?
                }
                text => text,
            };
            dir.write(file, inherited.trim())?;
        }
    }
    Ok(())
}

/// The controllers to enable on v2 for these resources.
fn wanted<'h>(hierarchy: &'h Hierarchy, resources: &Resources) -> Vec<&'h str> {
    let named = |controller: &str| match controller {
        "hugetlb" => !resources.hugepage_limits.is_empty(),
        "rdma" => !resources.rdma.is_empty(),
        _ => false,
    };
    let unified = |controller: &str| {
        resources
            .unified
            .keys()
            .any(|file| file.split('.').next().is_some_and(|prefix| prefix == controller))
    };
    hierarchy
        .controllers
        .iter()
        .map(String::as_str)
        .filter(|c| USUAL.contains(c) || named(c) || unified(c))
        .collect()
}

fn make_v2(hierarchy: &Hierarchy, path: &GroupPath, wanted: &[&str]) -> Result<Member> {
    let here = full(&hierarchy.mount, path);
    let controllers = enable(hierarchy, path, wanted)?;
    make_leaf(&here).map_err(|e| cannot_make(&here, e))?;
    Ok(Member { dir: Dir::open(&here)?, unified: true, controllers })
}

/// Makes the directories above the group and enables `wanted` in each; says what the group will have.
fn enable(hierarchy: &Hierarchy, path: &GroupPath, wanted: &[&str]) -> Result<Vec<String>> {
    let parents: Vec<&str> = path.parents().collect();
    // The usual case, the second container: everything is there already.
    if let Some(innermost) = parents.last()
        && let Some(dir) = Dir::open_if_any(&hierarchy.mount.join(innermost))?
    {
        let enabled = dir.read("cgroup.subtree_control")?;
        if wanted.iter().all(|w| enabled.split_whitespace().any(|e| e == *w)) {
            return Ok(enabled.split_whitespace().map(str::to_owned).collect());
        }
    }
    let mut enabled = enable_in(&Dir::open(&hierarchy.mount)?, wanted)?;
    for parent in parents {
        let parent = hierarchy.mount.join(parent);
        match mkdir(&parent) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(cannot_make(&parent, e)),
        }
        enabled = enable_in(&Dir::open(&parent)?, wanted)?;
    }
    Ok(enabled)
}

/// Enables what can be enabled for the groups beneath `dir`, and says what is.
///
/// Not everything must succeed: `cpu` is refused while real-time processes are in other groups, and what no limit asks
/// for is not missed. A limit that needs a missing controller fails with its own message.
fn enable_in(dir: &Dir, wanted: &[&str]) -> Result<Vec<String>> {
    const FILE: &str = "cgroup.subtree_control";
    let enabled = dir.read(FILE)?;
    let missing: Vec<String> = wanted
        .iter()
        .filter(|w| !enabled.split_whitespace().any(|e| e == **w))
        .map(|w| format!("+{w}"))
        .collect();
    if !missing.is_empty() && dir.try_write(FILE, &missing.join(" ")).is_err() {
        for one in &missing {
            if let Err(Errno::BUSY) = dir.try_write(FILE, one) {
                return Err(Error::internal(format!(
                    "cannot enable {one} in {}: processes live in that cgroup itself; move them into one beneath",
                    dir.path().display()
                )));
            }
        }
    }
    Ok(dir.read(FILE)?.split_whitespace().map(str::to_owned).collect())
}

fn cannot_make(path: &Path, error: Errno) -> Error {
    match error {
        Errno::BUSY => {
            Error::conflict(format!("container's cgroup is not empty: {}", path.display()))
        }
        // ENOTEMPTY is how other file systems say it; cgroup.max.descendants and depth say EAGAIN.
        Errno::AGAIN => Error::internal(format!("too many cgroups beneath {}", path.display())),
        e => Error::io(format!("make cgroup {}", path.display()), e.into()),
    }
}
