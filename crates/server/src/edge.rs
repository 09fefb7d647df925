//! The edge itself: sockets, connections, bodies and raw streams. Nothing here knows a route or the engine.

pub(crate) mod body;
pub(crate) mod conn;
mod crowd;
pub(crate) mod detach;
pub(crate) mod listen;
pub(crate) mod pump;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod websocket;
