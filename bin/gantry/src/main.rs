//! The client: everything that docker does on the command line.

fn main() {}
