//! The options of `update`, as the resources that they stand for.

use oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use super::words::Words;
use super::{Command, unknown};

pub(super) fn parse(words: &mut Words) -> Result<Command, String> {
    let (mut file, mut cpu, mut memory) = (None, Cpu::default(), Memory::default());
    let (mut block_io, mut pids) = (None, None);
    while let Some(option) = words.option() {
        let name = option.name.clone();
        match name.as_str() {
            "resources" | "r" => file = words.path(option)?,
            "blkio-weight" => block_io = Some(words.number(option)?).filter(|n| *n > 0_u16),
            "cpu-period" => cpu.period = words.number_if_any(option)?,
            "cpu-quota" => cpu.quota = words.number_if_any(option)?,
            "cpu-burst" => cpu.burst = words.number_if_any(option)?,
            "cpu-share" => cpu.shares = words.number_if_any(option)?,
            "cpu-rt-period" => cpu.realtime_period = words.number_if_any(option)?,
            "cpu-rt-runtime" => cpu.realtime_runtime = words.number_if_any(option)?,
            "cpu-idle" => cpu.idle = words.number_if_any(option)?,
            "cpuset-cpus" => cpu.cpus = Some(words.value(option)?).filter(|c| !c.is_empty()),
            "cpuset-mems" => cpu.mems = Some(words.value(option)?).filter(|m| !m.is_empty()),
            "memory" => memory.limit = bytes(&name, &words.value(option)?)?,
            "memory-reservation" => memory.reservation = bytes(&name, &words.value(option)?)?,
            "memory-swap" => memory.swap = bytes(&name, &words.value(option)?)?,
            // Deprecated by the kernel, and ignored by runc since 1.0.
            "kernel-memory" | "kernel-memory-tcp" => drop(words.value(option)?),
            "pids-limit" => pids = Some(words.number(option)?).filter(|n| *n != 0_i64),
            "l3-cache-schema" | "mem-bw-schema" => {
                return Err(format!("--{name}: Intel RDT is not supported"));
            }
            _ => return Err(unknown(&option)),
        }
    }
    let id = words.id("update")?;
    words.end()?;
    let resources = Resources {
        cpu: (cpu != Cpu::default()).then_some(cpu),
        memory: (memory != Memory::default()).then_some(memory),
        block_io: block_io.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        pids: pids.map(|limit| Pids { limit }),
        ..Resources::default()
    };
    Ok(Command::Update { id, file, resources: Box::new(resources) })
}

/// A number of bytes, with a unit of 1024s perhaps; -1 is no limit.
fn bytes(name: &str, text: &str) -> Result<Option<i64>, String> {
    let wrong = || format!("invalid value for {name}: {text:?}");
    if text.is_empty() {
        return Ok(None);
    }
    if text == "-1" {
        return Ok(Some(-1));
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let shift = match lower[digits..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let number: i64 = lower[..digits].parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let check = |text| bytes("memory", text);
        for (text, expected) in [
            ("", None),
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("128m", Some(128 << 20)),
            ("1KiB", Some(1024)),
            ("2GB", Some(2 << 30)),
        ] {
            assert_eq!(check(text), Ok(expected), "{text}");
        }
        for bad in ["x", "-2", "1q", "99999999999999999999", "9999999999t"] {
            assert_eq!(check(bad), Err(format!("invalid value for memory: {bad:?}")));
        }
    }
}
