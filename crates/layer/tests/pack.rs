//! Directories to archives and back, and archives into trees that are somebody's.

#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]
#![allow(clippy::disallowed_methods, reason = "they look at what was made as anybody does")]

use layer::{Extract, Limits, Pack, apply, extract, pack};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use sys::dir::Dir;
use tar::{Entry, Kind};

fn packed(path: &Path, how: &Pack<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(&Dir::open(path).unwrap(), &mut bytes, how).unwrap();
    bytes
}

/// Paths with what they are, in the order of the archive.
fn names(bytes: &[u8]) -> Vec<String> {
    let mut input = bytes;
    let mut reader = tar::Reader::new(&mut input, tar::Limits::default());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let path = String::from_utf8(entry.path).unwrap();
        names.push(match entry.kind {
            Kind::HardLink { target } | Kind::Symlink { target } => {
                format!("{path} > {}", String::from_utf8(target).unwrap())
            }
            _ => path,
        });
    }
    names
}

fn archive(entries: &[(&str, Kind)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = tar::Writer::new(&mut bytes);
    for (path, kind) in entries {
        let size = if *kind == Kind::File { 1 } else { 0 };
        let entry = Entry { size, uid: 7, ..Entry::new(path.as_bytes(), kind.clone()) };
        writer.append(&entry, &mut &b"x"[..]).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

#[test]
fn the_same_tree_makes_the_same_bytes_also_after_a_round() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("b/c")).unwrap();
    fs::write(tree.join("b/file"), vec![7; 300_000]).unwrap();
    fs::hard_link(tree.join("b/file"), tree.join("b/other")).unwrap();
    fs::write(tree.join("a"), "").unwrap();
    fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("../../etc", tree.join("b/link")).unwrap();
    rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)
        .unwrap();
    let _socket = UnixListener::bind(tree.join("socket")).unwrap();
    let bytes = packed(&tree, &Pack::default());
    assert_eq!(
        names(&bytes),
        ["a", "b/", "b/c/", "b/file", "b/link > ../../etc", "b/other > b/file", "fifo"]
    );
    assert_eq!(bytes, packed(&tree, &Pack::default()));
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    apply(&Dir::open(&copy).unwrap(), &mut &bytes[..], &layer::Options::default()).unwrap();
    assert_eq!(bytes, packed(&copy, &Pack::default()));
    // As Docker calls things below the directory that was asked for.
    let top =
        |prefix: &'static str| Pack { prefix: prefix.as_bytes(), top: true, ..Pack::default() };
    assert_eq!(names(&packed(&tree, &top("t")))[..3], ["t/", "t/a", "t/b/"]);
    assert_eq!(names(&packed(&tree, &top(".")))[..2], ["./", "./a"]);
    assert_eq!(names(&packed(&tree, &top("/")))[..2], ["/", "/a"]);
}

#[test]
fn a_difference_has_whiteouts_and_opaque_marks() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root for the overlay's marks");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::write(tree.join("d/new"), "").unwrap();
    let whiteout = |name: &str| {
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, tree.join(name), kind, Mode::empty(), 0).unwrap();
    };
    whiteout("gone");
    whiteout("d/old");
    let mark = "trusted.overlay.opaque";
    if rustix::fs::setxattr(tree.join("d"), mark, b"y", XattrFlags::empty()).is_err() {
        eprintln!("skipped: the file system has no trusted attributes");
        return;
    }
    let difference = Pack { difference: true, ..Pack::default() };
    let bytes = packed(&tree, &difference);
    assert_eq!(names(&bytes), ["d/", "d/.wh..wh..opq", "d/new", "d/.wh.old", ".wh.gone"]);
    // As the snapshot of a layer it is the same again.
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    apply(&Dir::open(&copy).unwrap(), &mut &bytes[..], &layer::Options::default()).unwrap();
    assert_eq!(fs::symlink_metadata(copy.join("gone")).unwrap().rdev(), 0);
    assert_eq!(names(&packed(&copy, &difference)), names(&bytes));
    // Anybody else has no use for the marks.
    assert_eq!(names(&packed(&tree, &Pack::default())), ["d/", "d/new"]);
}

