//! Whole stories on fakes: a registry in memory, snapshots in directories.

mod fixtures;
mod hostile;
mod load;
mod names;
mod pull;
mod remove;
