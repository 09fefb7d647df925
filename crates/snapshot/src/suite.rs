//! Checks that every storage driver must pass.
