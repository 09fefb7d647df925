//! The body of `POST /containers/create` → what the engine is asked for.
//!
//! Checked here is what needs neither the image nor the host's files: the engine does the rest. What the engine's own
//! configuration has no place for is refused; nothing that a user asked for is dropped in silence.

use super::host;
use super::limits::{self, Capacity};
use api::{ApiVersion, ContainerConfig, ContainerCreateBody, HealthConfig, HostConfig};
use engine::CreateContainer;
use stdx::{Error, Result};
use store::records::container::{Config, Healthcheck};

/// A request, and what its sender should know beside what the engine says.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: CreateContainer,
    pub(crate) warnings: Vec<String>,
}

/// Converts a body. `name` and `platform` come from the query.
pub(crate) fn create(
    body: ContainerCreateBody,
    name: &str,
    platform: &str,
    version: ApiVersion,
    capacity: &Capacity,
) -> Result<Asked> {
    let ContainerCreateBody { config, host_config, networking_config } = body;
    if config == ContainerConfig::default() && host_config.is_none() && networking_config.is_none()
    {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let mut wire = host_config.unwrap_or_default();
    let egress = egress(&config, &wire)?;
    host::age(&mut wire, version);
    if let Some(rules) = egress {
        // Whatever the client's version: a container that is to be held must not come free.
        wire.annotations.get_or_insert_default().insert(EGRESS.to_owned(), rules);
    }
    let mut warnings = limits::adapt(&mut wire, capacity);
    check_config(&config)?;
    host::check(&config, &wire, version, capacity)?;
    let mut endpoints = super::network::endpoints_wanted(networking_config)?;
    if !config.mac_address.is_empty() {
        // Clients before 1.44 chose it for the container, which had one network then.
        let mode = match wire.network_mode.as_str() {
            "" | "default" => "bridge",
            mode => mode,
        };
        let wishes = endpoints.entry(mode.to_owned()).or_default();
        wishes.mac.clone_from(&config.mac_address);
    }
    warnings.extend(host::warnings(&config, &wire));
    let request = CreateContainer {
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        platform: Some(platform).filter(|p| !p.is_empty()).map(str::parse).transpose()?,
        config: to_engine(config),
        host: host::to_engine(wire)?,
        endpoints,
    };
    Ok(Asked { request, warnings })
}

/// Where the container may go: an annotation, or a label of clients that know no annotations. Only what this request says:
/// labels of the image are not asked.
fn egress(config: &ContainerConfig, host: &HostConfig) -> Result<Option<String>> {
    let annotation = host.annotations.as_ref().and_then(|all| all.get(EGRESS));
    let label = config.labels.as_ref().and_then(|all| all.get(EGRESS));
    match (annotation, label) {
        (Some(one), Some(other)) if one != other => Err(Error::invalid(format!(
            "conflicting options: annotation and label {EGRESS} differ"
        ))),
        (one, other) => Ok(one.or(other).cloned()),
    }
}

/// The annotation and label that say where a container may go.
const EGRESS: &str = "gantry.egress";

fn check_config(config: &ContainerConfig) -> Result<()> {
    for variable in config.env.iter().flatten() {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {variable}")));
        }
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    // They end up in /etc/hosts and in sethostname(2).
    for (what, name) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
        if name.len() > 64 || name.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/')
        {
            return Err(Error::invalid(format!(
                "invalid {what} {:?}",
                name.chars().take(80).collect::<String>()
            )));
        }
    }
    let texts = [&config.env, &config.cmd, &config.entrypoint].into_iter().flatten().flatten();
    if texts.chain([&config.user, &config.working_dir]).any(|text| text.contains('\0')) {
        return Err(Error::invalid("invalid argument: a text contains a NUL character"));
    }
    match &config.healthcheck {
        Some(health) => check_health(health),
        None => Ok(()),
    }
}

fn check_health(health: &HealthConfig) -> Result<()> {
    let least = 1_000_000;
    for (what, nanos) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if nanos != 0 && nanos < least {
            return Err(Error::invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

pub(crate) fn to_engine(wire: ContainerConfig) -> Config {
    Config {
        hostname: wire.hostname,
        domainname: wire.domainname,
        user: wire.user,
        attach_stdin: wire.attach_stdin,
        attach_stdout: wire.attach_stdout,
        attach_stderr: wire.attach_stderr,
        exposed_ports: wire.exposed_ports.unwrap_or_default().into_keys().collect(),
        tty: wire.tty,
        open_stdin: wire.open_stdin,
        stdin_once: wire.stdin_once,
        env: wire.env.unwrap_or_default(),
        cmd: wire.cmd,
        entrypoint: wire.entrypoint,
        args_escaped: wire.args_escaped,
        healthcheck: wire.healthcheck.map(health_to_engine),
        image: wire.image,
        volumes: wire.volumes.unwrap_or_default().into_keys().collect(),
        working_dir: wire.working_dir,
        network_disabled: wire.network_disabled,
        on_build: wire.on_build,
        labels: wire.labels.unwrap_or_default(),
        stop_signal: Some(wire.stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout: wire.stop_timeout,
        shell: wire.shell.filter(|shell| !shell.is_empty()),
    }
}

fn health_to_engine(wire: HealthConfig) -> Healthcheck {
    Healthcheck {
        test: wire.test.unwrap_or_default(),
        interval: wire.interval,
        timeout: wire.timeout,
        start_period: wire.start_period,
        start_interval: wire.start_interval,
        retries: wire.retries,
    }
}

/// A stored configuration as inspects print it.
pub(crate) fn to_wire(config: &Config) -> ContainerConfig {
    let set = |list: &[String]| list.iter().map(|item| (item.clone(), api::Empty {})).collect();
    ContainerConfig {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: Some(set(&config.exposed_ports)),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: Some(config.env.clone()).filter(|env| !env.is_empty()),
        cmd: config.cmd.clone(),
        healthcheck: config.healthcheck.as_ref().map(health_to_wire),
        args_escaped: config.args_escaped,
        image: config.image.clone(),
        volumes: Some(set(&config.volumes))
            .filter(|volumes: &std::collections::BTreeMap<_, _>| !volumes.is_empty()),
        working_dir: config.working_dir.clone(),
        entrypoint: config.entrypoint.clone(),
        network_disabled: config.network_disabled,
        mac_address: String::new(),
        on_build: config.on_build.clone(),
        labels: Some(config.labels.clone()),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone(),
    }
}

fn health_to_wire(health: &Healthcheck) -> HealthConfig {
    HealthConfig {
        test: Some(health.test.clone()),
        interval: health.interval,
        timeout: health.timeout,
        start_period: health.start_period,
        start_interval: health.start_interval,
        retries: health.retries,
    }
}

#[cfg(test)]
mod tests;
