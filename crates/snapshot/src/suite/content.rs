//! Checks of what can be seen in a snapshot.

use super::{Mounted, Stage, key, name};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

pub(super) fn empty_and_writable(stage: &mut Stage<'_>) {
    let mounts = stage.store.prepare(&key("a"), None).expect("prepare");
    let mounted = Mounted::new(&mounts);
    assert_eq!(fs::read_dir(mounted.path()).expect("list").count(), 0);
    let root = fs::metadata(mounted.path()).expect("stat");
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o755, 0, 0));
    fs::write(mounted.path().join("f"), "x").expect("write");
    assert_eq!(stage.store.mounts(&key("a")).expect("mounts"), mounts);
    let view = stage.store.view(&key("v"), None).expect("view of nothing");
    assert_eq!(fs::read_dir(Mounted::new(&view).path()).expect("list").count(), 0);
}

pub(super) fn child_sees_parent(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("a/b")).expect("mkdir");
        fs::write(root.join("a/b/f"), "one").expect("write");
    });
    stage.layer("two", Some("one"), |root| {
        assert_eq!(text(root, "a/b/f"), "one");
        fs::write(root.join("a/b/f"), "two").expect("overwrite");
        fs::write(root.join("a/g"), "new").expect("write");
    });
    stage.look("two", |root| {
        assert_eq!((text(root, "a/b/f"), text(root, "a/g")), ("two".into(), "new".into()));
    });
    stage.look("one", |root| {
        assert_eq!(text(root, "a/b/f"), "one");
        assert!(!root.join("a/g").exists());
    });
}

pub(super) fn removals_are_kept(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::create_dir_all(root.join("gone/deep")).expect("mkdir");
        fs::create_dir_all(root.join("again/old")).expect("mkdir");
        fs::create_dir_all(root.join("tree/sub")).expect("mkdir");
        for file in ["file", "gone/f", "again/f", "tree/sub/f", "swap"] {
            fs::write(root.join(file), file).expect("write");
        }
    });
    stage.layer("two", Some("one"), |root| {
        fs::remove_file(root.join("file")).expect("remove");
        fs::remove_dir_all(root.join("gone")).expect("remove");
        fs::remove_dir_all(root.join("again")).expect("remove");
        fs::create_dir(root.join("again")).expect("make again");
        fs::write(root.join("again/new"), "new").expect("write");
        fs::remove_file(root.join("swap")).expect("remove");
        fs::create_dir(root.join("swap")).expect("a directory instead");
        fs::remove_dir_all(root.join("tree")).expect("remove");
        symlink("again", root.join("tree")).expect("a link instead");
    });
    stage.layer("three", Some("two"), |root| fs::write(root.join("unrelated"), "").expect("write"));
    for layer in ["two", "three"] {
        stage.look(layer, |root| {
            assert!(!root.join("file").exists() && !root.join("gone").exists());
            let left: Vec<_> = fs::read_dir(root.join("again")).expect("list").collect();
            assert_eq!(left.len(), 1, "{left:?}");
            assert!(root.join("swap").is_dir());
            assert_eq!(text(root, "tree/new"), "new");
        });
    }
}

pub(super) fn attributes_survive(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::write(root.join("f"), "f").expect("write");
        fs::hard_link(root.join("f"), root.join("g")).expect("link");
        fs::write(root.join("suid"), "").expect("write");
        chown(root.join("suid"), Some(1000), Some(2000)).expect("chown");
        fs::set_permissions(root.join("suid"), fs::Permissions::from_mode(0o6755)).expect("chmod");
        rustix::fs::setxattr(root.join("f"), "user.x", b"value", XattrFlags::empty())
            .expect("setxattr");
        mknodat(
            CWD,
            root.join("dev"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            makedev(1, 3),
        )
        .expect("mknod");
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("mkfifo");
        symlink("/etc/none", root.join("link")).expect("symlink");
    });
    stage.layer("two", Some("one"), |root| {
        fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o640)).expect("chmod");
    });
    stage.look("two", |root| {
        let stat = |name: &str| fs::symlink_metadata(root.join(name)).expect("stat");
        assert_eq!(stat("f").mode() & 0o7777, 0o640);
        assert_eq!(
            (stat("suid").mode() & 0o7777, stat("suid").uid(), stat("suid").gid()),
            (0o6755, 1000, 2000)
        );
        assert_eq!(stat("dev").rdev(), makedev(1, 3));
        assert_eq!(fs::read_link(root.join("link")).expect("readlink"), Path::new("/etc/none"));
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(root.join("f"), "user.x", &mut value).expect("getxattr");
        assert_eq!(&value[..length], b"value");
    });
    stage.look("one", |root| {
        let stat = |name: &str| fs::metadata(root.join(name)).expect("stat");
        assert_eq!((stat("f").nlink(), stat("f").ino()), (2, stat("g").ino()));
    });
}

