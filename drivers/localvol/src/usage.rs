//! What is in a volume, in bytes. Containers write it, so it is walked by descriptor: a link swapped in leads nowhere.

use rustix::fs::FileType;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use sys::dir::Dir;

/// Deeper trees are not entered: each level holds a descriptor, and a container may nest as deep as it likes.
const MAX_DEPTH: usize = 512;

/// The lengths of all files below `path`, as `docker system df -v` counts a volume.
pub(crate) fn of(path: &Path) -> io::Result<u64> {
    let top = Dir::open(path)?;
    let mut bytes = 0;
    let mut linked = HashSet::new();
    let names = top.names()?;
    let mut stack: Vec<(Dir, Vec<OsString>)> = vec![(top, names)];
    while let Some(depth) = stack.len().checked_sub(1) {
        let (dir, names) = &mut stack[depth];
        let Some(name) = names.pop() else {
            stack.pop();
            continue;
        };
        let Ok(stat) = dir.stat(&name) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if depth < MAX_DEPTH
                && let Ok(child) = dir.child(&name)
            {
                let names = child.names()?;
                stack.push((child, names));
            }
        } else if stat.st_nlink <= 1 || linked.insert((stat.st_dev, stat.st_ino)) {
            bytes += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
    Ok(bytes)
}
