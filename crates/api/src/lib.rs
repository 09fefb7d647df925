//! The Docker Engine API on the wire: structs, routes, versions.
