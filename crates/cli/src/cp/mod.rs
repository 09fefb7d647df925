//! `cp`: what its two arguments mean, and archives from and to the local disk.
//!
//! The rules about names are Docker's ("docker cp", the table of what happens when which side exists); the functions
//! here are pure but for [`pack`] and [`unpack`].

pub(crate) mod pack;
pub(crate) mod unpack;

use crate::exit::{Failure, Result};

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// A path here, or `-`.
    Local(String),
    /// A path in a container.
    Container { name: String, path: String },
}

impl Side {
    /// `CONTAINER:PATH`, or a local path: absolute ones are, and so is what has no colon, or begins with a dot.
    pub(crate) fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with('/') && !name.starts_with('.') => {
                Self::Container { name: name.to_owned(), path: path.to_owned() }
            }
            _ => Self::Local(text.to_owned()),
        }
    }
}

/// What is known of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) path: String,
    pub(crate) exists: bool,
    pub(crate) is_dir: bool,
    /// What the top of the archive shall be called instead.
    pub(crate) rebase: String,
}

/// Where an archive is unpacked, and how the names in it change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) dir: String,
    /// The first occurrence of the one becomes the other.
    pub(crate) rename: Option<(String, String)>,
}

/// Puts an archive of `source` at `target`.
pub(crate) fn place(source: &Info, target: &Info) -> Result<Placed> {
    let (dir, base) = split(&target.path);
    let own = split(&source.path).1;
    let own = if source.rebase.is_empty() { own } else { source.rebase.clone() };
    let renamed = |dir| Ok(Placed { dir, rename: Some((own.clone(), base.clone())) });
    match () {
        () if target.exists && target.is_dir => {
            Ok(Placed { dir: target.path.clone(), rename: None })
        }
        () if target.exists && source.is_dir => Err(Failure::new("cannot copy directory")),
        () if target.exists || source.is_dir => renamed(dir),
        () if wants_directory(&target.path) => Err(Failure::new("no such directory")),
        () => renamed(dir),
    }
}

/// A name in an archive after its renaming.
pub(crate) fn renamed(name: &[u8], rename: Option<&(String, String)>) -> Vec<u8> {
    let Some((old, new)) = rename else { return name.to_vec() };
    // The root's own archive has absolute names.
    let old = if old == "/" { "" } else { old };
    let at = name.windows(old.len().max(1)).position(|w| old.is_empty() || w == old.as_bytes());
    match at {
        Some(at) => [&name[..at], new.as_bytes(), &name[at + old.len()..]].concat(),
        None => name.to_vec(),
    }
}

/// The directory (with its slash) and the last name, `.` where the path ends so.
pub(crate) fn split(path: &str) -> (String, String) {
    let mut clean = clean(path);
    if path.rsplit('/').next() == Some(".") {
        clean.push_str("/.");
    }
    match clean.rfind('/') {
        Some(slash) => (clean[..=slash].to_owned(), clean[slash + 1..].to_owned()),
        None => (String::new(), clean),
    }
}

/// A path that ends in a slash or a dot must be a directory.
pub(crate) fn wants_directory(path: &str) -> bool {
    path.ends_with('/') || path.rsplit('/').next() == Some(".")
}

/// As Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if is_absolute => {}
            part => kept.push(part),
        }
    }
    match (is_absolute, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}

/// `clean`, with what the end of `path` means kept.
pub(crate) fn keep_end(clean: String, path: &str) -> String {
    match () {
        () if path.rsplit('/').next() == Some(".") && clean.rsplit('/').next() != Some(".") => {
            format!("{}/.", clean.trim_end_matches('/'))
        }
        () if path.ends_with('/') && !clean.ends_with('/') => clean + "/",
        () => clean,
    }
}

/// A local path, absolute.
pub(crate) fn absolute(path: &str) -> Result<String> {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", std::env::current_dir()?.display())
    };
    Ok(keep_end(clean(&whole), path))
}

/// A link was followed: the path that it leads to, ending as the asked one, and the name that the archive's top keeps.
pub(crate) fn followed(asked: &str, leads_to: &str) -> (String, String) {
    let target = keep_end(leads_to.to_owned(), asked);
    let (old, new) = (split(asked).1, split(&target).1);
    let rebase = if old == new { String::new() } else { old };
    (target, rebase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        let container = |name: &str, path: &str| Side::Container {
            name: name.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(Side::parse("c:/x"), container("c", "/x"));
        assert_eq!(Side::parse("c:"), container("c", ""));
        assert_eq!(Side::parse("c:a:b"), container("c", "a:b"));
        for local in ["/a:b", "./c:d", "../c:d", "plain", "-"] {
            assert_eq!(Side::parse(local), Side::Local(local.to_owned()));
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let check = |path: &str, dir: &str, base: &str| {
            assert_eq!(split(path), (dir.to_owned(), base.to_owned()), "{path}");
        };
        check("/a/b", "/a/", "b");
        check("/a/b/", "/a/", "b");
        check("/a/b/.", "/a/b/", ".");
        check("/a", "/", "a");
        check("a", "", "a");
        assert_eq!(clean("a/../../b/./c//"), "../b/c");
        assert_eq!(clean("/../a"), "/a");
        assert_eq!(keep_end("/a".to_owned(), "x/."), "/a/.");
        assert_eq!(keep_end("/a".to_owned(), "x/"), "/a/");
    }

    #[test]
    fn every_pair_of_sides_is_decided() {
        let info = |path: &str, kind: char| Info {
            path: path.to_owned(),
            exists: kind != '-',
            is_dir: kind == 'd',
            rebase: String::new(),
        };
        let check = |source: Info, target: Info, wanted: &str| {
            let text = match place(&source, &target) {
                Ok(Placed { dir, rename: None }) => dir,
                Ok(Placed { dir, rename: Some((old, new)) }) => format!("{dir} {old}>{new}"),
                Err(e) => e.message,
            };
            assert_eq!(text, wanted, "{source:?} {target:?}");
        };
        check(info("/s/f", 'f'), info("/t", 'd'), "/t");
        check(info("/s/d", 'd'), info("/t", 'd'), "/t");
        check(info("/s/d", 'd'), info("/t/f", 'f'), "cannot copy directory");
        check(info("/s/f", 'f'), info("/t/g", 'f'), "/t/ f>g");
        check(info("/s/d", 'd'), info("/t/new", '-'), "/t/ d>new");
        check(info("/s/d/.", 'd'), info("/t/new", '-'), "/t/ .>new");
        check(info("/s/f", 'f'), info("/t/new", '-'), "/t/ f>new");
        check(info("/s/f", 'f'), info("/t/new/", '-'), "no such directory");
        let linked = Info { rebase: "name".to_owned(), ..info("/s/f", 'f') };
        check(linked, info("/t/new", '-'), "/t/ name>new");
    }

    #[test]
    fn names_in_archives_are_changed_once() {
        let check = |name: &str, old: &str, new: &str, wanted: &str| {
            let rename = Some((old.to_owned(), new.to_owned()));
            assert_eq!(renamed(name.as_bytes(), rename.as_ref()), wanted.as_bytes(), "{name}");
        };
        check("d/d/x", "d", "new", "new/d/x");
        check("./x", ".", "new", "new/x");
        check("/bin/sh", "/", "root", "root/bin/sh");
        check("x", "absent", "new", "x");
        assert_eq!(renamed(b"x", None), b"x");
    }
}
