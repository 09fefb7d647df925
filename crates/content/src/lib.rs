//! Contract: digest-addressed blobs.
