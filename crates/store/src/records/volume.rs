//! Records of volumes.
