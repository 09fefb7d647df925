//! Real-time budgets of the groups that containers are below.
//!
//! On cgroup v1 the kernel gives a group at most what is left of the budget of the group above
//! (`Documentation/scheduler/sched-rt-group.rst`), and a new group has none: a container gets some only when its parents
//! have been given some first.

use stdx::{Error, Result};

use crate::dir::{Dir, mkdir};
use crate::hierarchy::Hierarchies;
use crate::path::GroupPath;

impl Hierarchies {
    /// Makes the group `path` in the hierarchy of `cpu` and gives it and all above it `runtime` of every `period`
    /// microseconds; 0 leaves a value as it is.
    ///
    /// # Errors
    /// On cgroup v2, which has no such budgets; where the kernel has none either; when the kernel refuses: budgets of all
    /// groups together may not be more than what is above, and not less than what has been given on.
    pub fn grant_realtime(&self, path: &str, period: u64, runtime: u64) -> Result<()> {
        let path = GroupPath::parse(path)?;
        let Some(cpu) = self.home("cpu").filter(|hierarchy| !hierarchy.unified) else {
            return Err(Error::invalid(
                "daemon-scoped cpu-rt-period and cpu-rt-runtime are not implemented for cgroup v2",
            ));
        };
        for place in path.parents().chain([path.as_str()]) {
            let place = cpu.mount.join(place);
            match mkdir(&place) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => {
                    return Err(Error::io(format!("make cgroup {}", place.display()), e.into()));
                }
            }
            let dir = Dir::open(&place)?;
            // The period first: the runtime may not be more than it.
            for (file, value) in [("cpu.rt_period_us", period), ("cpu.rt_runtime_us", runtime)] {
                if value == 0 {
                    continue;
                }
                if !dir.has(file) {
                    return Err(Error::invalid(
                        "Your kernel does not support CPU real-time scheduler",
                    ));
                }
                dir.write(file, &value.to_string())?;
            }
        }
        Ok(())
    }
}
