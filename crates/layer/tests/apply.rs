//! What a layer's directory looks like afterwards.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Helpers are tests too; tar is a peer.

mod common;

use common::{Build, Stage, set_mode};
use layer::{Limits, Options};
use std::io::{Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use stdx::Kind as Error;
use tar::{Entry, Kind, Time};

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::from("sha256:"), |text, b| text + &format!("{b:02x}"))
}

#[test]
fn everything_that_can_be_said_is_kept() {
    let stage = Stage::new();
    let time = Time { seconds: 1_000_000_000, nanos: 123_456_789 };
    let with = |path: &str, kind: Kind, mode: u32, uid: u32| {
        let mut entry = Entry::new(path, kind);
        (entry.mode, entry.uid, entry.gid, entry.mtime) = (mode, uid, uid + 1, time);
        entry
    };
    let mut capable = with("d/ping", Kind::File, 0o755, 0);
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    capable.xattrs = vec![
        (b"security.capability".to_vec(), capability.to_vec()),
        (b"user.x".to_vec(), b"v".to_vec()),
    ];
    let mut setuid = with("d/su", Kind::File, 0o6755, 1000);
    setuid.size = 3;
    let archive = Build::new()
        .entry(with("d", Kind::Directory, 0o1750, 7))
        .entry_with(setuid, b"abc")
        .entry(capable)
        .link("d/su2", "d/su")
        .entry(with("d/l", Kind::Symlink { target: b"/no/where".to_vec() }, 0o777, 8))
        .link("d/l2", "d/l")
        .entry(with("d/fifo", Kind::Fifo, 0o622, 9))
        .entry(with("d/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666, 10))
        .entry(with("d/disk", Kind::BlockDevice { major: 254, minor: 300 }, 0o4660, 11))
        .bytes();
    let applied = stage.apply(&archive).unwrap();
    assert_eq!(applied.diff_id.to_string(), sha256(&archive));
    assert_eq!((applied.bytes, applied.content, applied.entries), (archive.len() as u64, 12, 9));
    assert_eq!(applied.implied, [PathBuf::new()]);
    for (path, mode, uid) in [
        ("d", 0o041_750, 7),
        ("d/su", 0o106_755, 1000),
        ("d/ping", 0o100_755, 0),
        ("d/l", 0o120_777, 8),
        ("d/fifo", 0o010_622, 9),
        ("d/null", 0o020_666, 10),
        ("d/disk", 0o064_660, 11),
    ] {
        let m = stage.stat(path);
        assert_eq!((m.mode(), m.uid(), m.gid()), (mode, uid, uid + 1), "{path}: {:o}", m.mode());
        assert_eq!((m.mtime(), m.mtime_nsec()), (1_000_000_000, 123_456_789), "{path}");
    }
    assert_eq!(stage.text("d/su"), "abc");
    assert_eq!(stage.stat("d/su").ino(), stage.stat("d/su2").ino());
    assert_eq!(stage.stat("d/l").ino(), stage.stat("d/l2").ino());
    assert_eq!(std::fs::read_link(stage.in_root("d/l")).unwrap().to_str(), Some("/no/where"));
    assert_eq!(stage.stat("d/null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(stage.stat("d/disk").rdev(), rustix::fs::makedev(254, 300));
    let mut value = [0; 64];
    assert_eq!(
        rustix::fs::getxattr(stage.in_root("d/ping"), "security.capability", &mut value),
        Ok(20)
    );
    assert_eq!(value[..20], capability);
    assert_eq!(rustix::fs::getxattr(stage.in_root("d/ping"), "user.x", &mut value), Ok(1));
}

/// Shortcuts for files that need no change of owner or mode must not be taken where one is needed.
#[test]
fn owners_and_modes_do_not_depend_on_where_a_file_is_made() {
    let mut shared = Entry::new("g", Kind::Directory);
    (shared.mode, shared.gid) = (0o2777, 50);
    let with = |path: &str, mode: u32| {
        let mut entry = Entry::new(path, Kind::File);
        entry.mode = mode;
        entry
    };
    let archive = Build::new()
        .entry(shared)
        .entry(with("g/root", 0o666))
        .entry(with("g/private", 0o600))
        .dir("g/sub", 0o755)
        .entry(with("g/sub/f", 0o777))
        .entry(with("open", 0o777))
        .entry(with("none", 0))
        .entry(with("sticky", 0o1644))
        .bytes();
    for jailed in [true, false] {
        let stage = Stage::new();
        if jailed { stage.apply(&archive) } else { stage.apply_unjailed(&archive) }.unwrap();
        for (path, mode, gid) in [
            ("g", 0o2777, 50),
            ("g/root", 0o666, 0),
            ("g/private", 0o600, 0),
            ("g/sub", 0o755, 0),
            ("g/sub/f", 0o777, 0),
            ("open", 0o777, 0),
            ("none", 0, 0),
            ("sticky", 0o1644, 0),
        ] {
            let m = stage.stat(path);
            assert_eq!((m.mode() & 0o7777, m.gid()), (mode, gid), "{path}, jailed: {jailed}");
        }
    }
}

#[test]
fn whiteouts_become_the_overlays_own() {
    let stage = Stage::new();
    let archive = Build::new()
        .dir("a", 0o755)
        .file("a/.wh.gone", "")
        .file(".wh.top", "")
        .file("b/.wh..wh..opq", "")
        .file("b/kept", "kept")
        .file(".wh..wh.plnk/1.2", "aufs")
        .file(".wh..wh.aufs", "")
        .bytes();
    let applied = stage.apply(&archive).unwrap();
    assert!(stage.is_whiteout("a/gone") && stage.is_whiteout("top"));
    assert!(stage.is_opaque("b") && !stage.is_opaque("a"));
    assert_eq!(stage.listing(), ["", "a", "a/gone", "b", "b/kept", "top"]);
    assert_eq!(applied.implied, [PathBuf::from("b"), PathBuf::new()]);
}

/// A whiteout is about the layers below; where in the archive it stands does not matter.
#[test]
fn whiteouts_never_touch_their_own_layer() {
    let stage = Stage::new();
    let archive = Build::new()
        .file("file1", "one")
        .file(".wh.file1", "")
        .file(".wh.file2", "")
        .file("file2", "two")
        .dir("dir1", 0o755)
        .file("dir1/x", "x")
        .file(".wh.dir1", "")
        .file(".wh.dir2", "")
        .dir("dir2", 0o755)
        .file(".wh.dir3", "")
        .file("dir3/y", "y")
        .dir("dir4", 0o755)
        .file("dir4/z", "z")
        .file("dir4/.wh..wh..opq", "")
        .bytes();
    stage.apply(&archive).unwrap();
    assert_eq!((stage.text("file1"), stage.text("file2")), ("one".into(), "two".into()));
    assert_eq!(
        (stage.text("dir1/x"), stage.text("dir3/y"), stage.text("dir4/z")),
        ("x".into(), "y".into(), "z".into())
    );
    for dir in ["dir1", "dir2", "dir3", "dir4"] {
        assert!(stage.is_opaque(dir), "{dir}");
    }
}

#[test]
fn the_last_of_several_entries_counts() {
    let stage = Stage::new();
    let archive = Build::new()
        .file("a", "first, longer")
        .file("a", "second")
        .symlink("l", "somewhere")
        .file("l", "now a file")
        .dir("d", 0o755)
        .file("d/inner", "x")
        .file("d", "was a directory")
        .file("e", "was a file")
        .dir("e", 0o700)
        .file("e/inner", "y")
        .dir("e", 0o711)
        .dir("g", 0o755)
        .file("g/x", "x")
        .symlink("g", "e")
        .file("g/through", "z")
        .bytes();
    stage.apply(&archive).unwrap();
    assert_eq!(stage.text("a"), "second");
    assert_eq!(stage.text("l"), "now a file");
    assert_eq!(stage.text("d"), "was a directory");
    assert_eq!((stage.text("e/inner"), stage.stat("e").mode() & 0o777), ("y".into(), 0o711));
    assert_eq!(stage.text("e/through"), "z");
    assert!(!stage.has("e/x"));
}

#[test]
fn directories_have_the_archives_times_whatever_comes_after() {
    let stage = Stage::new();
    let dir = |path: &str, seconds: i64| {
        let mut entry = Entry::new(path, Kind::Directory);
        entry.mtime.seconds = seconds;
        entry
    };
    let mut build =
        Build::new().entry(dir("a", 1000)).entry(dir("a/b", 2000)).entry(dir(".", 3000));
    // More directories than the cache holds, so that a and b are left and entered again.
    for number in 0..100 {
        build = build
            .entry(dir(&format!("n{number}"), 10_000 + number))
            .file(&format!("n{number}/f"), "");
    }
    build = build
        .file("a/b/late", "x")
        .file("a/late", "y")
        .symlink("alias", "a/b")
        .file("alias/later", "z");
    // Said only after what is in it.
    build = build.file("c/first", "").entry(dir("c", 4000));
    let applied = stage.apply(&build.bytes()).unwrap();
    assert_eq!(stage.stat("a").mtime(), 1000);
    assert_eq!(stage.stat("a/b").mtime(), 2000);
    assert_eq!(stage.stat("").mtime(), 3000);
    assert_eq!(stage.stat("c").mtime(), 4000);
    assert_eq!(stage.text("a/b/later"), "z");
    for number in 0..100 {
        assert_eq!(stage.stat(&format!("n{number}")).mtime(), 10_000 + number);
    }
    assert!(applied.implied.is_empty(), "{:?}", applied.implied);
}

#[test]
fn compressed_layers_have_the_digest_of_what_is_inside() {
    // Trailing zeros belong to the diff id as well.
    let mut archive = Build::new().file("f", &"text".repeat(100_000)).bytes();
    archive.resize(archive.len() + 20 * 512, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    for wrapped in
        [archive.clone(), gzip.finish().unwrap(), zstd::encode_all(&archive[..], 3).unwrap()]
    {
        let stage = Stage::new();
        let applied = stage.apply(&wrapped).unwrap();
        assert_eq!(
            (applied.diff_id.to_string(), applied.bytes),
            (sha256(&archive), archive.len() as u64)
        );
        assert_eq!(stage.stat("f").len(), 400_000);
    }
}

#[test]
fn damage_after_the_last_entry_is_found() {
    let archive = Build::new().file("f", &"text".repeat(100_000)).bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let mut wrapped = gzip.finish().unwrap();
    let crc = wrapped.len() - 6;
    wrapped[crc] ^= 0x55;
    let error = Stage::new().apply(&wrapped).unwrap_err();
    assert_eq!(
        error.to_string(),
        "apply layer: read layer: corrupt gzip stream does not have a matching checksum"
    );
}

#[test]
fn a_failing_reader_is_reported_as_such() {
    struct Breaks(usize);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionReset,
                    "the line went dead",
                ));
            }
            let n = buffer.len().min(self.0);
            self.0 -= n;
            buffer[..n].fill(0);
            Ok(n)
        }
    }
    let stage = Stage::new();
    let dir = sys::dir::Dir::open(stage.root()).unwrap();
    let archive = Build::new().file("f", &"x".repeat(100_000)).bytes();
    let mut reader = std::io::Cursor::new(archive[..2000].to_vec()).chain(Breaks(0));
    let error = layer::apply(&dir, &mut reader, &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "apply layer: read layer: the line went dead");
    // An archive cut short is not a broken line.
    let error = stage.apply(&archive[..2000]).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().contains("tar archive ends inside")),
        (Error::InvalidArgument, true)
    );
}

