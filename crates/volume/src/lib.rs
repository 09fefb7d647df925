//! Contract: volume drivers.
