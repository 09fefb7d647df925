//! Identity, capabilities, limits and signals of processes.
