//! `update`.

use std::io::Read as _;
use std::path::Path;

use oci::runtime::{Cpu, Memory, Resources};
use stdx::{Context as _, Error, Result};

use crate::args::Global;
use crate::state::{self, Dir, Status};

/// Changes a container's limits, by what the options say or by a file (`-` is standard input).
pub(crate) fn update(
    global: &Global,
    id: &str,
    file: Option<&Path>,
    resources: &Resources,
) -> Result<()> {
    let dir = Dir::of(&global.root, id)?;
    let mut record = dir.load()?;
    let wanted = match file {
        Some(path) => read(path)?,
        None => resources.clone(),
    };
    if dir.status(&record) == Status::Stopped {
        return Err(Error::conflict("cannot update a container that has stopped"));
    }
    state::group(&record)?.update(&wanted)?;
    let linux = record.spec.linux.get_or_insert_default();
    merge(linux.resources.get_or_insert_default(), wanted);
    dir.save(&record)
}

fn read(path: &Path) -> Result<Resources> {
    let mut text = Vec::new();
    let doing = || format!("read resources of {}", path.display());
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).context(doing)?;
    } else {
        text = std::fs::read(path).context(doing)?;
    }
    serde_json::from_slice(&text).map_err(|e| Error::invalid(format!("{}: {e}", doing())))
}

/// What is remembered: what was, but for what is said anew.
fn merge(old: &mut Resources, new: Resources) {
    macro_rules! take {
        ($old:expr, $new:expr, $($field:ident),*) => {$(
            if $new.$field.is_some() {
                $old.$field = $new.$field;
            }
        )*};
    }
    if let Some(memory) = new.memory {
        let old = old.memory.get_or_insert_with(Memory::default);
        take!(
            old,
            memory,
            limit,
            reservation,
            swap,
            kernel,
            kernel_tcp,
            swappiness,
            disable_oom_killer
        );
    }
    if let Some(cpu) = new.cpu {
        let old = old.cpu.get_or_insert_with(Cpu::default);
        take!(
            old,
            cpu,
            shares,
            quota,
            burst,
            period,
            realtime_runtime,
            realtime_period,
            cpus,
            mems,
            idle
        );
    }
    take!(old, new, pids);
    if let Some(block) = new.block_io {
        let old = old.block_io.get_or_insert_default();
        take!(old, block, weight, leaf_weight);
    }
    if !new.devices.is_empty() {
        old.devices = new.devices;
    }
    old.unified.extend(new.unified);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let parse = |text: &str| serde_json::from_str::<Resources>(text).unwrap();
        let mut old =
            parse(r#"{"memory":{"limit":5,"swap":9},"pids":{"limit":3},"unified":{"a":"1"}}"#);
        merge(&mut old, parse(r#"{"memory":{"limit":6},"cpu":{"cpus":"0"},"unified":{"b":"2"}}"#));
        let expected = parse(
            r#"{"memory":{"limit":6,"swap":9},"cpu":{"cpus":"0"},"pids":{"limit":3},"unified":{"a":"1","b":"2"}}"#,
        );
        assert_eq!(old, expected);
    }
}
