//! Wire ↔ engine. Quirks of API versions live here and nowhere else.

pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod info;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod place;
pub(crate) mod stats;
pub(crate) mod times;
pub(crate) mod update;
