//! Layers as archives, applied, stacked, mounted: what a container of an image sees.

#![allow(clippy::unwrap_used)] // The helpers are tests too.

use overlay::Snapshotter;
use snapshot::suite::Mounted;
use snapshot::{Key, Mounts, Name, Snapshotter as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use sys::dir::Dir;
use tar::{Entry, Kind, Writer};

/// An archive of plain files (`path=content`), directories (`path/=octal mode`) and links (`path->target`).
fn archive(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    for line in lines {
        if let Some((path, target)) = line.split_once("->") {
            writer
                .append(&Entry::new(path, Kind::Symlink { target: target.into() }), &mut &b""[..])
                .unwrap();
        } else if let Some((path, mode)) = line.split_once("/=") {
            let mut entry = Entry::new(path, Kind::Directory);
            entry.mode = u32::from_str_radix(mode, 8).unwrap();
            writer.append(&entry, &mut &b""[..]).unwrap();
        } else {
            let (path, content) = line.split_once('=').unwrap();
            let mut entry = Entry::new(path, Kind::File);
            entry.size = content.len() as u64;
            writer.append(&entry, &mut content.as_bytes()).unwrap();
        }
    }
    writer.finish().unwrap();
    out
}

/// Unpacks without knowing the parent, then puts the layer on it: as layers that arrive side by side are.
fn import(store: &Snapshotter, own: &str, parent: Option<&Name>, lines: &[&str]) -> Name {
    let (key, name) = (Key::new(own).unwrap(), Name::new(own).unwrap());
    store.prepare(&key, None).unwrap();
    let dir = Dir::open(store.writable(&key).unwrap()).unwrap();
    let bytes = archive(lines);
    let applied = layer::apply_jailed(&dir, &mut &bytes[..], &layer::Options::default()).unwrap();
    store.rebase(&key, parent).unwrap();
    if parent.is_some() {
        let Mounts::Overlay { lower, .. } = store.mounts(&key).unwrap() else {
            panic!("not an overlay")
        };
        layer::inherit(&dir, &applied.implied, &lower).unwrap();
    }
    store.commit(&name, &key).unwrap();
    name
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_image_looks_as_its_layers_say() {
    let temporary = tempfile::tempdir().unwrap();
    let store = Snapshotter::open(temporary.path()).unwrap();
    let base = import(
        &store,
        "base",
        None,
        &[
            "./=0751",
            "tmp/=1777",
            "etc/=0755",
            "etc/passwd=root:x:0:0",
            "etc/gone=x",
            "opt/=0755",
            "opt/old=x",
            "swap/=0755",
            "swap/x=x",
            "deep/a/b/c/f=deep",
            "run/=0755",
            "var/=0755",
            "var/run->/run",
        ],
    );
    let middle = import(
        &store,
        "middle",
        Some(&base),
        &[
            "tmp/left=behind",
            "etc/.wh.gone=",
            "opt/.wh..wh..opq=",
            "opt/new=n",
            ".wh.swap=",
            "swap/=0700",
            "swap/y=y",
        ],
    );
    let top =
        import(&store, "top", Some(&middle), &["deep/a/.wh.b=", "etc/passwd=changed", "run/pid=1"]);
    let key = Key::new("container").unwrap();
    let mounts = store.prepare(&key, Some(&top)).unwrap();
    let mounted = Mounted::new(&mounts);
    let root = mounted.path();
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(names(root), ["deep", "etc", "opt", "run", "swap", "tmp", "var"]);
    assert_eq!(names(&root.join("etc")), ["passwd"]);
    assert_eq!(names(&root.join("opt")), ["new"]);
    assert_eq!(names(&root.join("swap")), ["y"]);
    assert!(names(&root.join("deep/a")).is_empty());
    assert_eq!(std::fs::read_to_string(root.join("etc/passwd")).unwrap(), "changed");
    // What the upper layers' archives said nothing about looks as it did.
    assert_eq!((mode(""), mode("tmp"), mode("swap")), (0o751, 0o1777, 0o700));
    // And it can be worked in.
    std::fs::write(root.join("tmp/mine"), "x").unwrap();
    std::fs::remove_dir_all(root.join("opt")).unwrap();
    std::fs::create_dir(root.join("opt")).unwrap();
    assert!(names(&root.join("opt")).is_empty());
    drop(mounted);
    store.remove_active(&key).unwrap();
    for name in [top, middle, base] {
        store.remove_committed(&name).unwrap();
    }
    assert_eq!(store.empty_trash().unwrap(), 4);
}
