//! One container's supervisor: stdio, log, exit record.
