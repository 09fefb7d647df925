//! `--userns-remap`: a user and a group, and the subordinate ids that the host has given them (subuid(5)).
//!
//! The host's files are read and nothing else: no name service is asked, no program is run, and no user is made. Texts are
//! dockerd's, with what to do about it.

use super::Default;
use stdx::{Error, Result};
use store::records::container::IdRange;

/// Whom `default` means, as with Docker.
const DEFAULT_USER: &str = "dockremap";

/// The kernel's bound on the lines of a map.
const MOST: usize = 340;

/// The files that say who is who.
#[derive(Debug, Clone, std::default::Default)]
pub(super) struct Files {
    pub(super) passwd: String,
    pub(super) group: String,
    pub(super) subuid: String,
    pub(super) subgid: String,
}

impl Files {
    /// As they are now; one that is not there is empty.
    pub(super) fn read() -> Self {
        let read = |path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
        let read = |path| read(path).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
            subuid: read("/etc/subuid"),
            subgid: read("/etc/subgid"),
        }
    }
}

/// Start and size of everything that the host has given to somebody.
pub(super) fn given(files: &Files) -> Vec<(u32, u32)> {
    let lines = files.subuid.lines().chain(files.subgid.lines());
    lines.filter_map(line).map(|(_, start, size)| (start, size)).collect()
}

/// What `default`, `user`, `uid`, `user:group` and `uid:gid` stand for.
pub(super) fn remap(text: &str, files: &Files) -> Result<Default> {
    let parts: Vec<&str> = text.split(':').collect();
    let (user, group) = match parts[..] {
        [user] if !user.is_empty() => (user, None),
        [user, group] if !user.is_empty() && !group.is_empty() => (user, Some(group)),
        _ => {
            return Err(Error::invalid(format!(
                "Invalid user/group specification in --userns-remap: {text:?}"
            )));
        }
    };
    let users = Names { text: &files.passwd, file: "/etc/passwd", kind: "uid" };
    let groups = Names { text: &files.group, file: "/etc/group", kind: "gid" };
    // Whom nobody can be: the ranges are all that is needed of it.
    let by_default = user == "default";
    let user = if by_default { DEFAULT_USER.to_owned() } else { users.find(user)? };
    let group = match group {
        Some(group) => groups.find(group)?,
        None if by_default => DEFAULT_USER.to_owned(),
        None => groups.find(parts[0])?,
    };
    if user == "root" {
        tracing::warn!(
            "User namespaces: root cannot be remapped with itself; user namespaces are OFF"
        );
        return Ok(Default::Host);
    }
    let uids = ranges(&files.subuid, &user, users.number(&user));
    let gids = ranges(&files.subgid, &group, groups.number(&group));
    let none = |what: &str, whose: &str, name: &str| {
        let start = free(files);
        Err(Error::invalid(format!(
            "Can't create ID mappings: no {what} ranges found for {whose} {name:?}; add the line \
             {name}:{start}:65536 to /etc/{what}, and the same for its {} if it has none",
            if whose == "user" { "group to /etc/subgid" } else { "user to /etc/subuid" }
        )))
    };
    match (mapped(&uids), mapped(&gids)) {
        (None, _) => none("subuid", "user", &user),
        (_, None) => none("subgid", "group", &group),
        (Some(uids), Some(gids)) => {
            tracing::info!(
                "User namespaces: ID ranges will be mapped to subuid/subgid ranges of: {user}"
            );
            Ok(Default::Remapped { uids, gids })
        }
    }
}

/// `/etc/passwd` or `/etc/group`.
struct Names<'a> {
    text: &'a str,
    file: &'a str,
    kind: &'a str,
}

impl Names<'_> {
    /// The name that a name or number stands for.
    fn find(&self, wanted: &str) -> Result<String> {
        let number = wanted.parse::<u32>().ok();
        let mut fields = self.text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.find(|f| match number {
            Some(number) => f.get(2).and_then(|f| f.parse::<u32>().ok()) == Some(number),
            None => f.first() == Some(&wanted),
        });
        match (found, number) {
            (Some(fields), _) => Ok(fields[0].to_owned()),
            (None, Some(number)) => {
                let (first, rest) = self.kind.split_at(1);
                let kind = first.to_ascii_uppercase() + rest;
                Err(Error::invalid(format!("{kind} {number} has no entry in {}", self.file)))
            }
            (None, None) => Err(Error::invalid(format!(
                "Error during {} lookup for {wanted:?}: no such entry in {}",
                self.kind, self.file
            ))),
        }
    }

    fn number(&self, name: &str) -> Option<String> {
        let mut lines = self.text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|f| f.first() == Some(&name))?.get(2).map(|n| (*n).to_owned())
    }
}

