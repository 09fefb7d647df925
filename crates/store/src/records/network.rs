//! Records of networks.