pub(super) fn root_looks_like_parent(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| {
        chown(root, Some(10), Some(20)).expect("chown");
        fs::set_permissions(root, fs::Permissions::from_mode(0o2751)).expect("chmod");
        rustix::fs::setxattr(root, "user.root", b"r", XattrFlags::empty()).expect("setxattr");
    });
    stage.layer("two", Some("one"), |_| {});
    let mounts = stage.store.prepare(&key("a"), Some(&name("two"))).expect("prepare");
    let mounted = Mounted::new(&mounts);
    let root = fs::metadata(mounted.path()).expect("stat");
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o2751, 10, 20));
    let mut value = [0; 4];
    assert_eq!(rustix::fs::getxattr(mounted.path(), "user.root", &mut value), Ok(1));
}

pub(super) fn view_is_read_only(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| fs::write(root.join("f"), "f").expect("write"));
    stage.layer("two", Some("one"), |root| fs::write(root.join("g"), "g").expect("write"));
    for (view, parent) in [("v1", Some("one")), ("v2", Some("two")), ("v0", None)] {
        let mounts = stage.store.view(&key(view), parent.map(name).as_ref()).expect("view");
        let mounted = Mounted::new(&mounts);
        let error = fs::write(mounted.path().join("new"), "").expect_err("writing into a view");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{view}");
    }
}

pub(super) fn many_layers(stage: &mut Stage<'_>) {
    let mut parent: Option<String> = None;
    for number in 0..128 {
        let own = format!("layer-{number}");
        stage.layer(&own, parent.as_deref(), |root| {
            fs::write(root.join(format!("f{number}")), number.to_string()).expect("write");
            fs::write(root.join("last"), number.to_string()).expect("write");
        });
        parent = Some(own);
    }
    stage.look("layer-127", |root| {
        for number in 0..128 {
            assert_eq!(text(root, &format!("f{number}")), number.to_string());
        }
        assert_eq!(text(root, "last"), "127");
    });
}

pub(super) fn written_without_mounting(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| fs::write(root.join("f"), "one").expect("write"));
    let active = key("a");
    stage.store.prepare(&active, Some(&name("one"))).expect("prepare");
    let path = stage.store.writable(&active).expect("writable");
    fs::write(path.join("g"), "direct").expect("write");
    stage.store.commit(&name("two"), &active).expect("commit");
    stage.look("two", |root| {
        assert_eq!((text(root, "f"), text(root, "g")), ("one".into(), "direct".into()));
    });
}

pub(super) fn rebase(stage: &mut Stage<'_>) {
    for layer in ["one", "two", "three"] {
        let active = key(&format!("making-{layer}"));
        stage.store.prepare(&active, None).expect("prepare");
        let path = stage.store.writable(&active).expect("writable");
        fs::write(path.join(layer), layer).expect("write");
        fs::write(path.join("last"), layer).expect("write");
    }
    let missing = stage.store.rebase(&key("making-two"), Some(&name("one"))).map_err(|e| e.kind());
    if missing == Err(stdx::Kind::NotImplemented) {
        return;
    }
    assert_eq!(missing, Err(stdx::Kind::NotFound));
    let root = stage.store.writable(&key("making-one")).expect("writable");
    fs::set_permissions(root, fs::Permissions::from_mode(0o1777)).expect("chmod");
    let mut parent = None;
    for layer in ["one", "two", "three"] {
        let active = key(&format!("making-{layer}"));
        stage.store.rebase(&active, parent.as_ref()).expect("rebase");
        stage.store.commit(&name(layer), &active).expect("commit");
        parent = Some(name(layer));
    }
    stage.look("three", |root| {
        assert_eq!(
            (text(root, "one"), text(root, "two"), text(root, "last")),
            ("one".into(), "two".into(), "three".into())
        );
        assert_eq!(fs::metadata(root).expect("stat").mode() & 0o7777, 0o1777);
    });
    assert_eq!(
        stage.store.remove_committed(&name("two")).expect_err("a parent").kind(),
        stdx::Kind::Conflict
    );
}

fn text(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join(file)).expect("read")
}
