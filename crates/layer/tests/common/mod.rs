//! A layer's directory with a canary beside it, and archives built by hand.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // Helpers of tests; each test file uses its part.

use layer::{Applied, Options};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use sys::dir::Dir;
use tar::{Entry, Kind, Writer};

/// What is outside must stay exactly as it is.
pub struct Stage {
    _dir: tempfile::TempDir,
    pub base: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Stage {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_owned();
        std::fs::create_dir_all(base.join("root")).unwrap();
        std::fs::create_dir_all(base.join("canary/d")).unwrap();
        std::fs::write(base.join("canary/f"), "outside").unwrap();
        std::fs::write(base.join("shadow"), "secret").unwrap();
        std::fs::create_dir(base.join("victim")).unwrap();
        set_mode(&base.join("victim"), 0o700);
        let before = fingerprint(&base);
        Self { _dir: dir, base, before }
    }

    pub fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    pub fn in_root(&self, path: &str) -> PathBuf {
        self.base.join("root").join(path)
    }

    /// Applies in the jail as the engine does.
    pub fn apply(&self, archive: &[u8]) -> stdx::Result<Applied> {
        self.apply_with(archive, &Options::default())
    }

    pub fn apply_with(&self, archive: &[u8], options: &Options<'_>) -> stdx::Result<Applied> {
        let dir = Dir::open(self.root()).unwrap();
        let mut reader = archive;
        let result = layer::apply_jailed(&dir, &mut reader, options);
        assert_eq!(fingerprint(&self.base), self.before, "something outside has changed");
        result
    }

    /// The same without Landlock: the code's own care must suffice.
    pub fn apply_unjailed(&self, archive: &[u8]) -> stdx::Result<Applied> {
        let dir = Dir::open(self.root()).unwrap();
        let mut reader = archive;
        let result = layer::apply(&dir, &mut reader, &Options::default());
        assert_eq!(fingerprint(&self.base), self.before, "something outside has changed");
        result
    }

    pub fn stat(&self, path: &str) -> std::fs::Metadata {
        std::fs::symlink_metadata(self.in_root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.in_root(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn has(&self, path: &str) -> bool {
        std::fs::symlink_metadata(self.in_root(path)).is_ok()
    }

    pub fn is_whiteout(&self, path: &str) -> bool {
        std::fs::symlink_metadata(self.in_root(path))
            .is_ok_and(|m| m.rdev() == 0 && m.mode() & 0o170_000 == 0o020_000)
    }

    pub fn is_opaque(&self, path: &str) -> bool {
        let mut value = [0; 8];
        let got = rustix::fs::lgetxattr(self.in_root(path), "trusted.overlay.opaque", &mut value);
        got.is_ok_and(|n| &value[..n] == b"y")
    }

    /// Every path in the root.
    pub fn listing(&self) -> Vec<String> {
        let mut all = Vec::new();
        walk(&self.root(), &mut |path| {
            all.push(path.strip_prefix(self.root()).unwrap().to_string_lossy().into_owned());
        });
        all.sort();
        all
    }
}

fn fingerprint(base: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for place in ["canary", "shadow", "victim"] {
        walk(&base.join(place), &mut |path| {
            let m = std::fs::symlink_metadata(path).unwrap();
            let content = if m.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
            let line = format!(
                "{:o} {}:{} {} {} {}.{} {content:?}",
                m.mode(),
                m.uid(),
                m.gid(),
                m.ino(),
                m.nlink(),
                m.mtime(),
                m.mtime_nsec()
            );
            all.insert(path.to_owned(), line);
        });
    }
    // Nothing new beside them either.
    let names: Vec<_> = std::fs::read_dir(base).unwrap().map(|e| e.unwrap().file_name()).collect();
    all.insert(PathBuf::from("/"), format!("{}", names.len()));
    all
}

fn walk(path: &Path, see: &mut dyn FnMut(&Path)) {
    see(path);
    if std::fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), see);
        }
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// An archive in the making.
#[derive(Default)]
pub struct Build {
    entries: Vec<(Entry, Vec<u8>)>,
}

impl Build {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        let mut entry = Entry::new(path, Kind::File);
        entry.size = content.len() as u64;
        self.entry_with(entry, content.as_bytes())
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        let mut entry = Entry::new(path, Kind::Directory);
        entry.mode = mode;
        self.entry(entry)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(Entry::new(path, Kind::Symlink { target: target.into() }))
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(Entry::new(path, Kind::HardLink { target: target.into() }))
    }

    pub fn entry(self, entry: Entry) -> Self {
        self.entry_with(entry, &[])
    }

    pub fn entry_with(mut self, entry: Entry, content: &[u8]) -> Self {
        self.entries.push((entry, content.to_vec()));
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for (entry, content) in &self.entries {
            writer.append(entry, &mut content.as_slice()).unwrap();
        }
        writer.finish().unwrap();
        out
    }
}