#[test]
fn a_tree_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join(vec!["d"; 300].join("/"));
    fs::create_dir_all(&deep).unwrap();
    let mut bytes = Vec::new();
    let error = pack(&Dir::open(folder.path()).unwrap(), &mut bytes, &Pack::default()).unwrap_err();
    assert!(error.to_string().contains("too deep"), "{error}");
}

struct Tree(tempfile::TempDir);

impl Tree {
    /// A root with directories `o` and `else`, and beside it a file of the host.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("root/o")).unwrap();
        fs::create_dir_all(folder.path().join("root/else")).unwrap();
        fs::create_dir_all(folder.path().join("root/etc")).unwrap();
        fs::create_dir_all(folder.path().join("host")).unwrap();
        Self(folder)
    }

    fn root(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join("root").join(path)
    }

    fn extract(
        &self,
        entries: &[(&str, Kind)],
        keep_kinds: bool,
        owner: Option<(u32, u32)>,
    ) -> Result<(), String> {
        let root = Dir::open(self.root("")).unwrap();
        let how = Extract {
            into: Path::new("/o"),
            keep_kinds,
            owner,
            ids: None,
            limits: Limits::default(),
        };
        extract(&root, &mut &archive(entries)[..], &how).map_err(|e| e.to_string())
    }
}

fn link(target: &str) -> Kind {
    Kind::Symlink { target: target.into() }
}

#[test]
fn a_copy_is_taken_literally() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to give files away");
        return;
    }
    let tree = Tree::new();
    let file = Kind::File;
    tree.extract(
        &[
            ("./", Kind::Directory),
            (".wh.name", file.clone()),
            ("/abs", file.clone()),
            ("im/plied/f", file.clone()),
        ],
        false,
        None,
    )
    .unwrap();
    assert_eq!(fs::metadata(tree.root("o/.wh.name")).unwrap().uid(), 7);
    assert!(tree.root("o/abs").is_file());
    let implied = fs::metadata(tree.root("o/im")).unwrap();
    assert_eq!((implied.uid(), implied.mode() & 0o7777), (0, 0o755));
    // The directory itself is the container's, not the archive's.
    assert_ne!(fs::metadata(tree.root("o")).unwrap().mtime(), 0);
    tree.extract(&[("f", file.clone())], false, Some((11, 12))).unwrap();
    let owned = fs::metadata(tree.root("o/f")).unwrap();
    assert_eq!((owned.uid(), owned.gid()), (11, 12));
    // A link is followed inside the root, as by whoever lives there.
    tree.extract(&[("lk", link("/else")), ("lk/in", file.clone())], false, None).unwrap();
    assert!(tree.root("else/in").is_file());
    let host = tree.0.path().join("host").display().to_string();
    tree.extract(&[("out", link(&host))], false, None).unwrap();
    tree.extract(&[("out/x", file.clone())], false, None).ok();
    assert!(fs::read_dir(tree.0.path().join("host")).unwrap().next().is_none());
}

#[test]
fn a_copy_that_leads_out_is_refused() {
    let tree = Tree::new();
    let hard = |target: &str| Kind::HardLink { target: target.into() };
    fs::write(tree.root("etc/passwd"), "").unwrap();
    let check = |path: &str, kind: Kind, wanted: &str| {
        let error = tree.extract(&[(path, kind)], false, None).unwrap_err();
        assert!(error.contains(wanted), "{path}: {error}");
    };
    check("../../esc", Kind::File, "\"../../esc\" is outside of \"/o\"");
    check("h", hard("../etc/passwd"), "invalid hardlink");
    check("h", hard("/etc/passwd"), "hard link");
    check("w", Kind::CharDevice { major: 0, minor: 0 }, "no device");
    assert!(!tree.0.path().join("esc").exists() && !tree.root("esc").exists());
}

#[test]
fn kinds_are_kept_when_asked_for() {
    let tree = Tree::new();
    fs::create_dir(tree.root("o/d")).unwrap();
    fs::write(tree.root("o/f"), "").unwrap();
    let check = |path: &str, kind: Kind, wanted: &str| {
        let error = tree.extract(&[(path, kind)], true, None).unwrap_err();
        assert_eq!(error, wanted);
    };
    check("d", Kind::File, "cannot overwrite directory \"/o/d\" with non-directory \"/o\"");
    check("f", Kind::Directory, "cannot overwrite non-directory \"/o/f\" with directory \"/o\"");
}
