//! The OCI runtime behind runc's command line.

fn main() {}
