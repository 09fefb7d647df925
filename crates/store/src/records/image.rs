//! Records of images.
