//! A container's supervisor.

fn main() {}
