//! Archives that mean harm. Each is applied in the jail and without it, and nothing outside may change.

#![allow(clippy::unwrap_used)] // Helpers are tests too.

mod common;

use common::{Build, Stage};
use std::os::unix::fs::MetadataExt as _;
use stdx::Kind as Error;
use tar::{Entry, Kind};

/// Applies with and without the jail; shows the listing or the error, which must be the same.
fn check(archive: &[u8], expected: Result<&[&str], &str>) -> Stage {
    let stage = Stage::new();
    for unjailed in [true, false] {
        let stage = Stage::new();
        let outcome = if unjailed { stage.apply_unjailed(archive) } else { stage.apply(archive) };
        compare(&stage, outcome.map(drop), expected);
    }
    let _seen = stage.apply(archive);
    stage
}

fn compare(stage: &Stage, outcome: stdx::Result<()>, expected: Result<&[&str], &str>) {
    match (outcome, expected) {
        (Ok(()), Ok(listing)) => assert_eq!(stage.listing()[1..], *listing),
        (Err(error), Err(text)) => {
            assert!(error.to_string().contains(text), "{error}");
            assert_ne!(error.kind(), Error::DataLoss);
        }
        (Ok(()), Err(text)) => panic!("applied {:?} instead of: {text}", stage.listing()),
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

/// Appendix A of the security design, `escape`.
#[test]
fn names_and_links_cannot_leave() {
    let canary = Stage::new();
    let outside = canary.base.join("canary").to_string_lossy().into_owned();
    let inside = outside.trim_start_matches('/').to_owned();
    // A dangling link is not made true.
    check(&Build::new().symlink("l", &outside).file("l/pwned1", "x").bytes(), Err("File exists"));
    let up = format!("../../../../../../../..{outside}/pwned2");
    let archive = Build::new()
        .dir(&inside, 0o755)
        .symlink("l", &outside)
        .file("l/pwned1", "x")
        .file(&up, "y")
        .file(&format!("{outside}/pwned3"), "z");
    let stage = Stage::new();
    stage.apply(&archive.bytes()).unwrap();
    for name in ["pwned1", "pwned2", "pwned3"] {
        assert!(stage.has(&format!("{inside}/{name}")), "{name}");
        assert!(!canary.base.join("canary").join(name).exists());
    }
    let shadow = canary.base.join("shadow").to_string_lossy().into_owned();
    for target in [shadow.as_str(), "/etc/shadow", "../../../etc/shadow", "../shadow"] {
        check(&Build::new().link("hl", target).bytes(), Err("hard link to"));
    }
    // In the root the same names are harmless.
    let stage = check(
        &Build::new()
            .file("etc/shadow", "ours")
            .link("hl", "/etc/shadow")
            .link("hl2", "../../../etc/shadow")
            .bytes(),
        Ok(&["etc", "etc/shadow", "hl", "hl2"]),
    );
    assert_eq!((stage.text("hl"), stage.stat("hl").nlink()), ("ours".into(), 3));
}

/// CVE-2021-32760, CVE-2021-41089, RUSTSEC-2026-0067: a link, then a directory of its name.
#[test]
fn modes_are_not_set_through_links() {
    let victim = Stage::new();
    let outside = victim.base.join("victim").to_string_lossy().into_owned();
    let stage = check(&Build::new().symlink("d", &outside).dir("d/", 0o777).bytes(), Ok(&["d"]));
    assert!(stage.stat("d").is_dir());
    assert_eq!(std::fs::metadata(victim.base.join("victim")).unwrap().mode() & 0o7777, 0o700);
    // Relative, and through two.
    let archive =
        Build::new().symlink("a", "../victim").symlink("b", "a").dir("b", 0o777).dir("a", 0o777);
    check(&archive.bytes(), Ok(&["a", "b"]));
    // Owner, mode and attributes of a link are the link's.
    let mut entry = Entry::new("l", Kind::Symlink { target: outside.clone().into_bytes() });
    (entry.uid, entry.mode) = (1000, 0o777);
    entry.xattrs = vec![(b"user.x".to_vec(), b"y".to_vec())];
    check(&Build::new().entry(entry).bytes(), Ok(&["l"]));
}

#[test]
fn a_file_does_not_write_through_what_is_there() {
    let place = Stage::new();
    let outside = place.base.join("canary/f").to_string_lossy().into_owned();
    let stage = check(&Build::new().symlink("f", &outside).file("f", "new").bytes(), Ok(&["f"]));
    assert!(stage.stat("f").is_file());
    // A hard link to a link is the link's second name; writing to it replaces the name.
    let stage = check(
        &Build::new().symlink("s", &outside).link("h", "s").file("h", "new").bytes(),
        Ok(&["h", "s"]),
    );
    assert!(stage.stat("h").is_file() && stage.stat("s").is_symlink());
    // A FIFO must not be waited for.
    check(&Build::new().entry(Entry::new("p", Kind::Fifo)).file("p", "x").bytes(), Ok(&["p"]));
}

#[test]
fn magic_links_lead_nowhere() {
    for magic in ["/proc/self/root/tmp", "/proc/self/cwd", "/proc/self/fd/3"] {
        let archive = Build::new().symlink("m", magic).file("m/x", "x").bytes();
        check(&archive, Err("File exists"));
    }
}

#[test]
fn the_root_stays_a_directory() {
    for root in ["./", ".", "/", "a/.."] {
        let entry = Entry::new(root, Kind::Symlink { target: b"/canary".to_vec() });
        check(&Build::new().entry(entry).bytes(), Err("the root of a layer must be a directory"));
    }
    check(&Build::new().link("h", "/").bytes(), Err("a hard link to the root directory"));
    check(&Build::new().dir("a", 0o755).link("h", "a").bytes(), Err("hard link to a"));
}

#[test]
fn whiteouts_are_literal() {
    for (name, expected) in [
        (".wh..", "a whiteout of no name"),
        (".wh...", "a whiteout of no name"),
        ("a/.wh.", "a whiteout of no name"),
        ("a/.wh..", "a whiteout of no name"),
        (".wh./x", "a whiteout used as a directory"),
        ("a/.wh.b/x", "a whiteout used as a directory"),
    ] {
        check(&Build::new().file(name, "").bytes(), Err(expected));
    }
    // Through a link the mark is set inside.
    let place = Stage::new();
    let outside = place.base.join("canary/d").to_string_lossy().into_owned();
    check(
        &Build::new().symlink("l", &outside).file("l/.wh..wh..opq", "").bytes(),
        Err("File exists"),
    );
    let stage = check(
        &Build::new()
            .dir("real", 0o755)
            .symlink("l", "/real")
            .file("l/.wh..wh..opq", "")
            .file("l/.wh.x", "")
            .bytes(),
        Ok(&["l", "real", "real/x"]),
    );
    assert!(stage.is_opaque("real") && stage.is_whiteout("real/x"));
    check(&Build::new().file(".wh.a", "").link("b", "a").bytes(), Err("it is a whiteout"));
}

#[test]
fn forged_marks_are_refused_or_dropped() {
    let device = Entry::new("d", Kind::CharDevice { major: 0, minor: 0 });
    check(&Build::new().entry(device).bytes(), Err("a character device 0:0 is no device"));
    let stage = Stage::new();
    let mut entry = Entry::new("d", Kind::Directory);
    entry.xattrs = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "trusted.other",
        "user.overlay.opaque",
        "security.selinux",
        "security.ima",
        "system.nfs4_acl",
    ]
    .iter()
    .map(|name| (name.as_bytes().to_vec(), b"y".to_vec()))
    .collect();
    let applied = stage.apply(&Build::new().entry(entry).bytes()).unwrap();
    assert_eq!(applied.dropped_xattrs, 8);
    let mut list = vec![0; 4096];
    assert_eq!(rustix::fs::listxattr(stage.in_root("d"), &mut list), Ok(0));
}

#[test]
fn swapping_a_directory_for_a_link_midway_changes_nothing_outside() {
    let place = Stage::new();
    let outside = place.base.join("canary").to_string_lossy().into_owned();
    // The directory is open in the cache when its name becomes a link.
    let archive = Build::new()
        .dir("d", 0o755)
        .file("d/before", "x")
        .symlink("d", &outside)
        .file("d/after", "y")
        .bytes();
    check(&archive, Err("File exists"));
    let archive = Build::new()
        .dir("e", 0o755)
        .dir("d", 0o755)
        .dir("d/sub", 0o755)
        .file("d/sub/before", "x")
        .symlink("d", "e")
        .file("d/sub/after", "y")
        .bytes();
    let stage = check(&archive, Ok(&["d", "e", "e/sub", "e/sub/after"]));
    assert!(stage.stat("d").is_symlink());
}

#[test]
fn loops_and_depth_end() {
    check(
        &Build::new().symlink("a", "b").symlink("b", "a").file("a/x", "").bytes(),
        Err("symbolic links"),
    );
    check(&Build::new().symlink("a", "a").dir("a/x", 0o755).bytes(), Err("symbolic links"));
    let deep = "d/".repeat(300) + "f";
    check(&Build::new().file(&deep, "").bytes(), Err("a depth over the limit"));
    let long = "n".repeat(5000);
    check(&Build::new().file(&long, "").bytes(), Err("a path over the limit"));
    check(&Build::new().file(&"n".repeat(300), "").bytes(), Err("File name too long"));
}

#[test]
fn a_hard_link_to_itself_keeps_the_file() {
    let stage =
        check(&Build::new().file("f", "text").link("f", "f").link("f", "./f").bytes(), Ok(&["f"]));
    assert_eq!(stage.text("f"), "text");
}

#[test]
fn rubbish_is_refused() {
    for rubbish in [&[1_u8; 512][..], &[0; 100], b"hello", &[0xff; 4096]] {
        let error = Stage::new().apply(rubbish).unwrap_err();
        assert_eq!(error.kind(), Error::InvalidArgument, "{error}");
    }
    assert_eq!(Stage::new().apply(&[0; 1024]).unwrap().entries, 0);
    assert_eq!(Stage::new().apply(&[]).unwrap().entries, 0);
}
