//! Namespace modes, restart policies, health checks and log options.

use crate::flags::Matches;
use crate::units::parse_duration;
use api::{HealthConfig, LogConfig, RestartPolicy};
use std::collections::BTreeMap;

/// Refuses modes that no namespace of that kind has.
pub(super) fn check_namespaces(matches: &Matches) -> Result<(), String> {
    let mode = |flag: &str| matches.text(flag);
    let container = |m: &str| m.strip_prefix("container:").is_some_and(|c| !c.is_empty());
    let pid = mode("pid");
    if !(pid.is_empty() || pid == "host" || container(&pid)) {
        return Err("--pid: invalid PID mode".into());
    }
    if !matches!(mode("uts").as_str(), "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    if !matches!(mode("userns").as_str(), "" | "host" | "auto") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(mode("cgroupns").as_str(), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    Ok(())
}

/// `no`, `always`, `unless-stopped`, `on-failure[:max]`.
pub(crate) fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let mut policy = RestartPolicy::default();
    let (name, count) =
        text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
    if let Some(count) = count {
        if name.is_empty() {
            return Err("invalid restart policy format: no policy provided before colon".into());
        }
        policy.maximum_retry_count = count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?;
    }
    name.clone_into(&mut policy.name);
    Ok(policy)
}

/// The health check, if any flag asks for one.
pub(super) fn health(matches: &Matches) -> Result<Option<HealthConfig>, String> {
    let nanos = |flag: &str| -> Result<i64, String> {
        let value = matches.get(flag).map_or(Ok(0), parse_duration)?;
        if value < 0 { Err(format!("--{flag} cannot be negative")) } else { Ok(value) }
    };
    let command = matches.text("health-cmd");
    let retries = matches.int("health-retries").unwrap_or(0);
    let wanted = HealthConfig {
        test: Some(vec!["CMD-SHELL".to_owned(), command.clone()]).filter(|_| !command.is_empty()),
        interval: nanos("health-interval")?,
        timeout: nanos("health-timeout")?,
        start_period: nanos("health-start-period")?,
        start_interval: nanos("health-start-interval")?,
        retries,
    };
    if retries < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    let any = wanted != HealthConfig::default();
    if matches.is("no-healthcheck") {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..HealthConfig::default()
        }));
    }
    Ok(Some(wanted).filter(|_| any))
}

/// `--log-driver` and `--log-opt`.
pub(super) fn log_config(matches: &Matches) -> Result<LogConfig, String> {
    let kind = matches.text("log-driver");
    let options = pairs(&matches.list("log-opt"));
    if kind == "none" && !options.is_empty() {
        return Err(format!("invalid logging opts for driver {kind}"));
    }
    Ok(LogConfig { kind, config: Some(options) })
}

/// `name=value` flags as a map.
pub(super) fn pairs(flags: &[String]) -> BTreeMap<String, String> {
    let pair = |flag: &String| {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        (name.to_owned(), value.to_owned())
    };
    flags.iter().map(pair).collect()
}
