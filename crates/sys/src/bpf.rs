//! eBPF programs for the device controller of cgroup v2.
