//! The daemon: read configuration, choose implementations, recover, serve, drain.

fn main() {}
