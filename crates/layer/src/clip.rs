//! What a name in an archive means: where it is, and whether it is a whiteout. Pure.

use stdx::{Error, Result};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own files, in layers of its time.
const META: &[u8] = b".wh..wh.";

/// A name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The layer's root directory itself.
    Root,
    /// An entry `name` in the directory `parent` (empty for the root, no slashes at its ends).
    Entry { parent: Vec<u8>, name: Vec<u8> },
    /// `name` in `parent` of the layers below does not exist any more.
    Whiteout { parent: Vec<u8>, name: Vec<u8> },
    /// Nothing in `dir` of the layers below shows through.
    Opaque { dir: Vec<u8> },
    /// Not for us.
    Meta,
}

/// The name as the path that it has beneath the root: `.` dropped, `..` taken back but never above the root, as GNU tar
/// and Docker clean names before anything else.
pub(crate) fn clipped(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    kept.join(&b'/')
}

/// Directory and last name; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(
        path.iter().rposition(|b| *b == b'/').map_or((&[], path), |i| (&path[..i], &path[i + 1..])),
    )
}

/// Takes a name from an archive apart. Whiteouts are read literally: only the last component can be one, and what it
/// hides must be a name (`.wh..`, `.wh...` and `.wh.` would mean the directory itself, its parent, or nothing).
pub(crate) fn parse(path: &[u8]) -> Result<Name> {
    let clean = clipped(path);
    if clean.split(|b| *b == b'/').any(|c| c.starts_with(META) && c != OPAQUE) {
        return Ok(Name::Meta);
    }
    let Some((parent, name)) = split(&clean) else { return Ok(Name::Root) };
    if parent.split(|b| *b == b'/').any(|c| c.starts_with(WHITEOUT)) {
        return Err(Error::invalid("a whiteout used as a directory"));
    }
    let parent = parent.to_vec();
    if name == OPAQUE {
        return Ok(Name::Opaque { dir: parent });
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Name::Entry { parent, name: name.to_vec() }),
        Some(b"" | b"." | b"..") => Err(Error::invalid("a whiteout of no name")),
        Some(hidden) => Ok(Name::Whiteout { parent, name: hidden.to_vec() }),
    }
}

/// A name from an archive as a path below the directory `into`, taken literally. The directory itself is not for the
/// archive to describe; a name that leads out of it is refused in Docker's words.
pub(crate) fn below(into: &[u8], path: &[u8]) -> Result<Name> {
    let whole = inside(into, path).ok_or_else(|| {
        Error::invalid(format!(
            "{:?} is outside of {:?}",
            String::from_utf8_lossy(path),
            String::from_utf8_lossy(&[b"/", into].concat())
        ))
    })?;
    if whole == into {
        return Ok(Name::Meta);
    }
    let (parent, name) = split(&whole).ok_or_else(|| Error::invalid("an entry without a name"))?;
    Ok(Name::Entry { parent: parent.to_vec(), name: name.to_vec() })
}

/// `path` below `into`; `None` when it leads out of it. An absolute one begins there.
pub(crate) fn inside(into: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.pop().is_none() && !path.starts_with(b"/") => return None,
            b".." => {}
            other => kept.push(other),
        }
    }
    if !into.is_empty() {
        kept.insert(0, into);
    }
    Some(kept.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_directory() {
        let check = |into: &str, path: &str, wanted: Option<&str>| {
            let found = inside(into.as_bytes(), path.as_bytes());
            assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "{into} {path}");
        };
        check("o", "a/./b/", Some("o/a/b"));
        check("o", "/abs", Some("o/abs"));
        check("o", "/../abs", Some("o/abs"));
        check("o", "a/../b", Some("o/b"));
        check("o", "../b", None);
        check("o", "a/../../b", None);
        check("", "x", Some("x"));
        check("o", "./", Some("o"));
        assert_eq!(below(b"o", b"./").unwrap(), Name::Meta);
        let wanted = Name::Entry { parent: b"o/a".to_vec(), name: b".wh.b".to_vec() };
        assert_eq!(below(b"o", b"a/.wh.b").unwrap(), wanted);
        let error = below(b"o", b"../../esc1").unwrap_err();
        assert_eq!(error.to_string(), "\"../../esc1\" is outside of \"/o\"");
    }

    #[test]
    fn names() {
        let show = |path: &str| match parse(path.as_bytes()) {
            Err(e) => format!("error: {e}"),
            Ok(name) => {
                let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
                match name {
                    Name::Root => "root".into(),
                    Name::Meta => "meta".into(),
                    Name::Opaque { dir } => format!("opaque {}", text(dir)),
                    Name::Entry { parent, name } => format!("{} in [{}]", text(name), text(parent)),
                    Name::Whiteout { parent, name } => {
                        format!("no {} in [{}]", text(name), text(parent))
                    }
                }
            }
        };
        for (path, expected) in [
            ("a", "a in []"),
            ("./a//b/./c/", "c in [a/b]"),
            ("/etc/passwd", "passwd in [etc]"),
            ("../../etc/shadow", "shadow in [etc]"),
            ("a/../../b", "b in []"),
            (".", "root"),
            ("./", "root"),
            ("/", "root"),
            ("..", "root"),
            ("a/..", "root"),
            ("a/.wh.b", "no b in [a]"),
            (".wh.b", "no b in []"),
            ("a/.wh..wh..opq", "opaque a"),
            (".wh..wh..opq", "opaque "),
            (".wh..wh.plnk/123", "meta"),
            ("a/.wh..wh.aufs", "meta"),
            (".wh..b", "no .b in []"),
            (".wh.", "error: a whiteout of no name"),
            (".wh..", "error: a whiteout of no name"),
            (".wh...", "error: a whiteout of no name"),
            (".wh./x", "error: a whiteout used as a directory"),
            ("a/.wh.b/c", "error: a whiteout used as a directory"),
            (".wh..wh..opq/x", "error: a whiteout used as a directory"),
        ] {
            assert_eq!(show(path), expected, "{path}");
        }
    }
}
