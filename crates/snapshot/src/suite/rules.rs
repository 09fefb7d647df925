//! Checks of who may do what, and of what survives.

use super::{Mounted, Stage, key, name};
use crate::{Info, Key, Mounts, Name, Sort, Swept, Which};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use stdx::{Kind, Result};

pub(super) fn exist_once(stage: &mut Stage<'_>) {
    stage.layer("one", None, |_| {});
    let store = &stage.store;
    store.prepare(&key("a"), None).expect("prepare");
    assert_eq!(kind(store.prepare(&key("a"), None)), Kind::Conflict);
    assert_eq!(kind(store.view(&key("a"), Some(&name("one")))), Kind::Conflict);
    assert_eq!(kind(store.commit(&name("one"), &key("a"))), Kind::Conflict);
    // The loser is still there, for its owner to remove; names and keys do not meet.
    store.remove_active(&key("a")).expect("remove");
    store.prepare(&key("one"), Some(&name("one"))).expect("a key may be spelled as a name");
    store.remove_active(&key("one")).expect("remove");
    store.prepare(&key("one"), None).expect("a key is free again");
}

pub(super) fn not_found(stage: &mut Stage<'_>) {
    let store = &stage.store;
    let (no_key, no_name) = (key("nobody"), name("nothing"));
    assert_eq!(kind(store.prepare(&key("a"), Some(&no_name))), Kind::NotFound);
    assert_eq!(kind(store.view(&key("a"), Some(&no_name))), Kind::NotFound);
    assert_eq!(kind(store.mounts(&no_key)), Kind::NotFound);
    assert_eq!(kind(store.writable(&no_key)), Kind::NotFound);
    assert_eq!(kind(store.commit(&no_name, &no_key)), Kind::NotFound);
    assert_eq!(kind(store.remove_active(&no_key)), Kind::NotFound);
    assert_eq!(kind(store.remove_committed(&no_name)), Kind::NotFound);
    for which in [Which::Key(&no_key), Which::Name(&no_name)] {
        assert_eq!(kind(store.stat(which)), Kind::NotFound);
        assert_eq!(kind(store.usage(which)), Kind::NotFound);
    }
    store.prepare(&key("a"), None).expect("the failed attempts left nothing behind");
}

pub(super) fn views_stay_views(stage: &mut Stage<'_>) {
    stage.layer("one", None, |_| {});
    stage.store.view(&key("v"), Some(&name("one"))).expect("view");
    assert_eq!(kind(stage.store.commit(&name("two"), &key("v"))), Kind::InvalidArgument);
    assert_eq!(kind(stage.store.writable(&key("v"))), Kind::InvalidArgument);
    assert_eq!(kind(stage.store.remove_committed(&name("one"))), Kind::Conflict);
    stage.store.remove_active(&key("v")).expect("remove");
    stage.store.remove_committed(&name("one")).expect("remove");
}

pub(super) fn parents_stay(stage: &mut Stage<'_>) {
    stage.layer("one", None, |_| {});
    stage.layer("two", Some("one"), |_| {});
    stage.store.prepare(&key("a"), Some(&name("two"))).expect("prepare");
    for parent in ["one", "two"] {
        assert_eq!(kind(stage.store.remove_committed(&name(parent))), Kind::Conflict, "{parent}");
    }
    stage.store.remove_active(&key("a")).expect("remove");
    assert_eq!(kind(stage.store.remove_committed(&name("one"))), Kind::Conflict);
    stage.store.remove_committed(&name("two")).expect("remove");
    stage.store.remove_committed(&name("one")).expect("remove");
    assert_eq!(kind(stage.store.prepare(&key("b"), Some(&name("two")))), Kind::NotFound);
}

pub(super) fn reopened(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| fs::write(root.join("f"), "kept").expect("write"));
    stage.layer("two", Some("one"), |_| {});
    let active = stage.store.prepare(&key("a"), Some(&name("two"))).expect("prepare");
    let view = stage.store.view(&key("v"), Some(&name("two"))).expect("view");
    fs::write(Mounted::new(&active).path().join("g"), "active").expect("write");
    let before = everything(stage);
    stage.reopen();
    assert_eq!(everything(stage), before);
    assert_eq!(stage.store.mounts(&key("a")).expect("mounts"), active);
    assert_eq!(stage.store.mounts(&key("v")).expect("mounts"), view);
    assert_eq!(kind(stage.store.remove_committed(&name("one"))), Kind::Conflict);
    let mounted = Mounted::new(&active);
    assert_eq!(fs::read_to_string(mounted.path().join("g")).expect("read"), "active");
    assert_eq!(fs::read_to_string(mounted.path().join("f")).expect("read"), "kept");
}

pub(super) fn swept(stage: &mut Stage<'_>) {
    stage.layer("one", None, |_| {});
    for k in ["a", "b"] {
        stage.store.prepare(&key(k), Some(&name("one"))).expect("prepare");
    }
    stage.store.view(&key("v"), Some(&name("one"))).expect("view");
    let swept = stage.store.sweep(&[key("a"), key("z")]).expect("sweep");
    assert_eq!(swept, Swept { unowned: vec![key("b"), key("v")], missing: vec![key("z")] });
    assert_eq!(kind(stage.store.mounts(&key("b"))), Kind::NotFound);
    stage.store.mounts(&key("a")).expect("an owned one stays");
}

