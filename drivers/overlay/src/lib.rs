//! Snapshots on the overlay file system.
