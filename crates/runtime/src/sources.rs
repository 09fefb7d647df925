//! What is opened of the host before anything of the container is mounted: root file system, bind sources, device nodes,
//! cgroup directories, all as detached mounts.
//!
//! Root opens them in the host's mount namespace, before the container's process exists. Others may only do so in a
//! mount namespace of their own, so there the container's process does it first of all.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, OFlags};

use crate::child::View;
use crate::error::{Error, Result, Step as _};
use crate::ids::IdMaps;
use crate::plan::mounts::{MountPlan, Source};
use crate::plan::{self, DeviceKind, DevicePlan, Plan};
use crate::rootfs::Rootfs;

/// Where it all comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) rootfs: Option<&'a Rootfs>,
    /// It is seen with the container's ids.
    pub(crate) mapped_rootfs: bool,
    pub(crate) cgroup: Option<&'a cgroups::Group>,
    /// The user namespace that is joined, for mounts whose ids are mapped as the container's are.
    pub(crate) user: Option<BorrowedFd<'a>>,
}

/// Detached mounts, held open.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) rootfs: OwnedFd,
    /// One an entry of `plan.mounts`.
    pub(crate) binds: Vec<Option<OwnedFd>>,
    /// One an entry of `plan.devices` in a user namespace, where nobody makes nodes; nothing elsewhere.
    pub(crate) devices: Vec<Option<OwnedFd>>,
    pub(crate) views: Vec<View>,
}

impl Sources {
    /// Opens everything that the plan names.
    pub(crate) fn open(plan: &Plan, origin: Origin<'_>) -> Result<Self> {
        let mut namespaces = Namespaces { plan, origin, made: BTreeMap::new() };
        let rootfs = match (origin.rootfs, &plan.root_path) {
            (Some(rootfs), _) if origin.mapped_rootfs => {
                rootfs.mount_mapped(namespaces.namespace(None)?)?
            }
            (Some(rootfs), _) => rootfs.mount()?,
            (None, Some(path)) if path.is_absolute() => Rootfs::Directory(path.clone()).mount()?,
            (None, _) => return Err(plan::invalid("the container has no root file system")),
        };
        let binds = plan
            .mounts
            .iter()
            .map(|mount| bind(mount, &mut namespaces))
            .collect::<Result<Vec<_>>>()?;
        let devices = match plan.has_user_namespace() && plan.fill_dev {
            true => plan.devices.iter().map(device).collect::<Result<Vec<_>>>()?,
            false => Vec::new(),
        };
        let wants_views = plan.mounts.iter().any(|m| m.source == Source::Cgroup);
        let views = match origin.cgroup {
            Some(group) if wants_views => views(group)?,
            _ => Vec::new(),
        };
        Ok(Self { rootfs, binds, devices, views })
    }

    /// Every descriptor.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let opened = self.binds.iter().chain(&self.devices).flatten().map(|fd| fd.as_fd());
        std::iter::once(self.rootfs.as_fd())
            .chain(opened)
            .chain(self.views.iter().map(|view| view.tree.as_fd()))
    }
}

/// User namespaces that mounts are mapped by, each made once.
struct Namespaces<'a> {
    plan: &'a Plan,
    origin: Origin<'a>,
    made: BTreeMap<String, OwnedFd>,
}

impl Namespaces<'_> {
    fn map(&mut self, tree: &OwnedFd, maps: Option<&IdMaps>, recursive: bool) -> Result<()> {
        let namespace = self.namespace(maps)?;
        sys::mount::map_ids(tree, namespace, recursive)
            .step(|| "map the ids of the mount (does its file system support that?)")
    }

    /// A namespace with these ids, or the container's.
    fn namespace(&mut self, maps: Option<&IdMaps>) -> Result<BorrowedFd<'_>> {
        let maps = match (maps, &self.plan.ids, self.origin.user) {
            (Some(maps), ..) | (None, Some(maps), _) => maps,
            (None, None, Some(joined)) => return Ok(joined),
            (None, None, None) => {
                return Err(plan::invalid(
                    "an id-mapped mount needs mappings of its own or a user namespace of the container",
                ));
            }
        };
        let key = format!("{maps:?}");
        if !self.made.contains_key(&key) {
            self.made.insert(key.clone(), maps.namespace()?);
        }
        Ok(self.made[&key].as_fd())
    }
}

fn bind(mount: &MountPlan, namespaces: &mut Namespaces<'_>) -> Result<Option<OwnedFd>> {
    let Source::Bind { path, inside, recursive } = &mount.source else { return Ok(None) };
    let tree = open_bind(path, inside, *recursive)?;
    if let Some(map) = &mount.id_map {
        namespaces.map(&tree, map.ids.as_ref(), map.recursive).map_err(|error| match error {
            Error::System { step, errno, cause } => {
                let step = format!("bind mount source {}: {step}", path.display());
                Error::System { step, errno, cause }
            }
            other => other,
        })?;
    }
    Ok(Some(tree))
}

fn open_bind(path: &Path, inside: &Path, recursive: bool) -> Result<OwnedFd> {
    let step = || format!("open bind mount source {}", path.display());
    if path.starts_with("/proc/self/fd") {
        return own_descriptor(path);
    }
    if inside.as_os_str().is_empty() {
        return sys::mount::clone_tree(CWD, path, recursive).step(step);
    }
    // Containers write there: links lead back inside, and what was looked up is what is mounted.
    let step = || format!("open {} in bind mount source {}", inside.display(), path.display());
    let found = sys::dir::Dir::open(path)
        .and_then(|dir| dir.open_in_root(inside, OFlags::PATH, rustix::fs::Mode::empty()))
        .step(step)?;
    sys::mount::clone_tree(&found, c"", recursive).step(step)
}

/// A bind mount source that the caller holds open: a detached mount as it is (older kernels do not copy those), anything
/// else as a copy.
fn own_descriptor(path: &Path) -> Result<OwnedFd> {
    let step = || format!("open bind mount source {}", path.display());
    match sys::mount::clone_tree(CWD, path, false) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty()).step(step)
        }
        cloned => cloned.step(step),
    }
}

/// The host's own node of a device, to be bound where the container cannot make one.
fn device(plan: &DevicePlan) -> Result<Option<OwnedFd>> {
    let wanted = match plan.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => return Ok(None),
    };
    let step = || format!("open device {} of the host", plan.path.display());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::open(&plan.path, flags, rustix::fs::Mode::empty()).step(step)?;
    let stat = rustix::fs::fstat(&node).step(step)?;
    let same = FileType::from_raw_mode(stat.st_mode) == wanted
        && stat.st_rdev == sys::process::device(plan.major, plan.minor);
    if !same {
        return Err(Error::Invalid(format!(
            "device {}: in a user namespace only devices that the host has by the same name can be used",
            plan.path.display()
        )));
    }
    sys::mount::clone_tree(&node, Path::new(""), false).step(step).map(Some)
}

fn views(group: &cgroups::Group) -> Result<Vec<View>> {
    group
        .views()
        .into_iter()
        .map(|view| {
            let tree = sys::mount::clone_tree(view.dir, c"", false)
                .step(|| format!("clone cgroup {} of {}", group.path(), view.target))?;
            Ok(View { tree, target: view.target, links: view.links })
        })
        .collect()
}
