//! Content as files named by digest.
