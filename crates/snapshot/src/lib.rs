//! Contract: layered file systems.
