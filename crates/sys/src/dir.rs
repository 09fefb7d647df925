//! Directories as roots: paths are opened beneath them, never joined.
