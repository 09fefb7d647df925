//! Logs in Docker's json-file format.
