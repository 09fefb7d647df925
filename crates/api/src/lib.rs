//! The Docker Engine API on the wire: structs, routes, versions.
//!
//! The structs are the API's own (`PascalCase` names, Docker's field order), the same in both directions, so that server
//! and client share them. What a field means is said by the API's description; a comment stands here only where the
//! wire has a habit that the description does not tell. Three habits of Go matter everywhere and live in [`json`]:
//!
//! * Writing: a nil slice or map is `null`, an empty one `[]` or `{}`, and clients in other languages depend on which
//!   it is. A field that `dockerd` prints as `null` is an [`Option`] here, one that it always prints as `[]` is a plain
//!   [`Vec`], one that it leaves out when empty says `skip_serializing_if`.
//! * Reading: names match in any case, unknown ones are skipped, `null` is the type's zero value.
//! * Maps are printed with sorted keys, hence [`std::collections::BTreeMap`].
//!
//! Read with [`json::from_slice`], not with `serde_json` itself, which knows none of this.

#![forbid(unsafe_code)]

pub mod config;
pub mod container;
pub mod exec;
pub mod host;
pub mod image;
pub mod json;
pub mod network;
pub mod routes;
pub mod stats;
pub mod stream;
pub mod system;
pub mod version;
pub mod volume;

pub use config::{
    ContainerConfig, ContainerCreateBody, ContainerCreateResponse, Empty, HealthConfig,
};
pub use container::{
    ChangeItem, ContainerInspect, ContainerPruneReport, ContainerState, ContainerSummary,
    ContainerUpdateBody, ContainerUpdateResponse, GraphDriver, Health, HealthResult, MountPoint,
    Port, SummaryHostConfig, SummaryNetworkSettings, Top, WaitError, WaitResponse,
};
pub use exec::{ExecCreateBody, ExecInspect, ExecProcess, ExecStartBody, IdResponse};
pub use host::{
    BindOptions, Device, DeviceRequest, Driver, HostConfig, LogConfig, Mount, PortBinding, PortMap,
    RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, WeightDevice,
};
pub use image::{HistoryItem, ImageDelete, ImageInspect, ImagePruneReport, ImageSummary};
pub use json::Go;
pub use network::{
    Address, ConfigFrom, EndpointIpam, EndpointSettings, Ipam, IpamConfig, IpamStatus, Network,
    NetworkConnectBody, NetworkContainer, NetworkCreateBody, NetworkCreateResponse,
    NetworkDecision, NetworkDisconnectBody, NetworkExplanation, NetworkPruneReport,
    NetworkSettings, NetworkStatus, NetworkingConfig, SubnetStatus,
};
pub use routes::{Handler, Method, ROUTES, Route, Stage};
pub use stream::{JsonError, JsonMessage, Progress};
pub use system::{
    Actor, AuthConfig, AuthResponse, Commit, Component, DiskUsage, ErrorBody, Event, IndexConfig,
    Info, Platform, Plugins, RegistryConfig, RuntimeInfo, SwarmInfo, Version,
};
pub use version::{ApiVersion, MAX, MIN};
pub use volume::{Volume, VolumeCreateBody, VolumeList, VolumePruneReport, VolumeUsage};
