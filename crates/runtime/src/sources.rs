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
        let rootfs = match (origin.rootfs, &plan.root_path) {
            (Some(rootfs), _) => rootfs.mount()?,
            (None, Some(path)) if path.is_absolute() => Rootfs::Directory(path.clone()).mount()?,
            (None, _) => return Err(plan::invalid("the container has no root file system")),
        };
        let mut namespaces = Namespaces { plan, origin, made: BTreeMap::new() };
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
        let step = || "map the ids of the mount (does its file system support that?)";
        let maps = match (maps, &self.plan.ids, self.origin.user) {
            (Some(maps), ..) | (None, Some(maps), _) => maps,
            (None, None, Some(joined)) => {
                return sys::mount::map_ids(tree, joined, recursive).step(step);
            }
            (None, None, None) => {
                return Err(plan::invalid(
                    "an id-mapped mount needs mappings of its own or a user namespace of the container",
                ));
            }
        };
        let key = format!("{maps:?}");
        let namespace = match self.made.get(&key) {
            Some(namespace) => namespace,
            None => self.made.entry(key).or_insert(maps.namespace()?),
        };
        sys::mount::map_ids(tree, namespace, recursive).step(step)
    }
}

fn bind(mount: &MountPlan, namespaces: &mut Namespaces<'_>) -> Result<Option<OwnedFd>> {
    let Source::Bind { path, recursive } = &mount.source else { return Ok(None) };
    let tree = sys::mount::clone_tree(CWD, path.as_path(), *recursive)
        .step(|| format!("open bind mount source {}", path.display()))?;
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
