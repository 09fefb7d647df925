//! Resource control on cgroup v1, hybrid and v2 behind one interface.
//!
//! # The story of one container
//!
//! The daemon looks once at what the host has, [`Hierarchies::detect`], and hands the result to every shim as text. The
//! shim makes the container's [`Group`] before the container's first process exists: a directory in every hierarchy,
//! all devices denied but the listed ones, every limit written. The first process is born in it (v2, `enter_fd`) or
//! written into it while it still waits (v1, [`Group::add`]). While it runs, [`Group::stats`], [`Group::freeze`],
//! [`Group::update`] and [`Group::oom_watch`] serve the engine; at the end [`Group::kill`] leaves nothing alive and
//! [`Group::remove`] leaves nothing behind.
//!
//! ```text
//! /sys/fs/cgroup/                         v1 and hybrid          /sys/fs/cgroup/   v2
//! ├── memory/gantry/<id>/                 one per controller     └── gantry/<id>/
//! ├── cpu,cpuacct/gantry/<id>/            or per few together
//! ├── systemd/gantry/<id>/                named, no controller
//! └── unified/gantry/<id>/                hybrid: kill, freeze and emptiness come from here
//! ```
//!
//! Each controller is looked up where it lives, so a hybrid host with some controllers on v2 needs no case of its own.
//! Every file is opened relative to the group's directory descriptor and written with a single write(2), because the
//! kernel takes one write as one order. What to write is planned by pure functions (`plan`) and applied by one.

#![forbid(unsafe_code)]

mod convert;
mod devices;
mod dir;
mod ebpf;
mod enter;
mod group;
mod hierarchy;
mod life;
mod mounts;
mod oom;
mod path;
mod plan;
mod realtime;
mod stats;

pub use devices::{DEFAULT_DEVICES, DevicePolicy};
pub use ebpf::assemble as assemble_device_program;
pub use enter::View;
pub use group::Group;
pub use hierarchy::{Features, Hierarchies, Version};
pub use mounts::CgroupMount;
pub use oom::OomWatch;
pub use stats::{CpuStats, IoEntry, MemoryStats, PidsStats, Stats};
