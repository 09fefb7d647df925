//! Records of containers.
