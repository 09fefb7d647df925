//! What a container's driver tells the world.

use std::collections::BTreeMap;
use std::sync::Arc;
use stdx::time::Timestamp;
use store::records::container::ContainerRecord;
use store::records::network::EndpointRecord;

use crate::health::Health;
use crate::shim::Shim;

/// Where a container is in its life. Docker's booleans are computed from this at the edge, never stored.
#[derive(Debug, Clone)]
pub enum Phase {
    /// It has never run.
    Created,
    /// It is being started.
    Starting,
    /// It runs.
    Running(Live),
    /// It runs, frozen.
    Paused(Live),
    /// It runs and has been asked to end.
    Stopping(Live),
    /// It has ended, and its policy waits to start it again.
    Restarting,
    /// It has run.
    Exited,
    /// It is being removed.
    Removing,
    /// Its removal failed; the next start of the daemon tries again.
    Dead(String),
    /// It is no more.
    Gone,
}

/// What a running container has.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its supervisor.
    pub shim: Arc<Shim>,
    /// Its first process.
    pub pid: i32,
    /// Since when it runs.
    pub since: Timestamp,
}

impl Phase {
    /// What a running container has, paused and stopping ones included.
    pub fn live(&self) -> Option<&Live> {
        match self {
            Self::Running(live) | Self::Paused(live) | Self::Stopping(live) => Some(live),
            Self::Created
            | Self::Starting
            | Self::Restarting
            | Self::Exited
            | Self::Removing
            | Self::Dead(_)
            | Self::Gone => None,
        }
    }

    /// Its name in one word, for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Stopping(_) => "stopping",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead(_) => "dead",
            Self::Gone => "gone",
        }
    }

    /// Whether a process of it may exist.
    pub fn is_running(&self) -> bool {
        self.live().is_some()
    }
}

/// A container's places on networks, by the networks' names.
pub type Endpoints = BTreeMap<String, EndpointRecord>;

/// What a driver last published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The container's record.
    pub record: Arc<ContainerRecord>,
    /// Where it is in its life.
    pub phase: Phase,
    /// How often it has ended while this daemon ran.
    pub exits: u64,
    /// Its networks, while it runs.
    pub endpoints: Endpoints,
    /// How healthy it is, if it is probed.
    pub health: Option<Arc<Health>>,
}
