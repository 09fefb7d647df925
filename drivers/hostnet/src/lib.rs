//! The networks host and none, and those of another container.
