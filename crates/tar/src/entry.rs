//! What an archive says about one file.

/// One member of an archive, everything merged that its headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as it is written, possibly absolute, with `..`, or ending in a slash; without NUL and not empty.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with set-id and sticky bits; nothing else.
    pub mode: u32,
    /// The owner, never `u32::MAX` (which means "unchanged" to the kernel).
    pub uid: u32,
    /// The group, never `u32::MAX`.
    pub gid: u32,
    /// The owner's name; empty if not said.
    pub user: Vec<u8>,
    /// The group's name; empty if not said.
    pub group: Vec<u8>,
    /// When the content last changed.
    pub mtime: Time,
    /// Bytes of content, holes included; 0 for everything but files.
    pub size: u64,
    /// Where a sparse file has data, ascending; `None` if it is not sparse.
    pub extents: Option<Vec<Extent>>,
    /// Extended attributes, each name once.
    pub xattrs: Xattrs,
}

/// Names with values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points at, as it is written.
        target: Vec<u8>,
    },
    /// Another name of an earlier entry.
    HardLink {
        /// That entry's path, as it is written.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// A moment: seconds since 1970, possibly negative, and nanoseconds after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// A part of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

impl Entry {
    /// A plain entry of root's: mode 0644, or 0755 for directories, at 1970.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            mtime: Time::default(),
            size: 0,
            extents: None,
            xattrs: Vec::new(),
        }
    }
}
