//! Contract: log records, sinks and readers.
