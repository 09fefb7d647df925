//! Volumes as directories.
