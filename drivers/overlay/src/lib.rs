//! Snapshots on the kernel's overlay file system, without a database: the directories are the truth.
//!
//! ```text
//! DATA-ROOT/snapshots/                  0700: no host user may reach a setuid file of an image (CVE-2021-41091)
//! ├── active/<key>/
//! │   ├── fs/                           the difference; becomes the overlay's upper directory
//! │   ├── work/                         the kernel's scratch; not in views
//! │   └── parent → ../../committed/<name>   made last: without it the snapshot is half-made. Views call it `view`;
//! │                                     the empty tree is → ../../empty
//! ├── committed/<name>/{fs,parent}      whole and synced, or not there: it arrives by one rename
//! ├── trash/<number>                    removed by one rename, deleted later
//! └── empty/                            the lower directory of whatever has no parent
//! ```
//!
//! What is read at [`Snapshotter::open`] is kept in memory (a few hundred bytes for a snapshot), so that `prepare` costs
//! three `mkdir` and a link. Only one process may have the store open; the data-root's lock sees to that.

mod disk;
mod index;
mod snapshotter;
mod usage;

pub use snapshotter::Snapshotter;