#[test]
fn limits_are_enforced_while_streaming() {
    let check = |limits: Limits, archive: &[u8], expected: &str| {
        let options = Options { limits, progress: None };
        let error = Stage::new().apply_with(archive, &options).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.kind(), Error::InvalidArgument);
    };
    let mut build = Build::new();
    for number in 0..50 {
        build = build.file(&format!("a/b/{number}"), "12345");
    }
    let archive = build.bytes();
    check(Limits { entries: 51, ..Limits::default() }, &archive, "more than 51 entries");
    check(Limits { bytes: 249, ..Limits::default() }, &archive, "files of more than 249 bytes");
    let fitting =
        Options { limits: Limits { entries: 52, bytes: 250, ..Limits::default() }, progress: None };
    Stage::new().apply_with(&archive, &fitting).unwrap();
    // 128 MiB of zeros in a few kilobytes.
    let mut bomb = zstd::Encoder::new(Vec::new(), 3).unwrap();
    for _ in 0..128 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    check(Limits::default(), &bomb.finish().unwrap(), "expands more than 1000 times");
}

#[test]
fn implied_directories_inherit_from_the_layers_below() {
    let stage = Stage::new();
    let lower = stage.base.join("root/lower-one");
    let lowest = stage.base.join("root/lower-two");
    for dir in
        [lower.join("only"), lowest.join("tmp"), lowest.join("only/deep"), lowest.join("hidden")]
    {
        std::fs::create_dir_all(dir).unwrap();
    }
    set_mode(&lowest, 0o751);
    set_mode(&lower, 0o711);
    set_mode(&lowest.join("tmp"), 0o1777);
    set_mode(&lowest.join("only/deep"), 0o2750);
    std::os::unix::fs::chown(lowest.join("only/deep"), Some(5), Some(6)).unwrap();
    set_mode(&lowest.join("only/deep"), 0o2750);
    rustix::fs::setxattr(lowest.join("tmp"), "user.x", b"y", rustix::fs::XattrFlags::empty())
        .unwrap();
    std::os::unix::fs::symlink("tmp", lower.join("hidden")).unwrap();
    let upper = Stage::new();
    let archive = Build::new()
        .file("tmp/f", "")
        .file("only/deep/f", "")
        .file("hidden/f", "")
        .file("new/f", "")
        .bytes();
    let applied = upper.apply(&archive).unwrap();
    let expected = ["hidden", "new", "only", "only/deep", "tmp", ""].map(PathBuf::from);
    assert_eq!(applied.implied, expected);
    let dir = sys::dir::Dir::open(upper.root()).unwrap();
    layer::inherit(&dir, &applied.implied, &[lower, lowest.clone()]).unwrap();
    let mode = |path: &str| upper.stat(path).mode() & 0o7777;
    assert_eq!(
        (mode("tmp"), mode("only"), mode("only/deep"), mode("hidden"), mode("new")),
        (0o1777, 0o755, 0o2750, 0o755, 0o755)
    );
    assert_eq!(mode(""), 0o711);
    assert_eq!((upper.stat("only/deep").uid(), upper.stat("only/deep").gid()), (5, 6));
    assert_eq!(
        upper.stat("tmp").mtime_nsec(),
        std::fs::metadata(lowest.join("tmp")).unwrap().mtime_nsec()
    );
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(upper.in_root("tmp"), "user.x", &mut value), Ok(1));
}

