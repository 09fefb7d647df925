//! Docker's user strings (`name`, `uid`, `name:group`, `uid:gid`) looked up in the container's own files.
//!
//! The rules are those of moby/sys/user except where they let an image become root by accident: a string of digits is
//! a number and never a name, a number outside 0..=2147483647 is an error and never wraps or falls back to a name
//! (CVE-2016-3697, CVE-2024-40635, CVE-2026-46680), and a line whose ids are no numbers counts for nothing instead of
//! for uid 0. The files are text of somebody else: read with a limit, never waited for.

use std::collections::BTreeSet;
use std::io;

use rustix::fs::{Mode, OFlags};
use sys::dir::Dir;

use crate::error::{Error, Result, Step as _};

/// The largest id (security design, R8).
const MAX_ID: u32 = i32::MAX as u32;
/// No user or group file is read beyond this many bytes.
const MAX_FILE: usize = 1 << 20;

/// Who a process is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the group itself among them (CVE-2022-36109).
    pub(crate) groups: Vec<u32>,
    /// For `HOME` when the environment has none.
    pub(crate) home: String,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// These very ids.
    Ids { uid: u32, gid: u32 },
    /// A Docker user string, taken apart.
    Docker { user: Option<Name>, group: Option<Name> },
}

/// A name or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Number(u32),
    Text(String),
}

impl Wanted {
    /// Takes a Docker user string apart.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        if user.is_empty() && !group.is_empty() {
            return Err(Error::User(format!(
                "invalid user {text:?}: there is no user before the colon"
            )));
        }
        if text.bytes().any(|b| b == b'\n' || b == 0) || group.contains(':') {
            return Err(Error::User(format!("invalid user {text:?}")));
        }
        Ok(Self::Docker { user: name(user)?, group: name(group)? })
    }
}

/// Reads a name or number; nothing for an empty one.
pub(crate) fn name(text: &str) -> Result<Option<Name>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    Ok(match digits {
        "" if text.is_empty() => None,
        // Also what looks like a number must not be found as a name: "-1:x:0:0".
        _ if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let number = text.parse::<u32>().ok().filter(|n| *n <= MAX_ID && text == digits);
            Some(Name::Number(number.ok_or_else(out_of_range)?))
        }
        _ => Some(Name::Text(text.to_owned())),
    })
}

/// Finds out who `wanted` is in the container with this root.
pub(crate) fn resolve(
    root: &Dir,
    wanted: &Wanted,
    extra: &[u32],
    extra_names: &[Name],
) -> Result<Identity> {
    let passwd = || read(root, "etc/passwd");
    let group = || read(root, "etc/group");
    let mut identity = match wanted {
        // The files are not needed to become somebody, but HOME comes from them.
        Wanted::Ids { uid, gid } => Identity {
            uid: *uid,
            gid: *gid,
            groups: Vec::new(),
            home: passwd()
                .ok()
                .and_then(|text| entry(&text, &Name::Number(*uid)))
                .map_or_else(root_home, |e| e.home),
        },
        Wanted::Docker { user, group: wanted_group } => {
            look_up(user.as_ref(), wanted_group.as_ref(), &passwd()?, &mut || group())?
        }
    };
    let mut groups: BTreeSet<u32> = identity.groups.iter().chain(extra).copied().collect();
    if !extra_names.is_empty() {
        let text = group()?;
        for name in extra_names {
            let not_found = |n: &str| {
                Error::User(format!("Unable to find group {n}: no matching entries in group file"))
            };
            groups.insert(match name {
                Name::Number(gid) => *gid,
                Name::Text(n) => group_named(&text, name).ok_or_else(|| not_found(n))?,
            });
        }
    }
    // Kept for ids of the specification too only when it names groups: an empty list there means none at all.
    if matches!(wanted, Wanted::Docker { .. }) {
        groups.insert(identity.gid);
    }
    identity.groups = groups.into_iter().collect();
    Ok(identity)
}

