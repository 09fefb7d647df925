//! A detached mount, for looking into a snapshot as a container would.

use crate::Mounts;
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use std::path::{Path, PathBuf};

/// A mounted snapshot; gone when dropped.
#[derive(Debug)]
pub struct Mounted {
    _root: OwnedFd,
    path: PathBuf,
}

impl Mounted {
    /// Mounts, or panics with what the kernel says.
    pub fn new(mounts: &Mounts) -> Self {
        let root = match mounts {
            Mounts::Directory(path) => {
                rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
                    .expect("open the directory")
            }
            Mounts::Overlay { lower, upper, work } => {
                mount(lower, upper.as_deref(), work.as_deref())
            }
        };
        let path = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        Self { _root: root, path }
    }

    /// Where the tree can be seen by this process.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn mount(lower: &[PathBuf], upper: Option<&Path>, work: Option<&Path>) -> OwnedFd {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).expect("fsopen overlay");
    for path in lower {
        // Linux 6.5; the suite needs no more than the build machine's kernel.
        fsconfig_set_string(&fs, "lowerdir+", path).expect("set a lower directory");
    }
    for (option, path) in [("upperdir", upper), ("workdir", work)] {
        if let Some(path) = path {
            fsconfig_set_string(&fs, option, path).expect("set the upper directory");
        }
    }
    for option in ["redirect_dir", "metacopy", "index"] {
        fsconfig_set_string(&fs, option, "off").expect("switch a feature off");
    }
    if upper.is_none() {
        fsconfig_set_flag(&fs, "ro").expect("make it read-only");
    }
    fsconfig_create(&fs).expect("make the overlay");
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).expect("mount the overlay")
}
