//! Starting our own helper programs.
