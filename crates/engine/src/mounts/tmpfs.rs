//! `--tmpfs PATH[:OPTIONS]`

use super::{destination, volume_point};
use stdx::{Error, Result};
use store::records::container::{MountKind, MountPoint};

/// A tmpfs without options.
pub(super) fn point() -> MountPoint {
    MountPoint {
        kind: MountKind::Tmpfs,
        driver: None,
        copy_up: false,
        anonymous: false,
        ..volume_point("")
    }
}

pub(super) fn parse(target: &str, options: &str) -> Result<MountPoint> {
    let mut point = MountPoint { destination: destination(target)?, ..point() };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let name = option.split('=').next().unwrap_or_default();
        match name {
            // No kernel takes it, and its error would look like ours.
            _ if option.contains('\0') => {
                return Err(Error::invalid(format!("invalid tmpfs option [{option:?}]")));
            }
            "ro" => point.rw = false,
            "rw" => point.rw = true,
            "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" | "exec"
            | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "sync" | "async" | "dirsync"
            | "noatime" | "nodiratime" | "relatime" | "strictatime" | "atime" | "diratime"
            | "norelatime" | "nostrictatime" | "private" | "rprivate" | "shared" | "rshared"
            | "slave" | "rslave" | "unbindable" | "runbindable" => {
                point.options.push(option.to_owned());
            }
            _ => return Err(Error::invalid(format!("invalid tmpfs option {option:?}"))),
        }
    }
    Ok(point)
}