#[test]
fn sparse_files_keep_their_holes() {
    let stage = Stage::new();
    let scratch = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(scratch.path().join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (60 << 20) - 1).unwrap();
    for format in ["--format=gnu", "--format=posix"] {
        let mut tar = std::process::Command::new("tar");
        tar.arg(format)
            .arg("-S")
            .arg("-C")
            .arg(scratch.path())
            .arg("-cf")
            .arg(scratch.path().join("s.tar"))
            .arg("sparse");
        assert!(tar.output().unwrap().status.success());
        let archive = std::fs::read(scratch.path().join("s.tar")).unwrap();
        assert!(archive.len() < 1 << 20);
        stage.apply(&archive).unwrap();
        let m = stage.stat("sparse");
        assert_eq!(m.len(), 64 << 20);
        assert!(m.blocks() * 512 < 1 << 20, "{} blocks", m.blocks());
        assert_eq!(
            std::fs::read(stage.in_root("sparse")).unwrap(),
            std::fs::read(scratch.path().join("sparse")).unwrap()
        );
        std::fs::remove_file(stage.in_root("sparse")).unwrap();
    }
}

#[test]
fn progress_counts_the_bytes_that_were_read() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let seen = AtomicU64::new(0);
    let archive = Build::new().file("f", &"x".repeat(1 << 20)).bytes();
    let tell = |bytes: u64| seen.store(bytes, Ordering::Relaxed);
    Stage::new()
        .apply_with(&archive, &Options { limits: Limits::default(), progress: Some(&tell) })
        .unwrap();
    assert_eq!(seen.into_inner(), archive.len() as u64);
}
