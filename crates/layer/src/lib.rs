//! Layer archives to directories and back, never leaving their root.
