//! Whom files belong to that are copied "as the container's user" (`copyUIDGID`).

use stdx::{Error, Result};
use sys::dir::Dir;

/// The most that is read of a user database.
const MAX: usize = 1 << 20;

/// User and group of a container's `user` text: empty for root, `uid`, `uid:gid`, `name`, `name:group`. Names are looked
/// up in the container's own files, which are read and nothing else; to be run on a jailed thread.
pub(crate) fn of(root: &Dir, user: &str) -> Result<(u32, u32)> {
    let (user, group) =
        user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    if user.is_empty() && group.is_none() {
        return Ok((0, 0));
    }
    let (uid, gid) = match number(user)? {
        Some(uid) => {
            (uid, line(root, "etc/passwd", |f| f.get(2) == Some(&user))?.and_then(|l| l.1))
        }
        None => {
            let (uid, gid) = line(root, "etc/passwd", |f| f.first() == Some(&user))?
                .ok_or_else(|| unknown("user", user))?;
            (uid.ok_or_else(|| unknown("user", user))?, gid)
        }
    };
    let gid = match group {
        None => gid.unwrap_or(0),
        Some(group) => match number(group)? {
            Some(gid) => gid,
            None => line(root, "etc/group", |f| f.first() == Some(&group))?
                .and_then(|l| l.0)
                .ok_or_else(|| unknown("group", group))?,
        },
    };
    Ok((uid, gid))
}

fn unknown(what: &str, name: &str) -> Error {
    Error::invalid(format!("unable to find {what} {name}: no matching entries in passwd file"))
}

/// A number is never looked up as a name, and one that is too large is an error (CVE-2024-40635).
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= i32::MAX.unsigned_abs() => Ok(Some(id)),
        _ => Err(Error::invalid(format!("uids and gids must be in range 0-2147483647: {text}"))),
    }
}

/// Fields 3 and 4 of the first line that is wanted.
fn line(
    root: &Dir,
    path: &str,
    wanted: impl Fn(&[&str]) -> bool,
) -> Result<Option<(Option<u32>, Option<u32>)>> {
    let bytes = match root.read_file(path, MAX) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::invalid(format!("read /{path} of the container")).caused_by(e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let found = text.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| wanted(f));
    let id = |field: Option<&&str>| field.and_then(|f| f.parse().ok());
    Ok(found.map(|fields| (id(fields.get(2)), id(fields.get(3)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_the_containers() {
        let folder = std::env::temp_dir().join(format!("files-owner-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("etc/passwd"), "root:x:0:0::/:\n1000:x:0:0::/:\nme:x:7:8::/:\n")
            .unwrap();
        std::fs::write(folder.join("etc/group"), "wheel:x:10:me\n").unwrap();
        let root = Dir::open(&folder).unwrap();
        let check = |user: &str, wanted: Option<(u32, u32)>| {
            assert_eq!(of(&root, user).ok(), wanted, "{user}");
        };
        check("", Some((0, 0)));
        check("me", Some((7, 8)));
        check("me:wheel", Some((7, 10)));
        check("7", Some((7, 8)));
        check("1000", Some((1000, 0)));
        check("5:6", Some((5, 6)));
        check("nobody", None);
        check("4294967296", None);
        check("2147483648", None);
        check("me:nogroup", None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
