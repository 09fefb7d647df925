//! Making the host forward, and remembering that it did not.

use crate::host::Host;
use std::path::{Path, PathBuf};
use stdx::fs::Durability;
use stdx::{Context as _, Result};

const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// If the host does not forward IPv4, writes down that it did not. From then until the next boot our firewall table keeps
/// the host from forwarding for others, and `--cleanup` switches it off again.
pub(crate) fn note(state: &Path) -> Result<()> {
    if read(SETTING)? == "1" {
        return Ok(());
    }
    let boot = read(BOOT_ID)?;
    stdx::fs::replace(&record(state), boot.as_bytes(), 0o600, Durability::Process)
}

/// Switches IPv4 forwarding on. The firewall table is there already: at no time does the host forward for everybody.
pub(crate) fn enable() -> Result<()> {
    if read(SETTING)? == "1" { Ok(()) } else { write("1") }
}

/// Whether we, in this boot, made the host forward.
pub(crate) fn guarded(state: &Path) -> Result<bool> {
    match std::fs::read_to_string(record(state)) {
        Ok(boot) => Ok(boot.trim() == read(BOOT_ID)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).context(|| format!("read {}", record(state).display())),
    }
}

/// Switches forwarding off if we switched it on and no other instance than that of table `own` needs it.
pub(crate) fn restore(state: &Path, own: &str, host: &mut Host) -> Result<()> {
    let ours = |table: &String| table == "gantry" || table.starts_with("gantry_");
    let others = host.firewall.tables()?.iter().any(|table| ours(table) && table != own);
    if guarded(state)? && !others {
        write("0")?;
    }
    stdx::fs::remove_file(&record(state))
}

fn record(state: &Path) -> PathBuf {
    state.join("forwarding")
}

fn read(path: &str) -> Result<String> {
    Ok(std::fs::read_to_string(path).context(|| format!("read {path}"))?.trim().to_owned())
}

fn write(value: &str) -> Result<()> {
    std::fs::write(SETTING, value).context(|| format!("set {SETTING} to {value}"))
}
