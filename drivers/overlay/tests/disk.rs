//! What is true of the directories, beyond the contract.

#![allow(clippy::unwrap_used)] // The helpers are tests too.

use overlay::Snapshotter;
use rustix::fs::XattrFlags;
use snapshot::suite::Mounted;
use snapshot::{Key, Mounts, Name, Snapshotter as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::Instant;
use stdx::Kind;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn commit(store: &Snapshotter, own: &str, parent: Option<&str>, work: impl FnOnce(&Path)) {
    store.prepare(&key(own), parent.map(name).as_ref()).unwrap();
    work(&store.writable(&key(own)).unwrap());
    store.commit(&name(own), &key(own)).unwrap();
}

#[test]
fn nobody_else_may_enter() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("snapshots");
    let store = Snapshotter::open(&root).unwrap();
    commit(&store, "one", None, |_| {});
    for inner in ["", "active", "committed", "trash", "committed/one"] {
        assert_eq!(
            std::fs::metadata(root.join(inner)).unwrap().mode() & 0o7777,
            0o700,
            "{inner:?}"
        );
    }
    assert!(!root.join("committed/one/work").exists());
}

#[test]
fn half_made_snapshots_disappear() {
    let dir = tempfile::tempdir().unwrap();
    drop(Snapshotter::open(dir.path()).unwrap());
    // As killed between the directories and the link; and something that is not ours.
    std::fs::create_dir_all(dir.path().join("active/half/fs")).unwrap();
    std::fs::create_dir_all(dir.path().join("active/half/work")).unwrap();
    std::fs::create_dir_all(dir.path().join("active/evil")).unwrap();
    symlink("/etc", dir.path().join("active/evil/parent")).unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("active")).unwrap().count(), 0);
    assert_eq!(store.empty_trash().unwrap(), 2);
    store.prepare(&key("half"), None).unwrap();
}

#[test]
fn work_left_by_a_crash_after_the_commit_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    commit(&store, "one", None, |_| {});
    std::fs::create_dir_all(dir.path().join("committed/one/work/work")).unwrap();
    drop(store);
    drop(Snapshotter::open(dir.path()).unwrap());
    assert!(!dir.path().join("committed/one/work").exists());
}

#[test]
fn a_lost_parent_is_told_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    commit(&store, "one", None, |_| {});
    commit(&store, "two", Some("one"), |_| {});
    store.prepare(&key("a"), Some(&name("two"))).unwrap();
    std::fs::remove_dir_all(dir.path().join("committed/one")).unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    assert_eq!(store.mounts(&key("a")).unwrap_err().kind(), Kind::DataLoss);
    assert_eq!(store.prepare(&key("b"), Some(&name("two"))).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.sweep(&[key("a")]).unwrap().missing, [key("a")]);
}

#[test]
fn an_opaque_root_hides_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    commit(&store, "one", None, |root| std::fs::write(root.join("f"), "").unwrap());
    commit(&store, "two", Some("one"), |root| {
        std::fs::write(root.join("g"), "").unwrap();
        rustix::fs::setxattr(root, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    });
    for store in [store, Snapshotter::open(dir.path()).unwrap()] {
        let view = key("v");
        let mounts = store.view(&view, Some(&name("two"))).unwrap();
        let mounted = Mounted::new(&mounts);
        assert!(mounted.path().join("g").exists() && !mounted.path().join("f").exists());
        store.remove_active(&view).unwrap();
        assert_eq!(store.remove_committed(&name("one")).unwrap_err().kind(), Kind::Conflict);
    }
}

#[test]
fn more_layers_than_can_be_mounted_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    let mut parent = None;
    for number in 0..=400 {
        let own = format!("l{number}");
        commit(&store, &own, parent.as_deref(), |_| {});
        parent = Some(own);
    }
    let error = store.prepare(&key("a"), Some(&name("l400"))).unwrap_err();
    assert_eq!(error.to_string(), "image has 401 layers; more than 400 cannot be mounted");
    let mounts = store.prepare(&key("b"), Some(&name("l399"))).unwrap();
    drop(Mounted::new(&mounts));
}

/// A container's start pays for `prepare`; 50 µs is the aim, the bound only catches an accident.
#[test]
fn prepare_is_cheap() {
    let dir = tempfile::tempdir().unwrap();
    let store = Snapshotter::open(dir.path()).unwrap();
    commit(&store, "one", None, |_| {});
    let mut times: Vec<_> = (0..200)
        .map(|number| {
            let start = Instant::now();
            let mounts = store.prepare(&key(&format!("k{number}")), Some(&name("one"))).unwrap();
            assert!(matches!(mounts, Mounts::Overlay { upper: Some(_), .. }));
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("prepare: median {:?}, slowest {:?}", times[100], times[199]);
    assert!(times[100].as_millis() < 5);
}
