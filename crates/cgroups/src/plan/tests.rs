//! Plans, written as lines.
