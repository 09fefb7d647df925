//! Use cases over all subsystems; the only crate that sees them all.
