//! What must hold for paths in a tree that somebody else wrote.

use super::*;
use std::os::unix::fs::symlink;

/// A fresh directory with `root` in it and a canary beside it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sys-dir-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(path.join("root")).unwrap();
        std::fs::write(path.join("canary"), "outside").unwrap();
        Self(path)
    }

    fn root(&self) -> Dir {
        Dir::open(self.0.join("root")).unwrap()
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.join("root").join(inside)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn create(dir: &Dir, path: &str) -> io::Result<OwnedFd> {
    dir.open_in_root(path, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600))
}

#[test]
fn links_and_dots_stay_in_the_root() {
    let place = Place::new("links");
    let root = place.root();
    std::fs::create_dir(place.path("run")).unwrap();
    symlink("/run", place.path("absolute")).unwrap();
    symlink("../../../run", place.path("relative")).unwrap();
    create(&root, "absolute/a").unwrap();
    create(&root, "/relative/b").unwrap();
    create(&root, "../../run/c").unwrap();
    for name in ["a", "b", "c"] {
        assert!(place.path("run").join(name).exists(), "{name}");
    }
    symlink(place.0.join("canary"), place.path("out")).unwrap();
    assert_eq!(root.read_file("out", 100).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(root.read_file("../canary", 100).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn magic_links_are_refused() {
    let place = Place::new("magic");
    let file = File::open(place.0.join("canary")).unwrap();
    let proc = Dir::open("/proc").unwrap();
    let error = proc
        .open_in_root(format!("self/fd/{}", file.as_raw_fd()), OFlags::RDONLY, Mode::empty())
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn beneath_follows_nothing() {
    let place = Place::new("beneath");
    let root = place.root();
    std::fs::create_dir(place.path("d")).unwrap();
    symlink("d", place.path("l")).unwrap();
    assert!(root.open_beneath("d", OFlags::RDONLY, Mode::empty()).is_ok());
    assert!(root.open_beneath("l", OFlags::RDONLY, Mode::empty()).is_err());
    assert!(root.open_beneath("../canary", OFlags::RDONLY, Mode::empty()).is_err());
    assert!(root.open_beneath("/etc", OFlags::RDONLY, Mode::empty()).is_err());
}

#[test]
fn make_dirs_follows_links_inside_and_makes_nothing_outside() {
    let place = Place::new("make");
    let root = place.root();
    symlink("/srv/data", place.path("l")).unwrap();
    // A dangling link is not made true.
    assert_eq!(root.make_dirs("l/x", 0o755).unwrap_err().kind(), io::ErrorKind::NotFound);
    root.make_dirs("/srv/data", 0o755).unwrap();
    root.make_dirs("l/x/y", 0o700).unwrap();
    assert!(place.path("srv/data/x/y").is_dir());
    root.make_dirs("../../../up", 0o755).unwrap();
    assert!(place.path("up").is_dir());
    assert!(root.make_dirs("none/../../y", 0o755).is_err());
    root.make_dirs("/", 0o755).unwrap();
    std::fs::write(place.path("file"), "").unwrap();
    assert!(root.make_dirs("file/x", 0o755).is_err());
}

#[test]
fn only_small_regular_files_are_read() {
    let place = Place::new("read");
    let root = place.root();
    std::fs::write(place.path("passwd"), "root:x:0:0").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    symlink("/dev/zero", place.path("zero")).unwrap();
    assert_eq!(root.read_file("passwd", 10).unwrap(), b"root:x:0:0");
    assert_eq!(root.read_file("passwd", 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(root.read_file("fifo", 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(root.read_file("/", 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(root.read_file("zero", 10).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn names_are_single_components() {
    let place = Place::new("names");
    let root = place.root();
    for bad in ["", ".", "..", "a/b", "/a"] {
        assert_eq!(
            root.create_dir(bad, 0o700).unwrap_err().kind(),
            io::ErrorKind::InvalidInput,
            "{bad}"
        );
        assert_eq!(root.remove_tree(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
    }
    let (parent, name) = root.parent_in_root("a").unwrap();
    assert_eq!((parent.names().unwrap().len(), name.to_str()), (0, Some("a")));
    assert!(root.parent_in_root("/").is_err());
    assert!(root.parent_in_root("a/..").is_err());
}

#[test]
fn remove_tree_follows_no_link() {
    let place = Place::new("remove");
    let root = place.root();
    std::fs::create_dir_all(place.path("t/a/b")).unwrap();
    std::fs::write(place.path("t/a/f"), "").unwrap();
    symlink(&place.0, place.path("t/a/b/up")).unwrap();
    root.remove_tree("t").unwrap();
    root.remove_tree("t").unwrap();
    assert!(!place.path("t").exists());
    assert!(place.0.join("canary").exists());
}

#[test]
fn remove_tree_is_not_beaten_by_depth() {
    let place = Place::new("deep");
    let root = place.root();
    let mut at = root.try_clone().unwrap();
    for _ in 0..3000 {
        at.create_dir("d", 0o700).unwrap();
        at.create_dir("e", 0o700).unwrap();
        at = at.child("d").unwrap();
    }
    drop(at);
    root.remove_tree("d").unwrap();
    root.remove_tree("e").unwrap();
    assert_eq!(root.names().unwrap().len(), 0);
}

#[test]
fn set_mode_changes_what_is_open_and_never_a_link() {
    let place = Place::new("mode");
    let root = place.root();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    symlink("../canary", place.path("l")).unwrap();
    let before = std::fs::metadata(place.0.join("canary")).unwrap();
    let fifo = root.open_in_root("fifo", OFlags::PATH, Mode::empty()).unwrap();
    set_mode(&fifo, 0o4642).unwrap();
    assert_eq!(root.stat("fifo").unwrap().st_mode & 0o7777, 0o4642);
    let link = root.open_in_root("l", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
    assert!(set_mode(&link, 0o777).is_err());
    let after = std::fs::metadata(place.0.join("canary")).unwrap();
    assert_eq!(before.permissions(), after.permissions());
}
