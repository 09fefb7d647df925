//! Networks on a Linux bridge.
