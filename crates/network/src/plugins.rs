//! Drivers that are found by name when somebody asks for them.

use crate::{Driver, EndpointId, NetworkId};
use std::net::IpAddr;
use std::sync::Arc;

/// Drivers outside of the daemon. They keep what they are asked for, so whoever speaks to them writes down first what is
/// to be taken back after a crash.
pub trait Plugins: Send + Sync + std::fmt::Debug {
    /// The driver of that name. It is looked for when it is first used, and not before: what it is asked says that there
    /// is none.
    fn driver(&self, name: &str) -> Arc<dyn Driver>;

    /// The names of those that have answered, sorted.
    fn loaded(&self) -> Vec<String>;

    /// At the daemon's start, after every driver's `recover`: what plugins keep for nobody is taken back. Nobody waits
    /// for it.
    fn recover(&self, networks: &[NetworkId], owners: &[Owner]);
}

/// Who still has what drivers and address managements gave, of whatever driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}