pub(super) fn trash(stage: &mut Stage<'_>) {
    let mounts = stage.store.prepare(&key("a"), None).expect("prepare");
    fs::create_dir_all(Mounted::new(&mounts).path().join("d/e/f")).expect("mkdir");
    stage.store.remove_active(&key("a")).expect("remove");
    stage.layer("one", None, |root| fs::write(root.join("f"), "x").expect("write"));
    stage.store.remove_committed(&name("one")).expect("remove");
    stage.store.empty_trash().expect("empty the trash");
    assert_eq!(stage.store.empty_trash().expect("empty the trash"), 0);
    let Mounts::Overlay { upper: Some(path), .. } = mounts else { return };
    assert!(!path.exists());
}

pub(super) fn usage(stage: &mut Stage<'_>) {
    stage.layer("one", None, |root| {
        fs::write(root.join("f"), vec![1; 1 << 20]).expect("write");
        fs::hard_link(root.join("f"), root.join("g")).expect("link");
    });
    stage
        .layer("two", Some("one"), |root| fs::write(root.join("h"), vec![1; 4096]).expect("write"));
    let one = stage.store.usage(Which::Name(&name("one"))).expect("usage");
    assert!((1 << 20..2 << 20).contains(&one.bytes), "{one:?}");
    assert_eq!(one.inodes, 2);
    let two = stage.store.usage(Which::Name(&name("two"))).expect("usage");
    assert!((4096..1 << 17).contains(&two.bytes), "{two:?}");
    stage.store.prepare(&key("a"), Some(&name("two"))).expect("prepare");
    assert!(stage.store.usage(Which::Key(&key("a"))).expect("usage").bytes < 1 << 17);
}

pub(super) fn walk(stage: &mut Stage<'_>) {
    // Names whose order is not the parents'.
    stage.layer("z", None, |_| {});
    stage.layer("m", Some("z"), |_| {});
    stage.layer("a", Some("m"), |_| {});
    stage.store.prepare(&key("k"), Some(&name("a"))).expect("prepare");
    stage.store.view(&key("v"), None).expect("view");
    let info = |id: &str, sort, parent: Option<&str>| Info {
        id: id.into(),
        sort,
        parent: parent.map(name),
    };
    let expected = [
        info("z", Sort::Committed, None),
        info("m", Sort::Committed, Some("z")),
        info("a", Sort::Committed, Some("m")),
        info("k", Sort::Active, Some("a")),
        info("v", Sort::View, None),
    ];
    assert_eq!(everything(stage), expected);
    assert_eq!(stage.store.stat(Which::Name(&name("m"))).expect("stat"), expected[1]);
    let mut seen = 0;
    let stopped = stage.store.walk(&mut |_| {
        seen += 1;
        Err(stdx::Error::internal("enough"))
    });
    assert!(stopped.is_err() && seen == 1);
}

pub(super) fn racing_commits(stage: &mut Stage<'_>) {
    let won = AtomicUsize::new(0);
    let store = &*stage.store;
    std::thread::scope(|scope| {
        for number in 0..8 {
            let won = &won;
            scope.spawn(move || {
                let own: Key = key(&format!("racer-{number}"));
                store.prepare(&own, None).expect("prepare");
                match store.commit(&name("goal"), &own) {
                    Ok(()) => drop(won.fetch_add(1, Ordering::Relaxed)),
                    Err(e) => {
                        assert_eq!(e.kind(), Kind::Conflict);
                        store.remove_active(&own).expect("the loser is removed");
                    }
                }
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
    assert_eq!(everything(stage).len(), 1);
}

pub(super) fn whole_when_visible(stage: &mut Stage<'_>) {
    let done = AtomicBool::new(false);
    let store = &*stage.store;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let seen: Name = name("goal");
            while store.stat(Which::Name(&seen)).is_err() {
                if done.load(Ordering::Acquire) {
                    break;
                }
                std::thread::yield_now();
            }
            let mounts = store.view(&key("watcher"), Some(&seen)).expect("view");
            let count = fs::read_dir(Mounted::new(&mounts).path()).expect("list").count();
            assert_eq!(count, 200);
        });
        let mounts = store.prepare(&key("a"), None).expect("prepare");
        let mounted = Mounted::new(&mounts);
        for number in 0..200 {
            fs::write(mounted.path().join(number.to_string()), "x").expect("write");
        }
        drop(mounted);
        store.commit(&name("goal"), &key("a")).expect("commit");
        done.store(true, Ordering::Release);
    });
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.expect_err("it should have been refused").kind()
}

fn everything(stage: &Stage<'_>) -> Vec<Info> {
    let mut all = Vec::new();
    stage
        .store
        .walk(&mut |info| {
            all.push(info.clone());
            Ok(())
        })
        .expect("walk");
    all
}
