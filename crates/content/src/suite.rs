//! What every content store must do. A driver's test is one call of [`run`].

use crate::mem::digest;
use crate::{Expected, Store, put};
use std::io::{Read as _, Write as _};
use std::path::Path;
use stdx::Kind;
use types::{Algorithm, Digest};

/// Runs every check, each on a new store below a directory of its own, which is empty and goes away afterwards.
pub fn run<S: Store>(open: impl Fn(&Path) -> S) {
    let checks: [(&str, Check); 8] = [
        ("what is put is there", what_is_put_is_there),
        ("nothing is visible before the commit", nothing_is_visible_before_the_commit),
        ("a wrong digest is refused", a_wrong_digest_is_refused),
        ("a wrong size is refused", a_wrong_size_is_refused),
        ("an aborted writer leaves nothing", an_aborted_writer_leaves_nothing),
        ("committing twice is success", committing_twice_is_success),
        ("removing twice is success", removing_twice_is_success),
        ("the other algorithm works", the_other_algorithm_works),
    ];
    for (number, (name, check)) in checks.iter().enumerate() {
        let root =
            std::env::temp_dir().join(format!("content-suite-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&open(&root));
        std::fs::remove_dir_all(&root).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

type Check = fn(&dyn Store);

fn sha256(bytes: &[u8]) -> Digest {
    digest(Algorithm::Sha256, bytes)
}

fn count(store: &dyn Store) -> usize {
    let mut n = 0;
    store
        .walk(&mut |_| {
            n += 1;
            Ok(())
        })
        .expect("walk");
    n
}

fn what_is_put_is_there(store: &dyn Store) {
    let name = sha256(b"hello");
    let info = put(store, &name, b"hello").expect("put");
    assert_eq!((info.size, &info.digest), (5, &name));
    assert_eq!(store.info(&name).expect("info"), info);
    assert_eq!(store.read(&name, 5).expect("read"), b"hello");
    assert_eq!(store.read(&name, 4).expect_err("too long").kind(), Kind::DataLoss);
    let mut text = String::new();
    store.open(&name).expect("open").read_to_string(&mut text).expect("read");
    assert_eq!(text, "hello");
    let other = sha256(b"other");
    for error in [store.info(&other).err(), store.open(&other).err(), store.read(&other, 9).err()] {
        assert_eq!(error.expect("not there").kind(), Kind::NotFound);
    }
    assert_eq!(count(store), 1);
    put(store, &sha256(b""), b"").expect("the empty blob");
    assert_eq!(store.read(&sha256(b""), 0).expect("read"), b"");
}

fn nothing_is_visible_before_the_commit(store: &dyn Store) {
    let name = sha256(b"ab");
    let mut writer = store.writer(Expected { digest: name.clone(), size: None }).expect("writer");
    writer.write_all(b"a").expect("write");
    writer.write_all(b"b").expect("write");
    assert_eq!(store.info(&name).expect_err("not there yet").kind(), Kind::NotFound);
    assert_eq!(count(store), 0);
    writer.commit().expect("commit");
    assert_eq!(store.read(&name, 2).expect("read"), b"ab");
}

fn a_wrong_digest_is_refused(store: &dyn Store) {
    let name = sha256(b"good");
    assert_eq!(put(store, &name, b"evil").expect_err("refused").kind(), Kind::DataLoss);
    assert_eq!(store.info(&name).expect_err("not there").kind(), Kind::NotFound);
    assert_eq!(count(store), 0);
}

fn a_wrong_size_is_refused(store: &dyn Store) {
    let name = sha256(b"four");
    for size in [3, 5] {
        let expected = Expected { digest: name.clone(), size: Some(size) };
        let mut writer = store.writer(expected).expect("writer");
        let error = match writer.write_all(b"four") {
            Err(e) => crate::write_error(e),
            Ok(()) => writer.commit().expect_err("refused"),
        };
        assert_eq!(error.kind(), Kind::DataLoss, "{size}");
    }
    assert_eq!(count(store), 0);
}

fn an_aborted_writer_leaves_nothing(store: &dyn Store) {
    let name = sha256(b"half");
    let mut writer =
        store.writer(Expected { digest: name.clone(), size: Some(4) }).expect("writer");
    writer.write_all(b"ha").expect("write");
    drop(writer);
    assert_eq!(count(store), 0);
    put(store, &name, b"half").expect("a new writer is not in anybody's way");
}

fn committing_twice_is_success(store: &dyn Store) {
    let name = sha256(b"twice");
    let expected = || Expected { digest: name.clone(), size: Some(5) };
    let mut first = store.writer(expected()).expect("writer");
    let mut second = store.writer(expected()).expect("writer");
    first.write_all(b"twice").expect("write");
    second.write_all(b"twice").expect("write");
    first.commit().expect("commit");
    second.commit().expect("commit again");
    assert_eq!(count(store), 1);
    assert_eq!(store.read(&name, 5).expect("read"), b"twice");
}

fn removing_twice_is_success(store: &dyn Store) {
    let name = sha256(b"gone");
    put(store, &name, b"gone").expect("put");
    store.remove(&name).expect("remove");
    store.remove(&name).expect("remove again");
    assert_eq!(store.info(&name).expect_err("gone").kind(), Kind::NotFound);
    assert_eq!(count(store), 0);
}

fn the_other_algorithm_works(store: &dyn Store) {
    let name = digest(Algorithm::Sha512, b"long");
    put(store, &name, b"long").expect("put");
    assert_eq!(store.read(&name, 4).expect("read"), b"long");
    let wrong = digest(Algorithm::Sha512, b"other");
    assert_eq!(put(store, &wrong, b"long").expect_err("refused").kind(), Kind::DataLoss);
    let mut seen = Vec::new();
    store
        .walk(&mut |info| {
            seen.push(info.digest.clone());
            Ok(())
        })
        .expect("walk");
    assert_eq!(seen, [name]);
}
