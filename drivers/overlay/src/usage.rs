//! What is in a directory tree.

use rustix::fs::FileType;
use snapshot::Usage;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use sys::dir::Dir;

/// Deeper trees are not entered: each level holds a descriptor, and a container may nest as deep as it likes.
const MAX_DEPTH: usize = 512;

/// Counts the tree at `path`, itself included; what disappears meanwhile is not counted.
pub(crate) fn of(path: &Path) -> std::io::Result<Usage> {
    let top = Dir::open(path)?;
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    count(&mut usage, &top.stat_self()?);
    let mut stack: Vec<(Dir, Vec<OsString>)> = Vec::new();
    let names = top.names()?;
    stack.push((top, names));
    while let Some(depth) = stack.len().checked_sub(1) {
        let (dir, names) = &mut stack[depth];
        let Some(name) = names.pop() else {
            stack.pop();
            continue;
        };
        let Ok(stat) = dir.stat(&name) else { continue };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_dir && stat.st_nlink > 1 && !linked.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        count(&mut usage, &stat);
        if is_dir
            && depth < MAX_DEPTH
            && let Ok(child) = dir.child(&name)
        {
            let names = child.names()?;
            stack.push((child, names));
        }
    }
    Ok(usage)
}

fn count(usage: &mut Usage, stat: &rustix::fs::Stat) {
    usage.inodes += 1;
    // What is in files and links, as Docker counts it: a directory's own blocks depend on the file system beneath.
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
    }
}