/// One line of a user file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn look_up(
    user: Option<&Name>,
    group: Option<&Name>,
    passwd: &str,
    group_file: &mut dyn FnMut() -> Result<String>,
) -> Result<Identity> {
    let found = entry(passwd, user.unwrap_or(&Name::Number(0)));
    let mut identity = match (&found, user) {
        (Some(e), _) => {
            Identity { uid: e.uid, gid: e.gid, groups: Vec::new(), home: e.home.clone() }
        }
        (None, None) => Identity { uid: 0, gid: 0, groups: Vec::new(), home: root_home() },
        (None, Some(Name::Number(uid))) => {
            Identity { uid: *uid, gid: 0, groups: Vec::new(), home: root_home() }
        }
        (None, Some(Name::Text(name))) => {
            return Err(Error::User(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    match (group, found) {
        (Some(Name::Number(gid)), _) => identity.gid = *gid,
        (Some(Name::Text(name)), _) => {
            identity.gid =
                group_named(&group_file()?, &Name::Text(name.clone())).ok_or_else(|| {
                    Error::User(format!(
                        "unable to find group {name}: no matching entries in group file"
                    ))
                })?;
        }
        // Supplementary groups count in the implicit form only.
        (None, Some(entry)) => identity.groups = groups_of(&group_file()?, &entry.name),
        (None, None) => {}
    }
    Ok(identity)
}

/// The first entry of a user; by number, or by name.
fn entry(passwd: &str, wanted: &Name) -> Option<Entry> {
    lines(passwd).find_map(|line| {
        // name:password:uid:gid:comment:home:shell
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let matches = match wanted {
            Name::Number(number) => uid == *number,
            Name::Text(text) => name == text,
        };
        let home = fields.nth(1).filter(|h| !h.is_empty()).unwrap_or("/").to_owned();
        matches.then(|| Entry { name: name.to_owned(), uid, gid, home })
    })
}

fn group_named(group: &str, wanted: &Name) -> Option<u32> {
    lines(group).find_map(|line| {
        // name:password:gid:members
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        let matches = match wanted {
            Name::Number(number) => gid == *number,
            Name::Text(text) => name == text,
        };
        matches.then_some(gid)
    })
}

fn groups_of(group: &str, user: &str) -> Vec<u32> {
    lines(group)
        .filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let gid = id(fields.next()?)?;
            fields.next()?.split(',').any(|member| member.trim() == user).then_some(gid)
        })
        .collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|n| *n <= MAX_ID && text.bytes().all(|b| b.is_ascii_digit()))
}

/// A user or group file as text; one that is missing or no regular file counts as empty, one that is too long is an
/// error: half of it would give half of the groups.
fn read(root: &Dir, path: &str) -> Result<String> {
    if is_of_procfs(root, path) {
        return Ok(String::new());
    }
    match root.read_file(path, MAX_FILE) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::InvalidData && e.to_string().contains("longer") => {
            Err(Error::User(format!("/{path} in the container: {e}")))
        }
        Err(e) => match e.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            None
            | Some(
                rustix::io::Errno::NOENT
                | rustix::io::Errno::NOTDIR
                | rustix::io::Errno::LOOP
                | rustix::io::Errno::NXIO,
            ) => Ok(String::new()),
            Some(_) => Err(e).step(|| format!("read /{path} in the container")),
        },
    }
}

/// Whether a link leads to a file of procfs, which only looks regular: reading `/proc/kmsg` would take the kernel's
/// messages from whoever waits for them.
fn is_of_procfs(root: &Dir, path: &str) -> bool {
    /// `PROC_SUPER_MAGIC` (linux/magic.h).
    const PROCFS: i64 = 0x9fa0;
    root.open_in_root(path, OFlags::PATH, Mode::empty())
        .and_then(|fd| Ok(rustix::fs::fstatfs(fd)?))
        .is_ok_and(|stat| stat.f_type == PROCFS)
}

fn root_home() -> String {
    "/".to_owned()
}

fn out_of_range() -> Error {
    Error::User(format!("uids and gids must be in range 0-{MAX_ID}"))
}

#[cfg(test)]
mod tests;