/// `name:start:size`; a name may be a number.
fn line(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.trim().split(':');
    let (name, start, size) = (fields.next()?, fields.next()?, fields.next()?);
    let (start, size): (u32, u32) = (start.parse().ok()?, size.parse().ok()?);
    let fits = size > 0 && start.checked_add(size).is_some() && fields.next().is_none();
    fits.then_some((name, start, size))
}

fn ranges(text: &str, name: &str, number: Option<String>) -> Vec<(u32, u32)> {
    let own = |owner: &str| owner == name || Some(owner) == number.as_deref();
    text.lines().filter_map(line).filter(|(owner, ..)| own(owner)).map(|l| (l.1, l.2)).collect()
}

/// The ranges one after the other inside, lowest first; `None` when there is none.
fn mapped(ranges: &[(u32, u32)]) -> Option<Vec<IdRange>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let (mut list, mut inside, mut end) = (Vec::new(), 0_u32, 0_u32);
    for (start, size) in sorted.into_iter().take(MOST) {
        // Named twice, or partly: what was mapped is not mapped again.
        let skip = end.saturating_sub(start);
        let Some(size) = size.checked_sub(skip).filter(|size| *size > 0) else { continue };
        let Some(next) = inside.checked_add(size) else { break };
        list.push(IdRange { inside, outside: start + skip, size });
        (inside, end) = (next, start + skip + size);
    }
    (!list.is_empty()).then_some(list)
}

/// Where nobody has anything, as useradd would choose.
fn free(files: &Files) -> u32 {
    let ends = given(files).into_iter().map(|(start, size)| start.saturating_add(size));
    ends.max().unwrap_or(0).max(100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0::/:\nann:x:1000:1000::/:\nbob:x:1001:1001::/:\n".to_owned(),
            group: "root:x:0:\nann:x:1000:\nstaff:x:50:\n".to_owned(),
            subuid: "ann:100000:65536\n# x\n1000:300000:10\nann:300005:10\n\ndockremap:200000:5\n"
                .to_owned(),
            subgid: "ann:100000:65536\nstaff:400000:7\ndockremap:200000:6:x\n".to_owned(),
        }
    }

    fn check(text: &str, want: &str) {
        let shown = |list: &[IdRange]| {
            let one = |r: &IdRange| format!("{}={}+{}", r.inside, r.outside, r.size);
            list.iter().map(one).collect::<Vec<_>>().join(",")
        };
        let got = match remap(text, &files()) {
            Ok(Default::Remapped { uids, gids }) => format!("{} {}", shown(&uids), shown(&gids)),
            Ok(other) => format!("{other:?}"),
            Err(e) => e.to_string(),
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn users_and_groups_are_found_with_their_ranges() {
        let anns = "0=100000+65536,65536=300000+10,65546=300010+5";
        check("ann", &format!("{anns} 0=100000+65536"));
        check("1000", &format!("{anns} 0=100000+65536"));
        check("ann:staff", &format!("{anns} 0=400000+7"));
        check("1000:50", &format!("{anns} 0=400000+7"));
        check("root", "Host");
        check(
            "default",
            "Can't create ID mappings: no subgid ranges found for group \"dockremap\"; add the line \
             dockremap:400007:65536 to /etc/subgid, and the same for its user to /etc/subuid if it has none",
        );
        check("ann:", "Invalid user/group specification in --userns-remap: \"ann:\"");
        check("a:b:c", "Invalid user/group specification in --userns-remap: \"a:b:c\"");
        check("zoe", "Error during uid lookup for \"zoe\": no such entry in /etc/passwd");
        check("7", "Uid 7 has no entry in /etc/passwd");
        check("ann:9", "Gid 9 has no entry in /etc/group");
        check("bob", "Error during gid lookup for \"bob\": no such entry in /etc/group");
        check(
            "bob:staff",
            "Can't create ID mappings: no subuid ranges found for user \"bob\"; add the line \
             bob:400007:65536 to /etc/subuid, and the same for its group to /etc/subgid if it has none",
        );
    }

    #[test]
    fn ranges_that_overflow_are_not_there() {
        assert_eq!(line("a:4294967295:1"), None);
        assert_eq!(line("a:1:0"), None);
        assert_eq!(line("a:1"), None);
        assert_eq!(line(" a:1:2 "), Some(("a", 1, 2)));
    }
}
