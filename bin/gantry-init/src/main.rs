//! PID 1 for --init; started as /hello it greets.

fn main() {}
