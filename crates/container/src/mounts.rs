//! The sources of a container's mounts, looked after before it starts.

use std::path::Path;
use stdx::{Context as _, Error, Kind, Result};
use store::records::container::{MountKind, MountPoint};

/// Makes the sources that `-v` lets be missing, and refuses propagation that the source's own mount cannot have.
pub(crate) fn prepare(points: &[MountPoint]) -> Result<()> {
    for point in points.iter().filter(|p| p.kind == MountKind::Bind) {
        if point.create_source {
            make_missing_source(&point.source)?;
        }
    }
    let wanted = |p: &&MountPoint| p.kind == MountKind::Bind && !is_private(&p.propagation);
    let mut spreading = points.iter().filter(wanted).peekable();
    if spreading.peek().is_none() {
        return Ok(());
    }
    let mountinfo =
        std::fs::read_to_string("/proc/self/mountinfo").context(|| "read the host's mounts")?;
    for point in spreading {
        let source = std::fs::canonicalize(&point.source)
            .context(|| format!("find {}", point.source.display()))?;
        check_propagation(&mountinfo, &source, &point.propagation)?;
    }
    Ok(())
}

fn is_private(propagation: &str) -> bool {
    matches!(propagation, "" | "private" | "rprivate")
}

/// As a directory of root, like Docker.
fn make_missing_source(source: &Path) -> Result<()> {
    match std::fs::create_dir_all(source) {
        // A file, a socket.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::new(
            Kind::InvalidArgument,
            format!("error while creating mount source path '{}'", source.display()),
        )
        .caused_by(e)),
        Ok(()) => Ok(()),
    }
}

/// The mount that holds `source` must be shared for `shared`, and shared or a slave for `slave` (texts are Docker's).
fn check_propagation(mountinfo: &str, source: &Path, wanted: &str) -> Result<()> {
    let Some((place, tags)) = holding(mountinfo, source) else { return Ok(()) };
    let has = |tag: &str| tags.iter().any(|t| t.starts_with(tag));
    let (fits, what) = match wanted {
        "shared" | "rshared" => (has("shared:"), "shared"),
        _ => (has("shared:") || has("master:"), "shared or slave"),
    };
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "path {} is mounted on {place} but it is not a {what} mount",
        source.display()
    )))
}

/// The place of the mount that `path` is on and its optional fields (proc_pid_mountinfo(5)); of several at one place the
/// last.
fn holding<'a>(mountinfo: &'a str, path: &Path) -> Option<(String, Vec<&'a str>)> {
    let mut best: Option<(String, Vec<&str>)> = None;
    for line in mountinfo.lines() {
        let mut fields = line.split(' ');
        let place = unescape(fields.nth(4)?);
        let tags: Vec<&str> = fields.skip(1).take_while(|f| *f != "-").collect();
        let longer = best.as_ref().is_none_or(|(b, _)| place.len() >= b.len());
        if path.starts_with(&place) && longer {
            best = Some((place, tags));
        }
    }
    best
}

/// Spaces, tabs, newlines and backslashes are written in octal.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 25 0:30 / /mnt rw shared:5 - tmpfs none rw
31 30 0:31 / /mnt/a\\040b rw master:5 - tmpfs none rw
32 25 0:32 / /both rw shared:7 master:5 - tmpfs none rw";

    #[test]
    fn propagation_is_that_of_the_mount_below() {
        let check = |path: &str, wanted: &str| {
            check_propagation(MOUNTS, Path::new(path), wanted).err().map(|e| e.to_string())
        };
        assert_eq!(check("/mnt/x", "rshared"), None);
        assert_eq!(check("/both/x", "shared"), None);
        assert_eq!(check("/both/x", "slave"), None);
        assert_eq!(check("/mnt/a b/c", "rslave"), None);
        assert_eq!(
            check("/mnt/a b/c", "shared").unwrap(),
            "path /mnt/a b/c is mounted on /mnt/a b but it is not a shared mount"
        );
        assert_eq!(
            check("/mntx", "rslave").unwrap(),
            "path /mntx is mounted on / but it is not a shared or slave mount"
        );
    }
}
