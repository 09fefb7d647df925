//! Build, run, test and measure Gantry.

fn main() {}
