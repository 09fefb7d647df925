//! Making the host forward, and remembering that it did not.

use crate::host::Host;
use network::Family;
use std::path::{Path, PathBuf};
use stdx::fs::Durability;
use stdx::{Context as _, Error, Result};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const LINKS: &str = "/proc/sys/net/ipv6/conf";

/// If the host does not forward this family, writes down that it did not. From then until the next boot our firewall
/// table keeps the host from forwarding for others, and `--cleanup` switches it off again.
pub(crate) fn note(state: &Path, family: Family) -> Result<()> {
    if !there(family) || read(setting(family))? == "1" {
        return Ok(());
    }
    let mut text = read(BOOT_ID)?;
    if family == Family::V6 {
        for link in believing()? {
            text.push('\n');
            text.push_str(&link);
        }
    }
    stdx::fs::replace(&record(state, family), text.as_bytes(), 0o600, Durability::Process)
}

/// Switches forwarding on. The firewall table is there already: at no time does the host forward for everybody.
pub(crate) fn enable(state: &Path, family: Family) -> Result<()> {
    if !there(family) || read(setting(family))? == "1" {
        return Ok(());
    }
    // A host that forwards ignores router advertisements unless told otherwise: it would lose its own default route.
    for link in noted(state, family)?.map(|(_, links)| links).unwrap_or_default() {
        set_believing(&link, "2")?;
    }
    write(setting(family), "1")
}

/// Whether we, in this boot, made the host forward.
pub(crate) fn guarded(state: &Path, family: Family) -> Result<bool> {
    match noted(state, family)? {
        Some((boot, _)) => Ok(boot == read(BOOT_ID)?),
        None => Ok(false),
    }
}

/// What we have switched on in this boot, for a person.
pub(crate) fn changes(state: &Path) -> Vec<String> {
    let mut changes = Vec::new();
    for family in [Family::V4, Family::V6] {
        if !guarded(state, family).unwrap_or(false) {
            continue;
        }
        let name = setting(family).trim_start_matches("/proc/sys/").replace('/', ".");
        changes.push(format!("sysctl {name}=1 (was 0)"));
        for link in noted(state, family).ok().flatten().map(|(_, links)| links).unwrap_or_default()
        {
            changes.push(format!("sysctl net.ipv6.conf.{link}.accept_ra=2 (was 1)"));
        }
    }
    changes
}

/// Switches forwarding off if we switched it on and no other instance than that of table `own` needs it.
pub(crate) fn restore(state: &Path, own: &str, host: &mut Host) -> Result<()> {
    let ours = |table: &String| table == "gantry" || table.starts_with("gantry_");
    let others = host.firewall.tables()?.iter().any(|table| ours(table) && table != own);
    for family in [Family::V4, Family::V6] {
        if guarded(state, family)? && !others {
            write(setting(family), "0")?;
            for link in noted(state, family)?.map(|(_, links)| links).unwrap_or_default() {
                set_believing(&link, "1")?;
            }
        }
        stdx::fs::remove_file(&record(state, family))?;
    }
    Ok(())
}

fn setting(family: Family) -> &'static str {
    match family {
        Family::V4 => "/proc/sys/net/ipv4/ip_forward",
        Family::V6 => "/proc/sys/net/ipv6/conf/all/forwarding",
    }
}

/// A kernel may have no IPv6.
fn there(family: Family) -> bool {
    family == Family::V4 || Path::new(setting(family)).exists()
}

fn record(state: &Path, family: Family) -> PathBuf {
    state.join(match family {
        Family::V4 => "forwarding",
        Family::V6 => "forwarding6",
    })
}

/// The boot in which it was noted, and the links that believed router advertisements then.
fn noted(state: &Path, family: Family) -> Result<Option<(String, Vec<String>)>> {
    let path = record(state, family);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let mut lines = text.lines().map(str::to_owned);
            Ok(Some((lines.next().unwrap_or_default(), lines.collect())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(|| format!("read {}", path.display())),
    }
}

/// The links that believe router advertisements as long as the host does not forward.
fn believing() -> Result<Vec<String>> {
    let mut links = Vec::new();
    for entry in std::fs::read_dir(LINKS).context(|| format!("list {LINKS}"))? {
        let name = entry.context(|| format!("list {LINKS}"))?.file_name();
        let Some(name) = name.to_str().filter(|n| !matches!(*n, "all" | "default" | "lo")) else {
            continue;
        };
        let is = |key: &str, value: &str| {
            // A link may vanish while we look.
            std::fs::read_to_string(format!("{LINKS}/{name}/{key}"))
                .is_ok_and(|v| v.trim() == value)
        };
        if is("accept_ra", "1") && is("disable_ipv6", "0") {
            links.push(name.to_owned());
        }
    }
    Ok(links)
}

fn set_believing(link: &str, value: &str) -> Result<()> {
    match std::fs::write(format!("{LINKS}/{link}/accept_ra"), value) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("set accept_ra of {link}"), e))
        }
        _ => Ok(()),
    }
}

fn read(path: &str) -> Result<String> {
    Ok(std::fs::read_to_string(path).context(|| format!("read {path}"))?.trim().to_owned())
}

fn write(path: &str, value: &str) -> Result<()> {
    std::fs::write(path, value).context(|| format!("set {path} to {value}"))
}
