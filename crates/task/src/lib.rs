//! The protocol between the engine and a container's shim, both ends.
