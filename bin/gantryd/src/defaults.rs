//! What containers get that do not say themselves: the `--default-…` options and their like.

use crate::given::{Given, Value};
use engine::{Defaults, SecurityProfile};
use serde_json::Value as Json;
use stdx::{Error, Result};
use store::records::container::Ulimit;
use types::ByteSize;

/// Where CDI specifications are looked for when nobody says.
pub(crate) const CDI: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Reads the options. Texts of refusals are dockerd's.
pub(crate) fn containers(given: &Given) -> Result<Defaults> {
    let cgroupns_mode = given.text("default-cgroupns-mode").unwrap_or_default();
    if !matches!(cgroupns_mode.as_str(), "" | "private" | "host") {
        return Err(Error::invalid(format!(
            "default cgroup namespace mode ({cgroupns_mode}) is invalid; use \"host\" or \"private\""
        )));
    }
    let ipc_mode = given.text("default-ipc-mode").unwrap_or_default();
    if !matches!(ipc_mode.as_str(), "" | "private" | "shareable") {
        return Err(Error::invalid(format!(
            "default IPC mode setting ({ipc_mode}) is invalid; use \"private\" or \"shareable\""
        )));
    }
    let profile = given.text("security-profile").unwrap_or_default();
    let profile = match profile.as_str() {
        "" => SecurityProfile::Default,
        name => SecurityProfile::parse(name)?,
    };
    let strict = profile == SecurityProfile::Strict;
    let conflicts = [
        (
            given.text("seccomp-profile").as_deref() == Some("unconfined"),
            "seccomp-profile=unconfined",
        ),
        (cgroupns_mode == "host", "default-cgroupns-mode=host"),
    ];
    if let Some((_, what)) = conflicts.iter().find(|(said, _)| strict && *said) {
        return Err(Error::invalid(format!(
            "conflicting options: {what} and security-profile=strict"
        )));
    }
    let defaults = Defaults {
        cap_drop: given.list("default-cap-drop"),
        profile,
        cgroupns_mode,
        ipc_mode,
        shm_size: given.text("default-shm-size").map_or(Ok(0), |text| bytes(&text))?,
        ulimits: ulimits(given.get("default-ulimits"))?,
        no_new_privileges: given.switch("no-new-privileges").unwrap_or(false),
        seccomp: given.text("seccomp-profile").map(seccomp).transpose()?,
        realtime_runtime: microseconds(given, "cpu-rt-runtime")?,
        realtime_period: microseconds(given, "cpu-rt-period")?,
        cgroup_parent: given.text("cgroup-parent").filter(|p| !p.trim_matches('/').is_empty()),
    };
    defaults.check()?;
    Ok(defaults)
}

fn bytes(text: &str) -> Result<i64> {
    let size: ByteSize =
        text.parse().map_err(|e: types::InvalidSize| Error::invalid(e.to_string()))?;
    i64::try_from(size.0).map_err(|_| Error::invalid(format!("invalid size: '{text}'")))
}

fn microseconds(given: &Given, id: &str) -> Result<u64> {
    let value = given.int(id).unwrap_or(0);
    u64::try_from(value).map_err(|_| Error::invalid(format!("invalid {id}: {value}")))
}

/// `builtin`, `unconfined`, or the text of the profile in that file.
fn seccomp(profile: String) -> Result<String> {
    if matches!(profile.as_str(), "builtin" | "unconfined") {
        return Ok(profile);
    }
    std::fs::read_to_string(&profile)
        .map_err(|e| Error::io(format!("opening seccomp profile ({profile}) failed"), e))
}

/// Flags say `name=soft:hard`; the file has objects by name.
fn ulimits(value: Option<&Value>) -> Result<Vec<Ulimit>> {
    let wrong = |text: String| Error::invalid(format!("invalid default-ulimits: {text}"));
    match value {
        Some(Value::List(flags)) => flags
            .iter()
            .map(|flag| {
                let (name, soft, hard) = cli::flags::check::to_ulimit(flag).map_err(&wrong)?;
                Ok(Ulimit { name, soft, hard })
            })
            .collect(),
        Some(Value::Json(Json::Object(all))) => all
            .iter()
            .map(|(name, limit)| {
                let number = |key: &str| limit.get(key).and_then(Json::as_i64);
                let (Some(soft), Some(hard)) = (number("Soft"), number("Hard")) else {
                    return Err(wrong(format!("{name} needs a Soft and a Hard number")));
                };
                // The same checks as a flag's.
                cli::flags::check::ulimit(&format!("{name}={soft}:{hard}")).map_err(&wrong)?;
                Ok(Ulimit { name: name.clone(), soft, hard })
            })
            .collect(),
        Some(Value::Json(other)) => Err(wrong(format!("{other} is no object"))),
        _ => Ok(Vec::new()),
    }
}
