//! Resource control on cgroup v1, hybrid and v2 behind one interface.
