//! Creating a container: image, name, mounts, root file system, record.

use crate::Engine;
use crate::metrics::Action;
use crate::{mounts, names, security};
use container::{Container, files};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use stdx::fs::Durability;
use stdx::time::Timestamp;
use stdx::{Error, Kind, Result, Undo, fail_point};
use store::records::container::{
    Config, ContainerRecord, EndpointWishes, HostConfig, LastRun, LogConfig, MountKind,
};
use types::{ContainerId, ContainerName, Platform};

/// What a user asks for.
#[derive(Debug, Clone, Default)]
pub struct CreateContainer {
    /// Its name; `None`: one is made up.
    pub name: Option<String>,
    /// The platform that the image must be for; `None`: this host's.
    pub platform: Option<Platform>,
    /// What to run.
    pub config: Config,
    /// In what surroundings.
    pub host: HostConfig,
    /// On which networks beside the one of `host.network_mode`, and what is wanted of each.
    pub endpoints: BTreeMap<String, EndpointWishes>,
}

/// A new container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Creates a container. Until its record is written nothing of it counts: a crash before that leaves a snapshot and
    /// folders without an owner, which the next start sweeps.
    pub async fn create_container(&self, request: CreateContainer) -> Result<Created> {
        let engine = self.clone();
        let began = Instant::now();
        let span = tracing::trace_span!(
            target: stdx::TRACES, "create container", image = request.config.image
        );
        let create = move || span.in_scope(|| engine.create(request));
        let created = tokio::task::spawn_blocking(create)
            .await
            .map_err(|e| Error::internal(e.to_string()))??;
        self.inner.metrics.done(Action::Create, began);
        Ok(created)
    }

    fn create(&self, request: CreateContainer) -> Result<Created> {
        let image = self.image_for(&request.config.image, request.platform.as_ref())?;
        // Clients take "not found" for the image's and pull it.
        self.create_from(&image, request).map_err(|e| match e.kind() {
            Kind::NotFound => Error::invalid(e.to_string()),
            _ => e,
        })
    }

    fn create_from(
        &self,
        image: &crate::images::ForContainer,
        request: CreateContainer,
    ) -> Result<Created> {
        let inner = &self.inner;
        let CreateContainer { name, mut config, mut host, endpoints, .. } = request;
        self.find_peers(&mut config, &mut host)?;
        merge_image(&mut config, &image.config);
        if config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).next().is_none() {
            return Err(Error::invalid("no command specified"));
        }
        self.check_host(&config, &mut host)?;
        let endpoints = inner.networks.wishes(&mut host, endpoints)?;
        let links = self.find_links(&host)?;

        let id = ContainerId::from_bytes(&mounts::random()?);
        let mut undo = Undo::new();
        let name = self.reserve_name(name, id.as_str())?;
        let (reserved, owner) = (name.clone(), id.to_string());
        undo.push(move || inner.containers.release(&reserved, &owner));

        let user_namespace = self.user_namespace(&host, id.as_str())?;
        let owner = id.to_string();
        undo.push(move || inner.ranges.release(&owner));
        fail_point!("container.create.after-ids");

        let plan = mounts::plan(&config, &host, |other| {
            Ok(inner.containers.find(other)?.now().record.mounts.clone())
        })?;
        let mut record = ContainerRecord {
            id: id.to_string(),
            name: name.clone(),
            created: Timestamp::now(),
            image_id: image.id.clone(),
            parent: image.parent.clone(),
            config,
            host,
            mounts: plan.points,
            last: LastRun::default(),
            stopped_by_user: false,
            restart_count: 0,
            user_namespace,
            endpoints: Some(endpoints),
            links,
        };
        // A `--rm` container costs no fsync, and its volumes need not outlive a power cut.
        let durability =
            if record.host.auto_remove { Durability::Process } else { Durability::Power };
        let new_volumes = inner.volumes.acquire(id.as_str(), &plan.volumes, durability)?;
        let (user, volumes) = (id.to_string(), plan.volumes);
        undo.push(move || {
            inner.volumes.release(&user, volumes.iter().map(|v| v.name.as_str()));
        });
        for point in &mut record.mounts {
            if let Some(volume) = &point.name {
                point.source = inner.volumes.path(volume)?;
            }
        }
        fail_point!("container.create.after-volumes");
        let key = snapshot::Key::new(id.as_str())?;
        let parent = image.parent.as_deref().map(snapshot::Name::new).transpose()?;
        let rootfs = inner.services.snapshots.prepare(&key, parent.as_ref())?;
        undo.push(move || drop(inner.services.snapshots.remove_active(&key)));
        for point in record.mounts.iter().filter(|p| p.kind == MountKind::Volume && p.copy_up) {
            crate::copy_up::copy_up(&rootfs, &point.destination, &point.source)?;
        }
        let folder = inner.services.paths.data_of(id.as_str());
        stdx::fs::create_dir(&folder, 0o710)?;
        undo.push(move || drop(stdx::fs::remove_tree(&folder)));
        let engine_files = files::paths(&inner.services.paths, id.as_str());
        let told = inner.networks.with_defaults(&record);
        let (path, text) = inner.host.resolv_conf();
        let on_host = container::resolver::OnHost { path: &path, text: &text };
        files::write_at_create(&engine_files, &told, on_host)?;
        fail_point!("container.create.before-record");
        inner.records.create(&record, &new_volumes)?;
        fail_point!("container.create.after-record");
        inner.volumes.stored(&new_volumes);
        undo.disarm();

        let record = Arc::new(record);
        let container = Container::spawn(Arc::clone(&inner.services), Arc::clone(&record), false);
        let tell = || crate::world::publish(&inner.events, &record, "create", &[]);
        inner.containers.insert(id.as_str(), container, tell);
        Ok(Created { id: id.to_string(), warnings: Vec::new() })
    }

    fn reserve_name(&self, asked: Option<String>, id: &str) -> Result<String> {
        if let Some(asked) = asked.filter(|n| !n.is_empty()) {
            let name: ContainerName = asked.strip_prefix('/').unwrap_or(&asked).parse()?;
            self.inner.containers.reserve(name.as_str(), id)?;
            return Ok(name.as_str().to_owned());
        }
        for attempt in 0..8 {
            let [a, b, c, d, e, f, g, h, ..] = mounts::random()?;
            let name = names::generate(u64::from_le_bytes([a, b, c, d, e, f, g, h]), attempt);
            if self.inner.containers.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        // Every try met a name in use; the id's start is nobody else's.
        let name = id[..12].to_owned();
        self.inner.containers.reserve(&name, id)?;
        Ok(name)
    }

    /// Puts ids in the place of the names of containers whose namespaces are shared, as Docker does: a name may be
    /// another's by the time of the start.
    fn find_peers(&self, config: &mut Config, host: &mut HostConfig) -> Result<()> {
        for mode in [&mut host.network_mode, &mut host.pid_mode, &mut host.ipc_mode] {
            if let Some(name) = container::join::of_container(mode) {
                *mode = format!("container:{}", self.inner.containers.find(name)?.now().record.id);
            }
        }
        if let Some(id) = container::join::of_container(&host.network_mode) {
            let peer = self.inner.containers.find(id)?.now().record;
            container::spec::hostname(&peer).clone_into(&mut config.hostname);
            config.domainname.clone_from(&peer.config.domainname);
        }
        Ok(())
    }

    /// Refuses what is not there yet, and fills in the daemon's defaults.
    fn check_host(&self, config: &Config, host: &mut HostConfig) -> Result<()> {
        // An unknown network's name is found out at the start, as with Docker.
        if host.restart.name.is_empty() {
            host.restart.name = "no".to_owned();
        }
        let runtimes = &self.inner.services.runtimes;
        if host.runtime.is_empty() {
            // Another default later is not this container's.
            host.runtime = runtimes.default_name();
        }
        runtimes.find(&host.runtime)?;
        crate::networks::check_ports(&host.port_bindings)?;
        storage_options(&host.storage_opt)?;
        security::check(&host.security_opt)?;
        let defaults = &self.inner.defaults;
        if defaults.profile.settle(&mut host.security_opt) == security::SecurityProfile::Strict {
            security::settle_strict(host, &self.inner.features, |peer| {
                Ok(self.inner.containers.find(peer)?.now().record.user_namespace.clone())
            })?;
        }
        defaults.apply(host);
        if let Some(word) = host.annotations.get(container::health::ON_FAILURE) {
            container::health::OnFailure::parse(word)?;
        }
        if let Some(signal) = &config.stop_signal {
            container::signals::parse(signal)?;
        }
        container::capabilities::effective(host, &[], u64::MAX)?;
        if host.network_mode.is_empty() {
            host.network_mode = "default".to_owned();
        }
        container::egress::check(host)?;
        self.set_log(&mut host.log)
    }
}

impl Engine {
    /// Fills in the daemon's log driver and options as Docker merges them, and checks what comes of it.
    fn set_log(&self, log: &mut LogConfig) -> Result<()> {
        let settings = self.settings();
        let default = match settings.log_driver.as_str() {
            "" => "json-file",
            named => named,
        };
        if log.driver.is_empty() {
            log.driver = default.to_owned();
        }
        for (name, value) in &settings.log_options {
            // How logs are cached is the daemon's affair, whatever the driver.
            if log.driver == default || name.starts_with("cache-") {
                log.options.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        self.inner.logs.registry().check(&log.driver, &log.options)
    }
}

/// Docker has quotas on overlays over XFS with project quotas alone, and we on none.
fn storage_options(options: &std::collections::BTreeMap<String, String>) -> Result<()> {
    match options.keys().find(|name| !name.eq_ignore_ascii_case("size")) {
        Some(unknown) => Err(Error::invalid(format!("Unknown option {unknown}"))),
        None if options.is_empty() => Ok(()),
        None => Err(Error::invalid(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        )),
    }
}

/// Puts the image's defaults under what the user asked for, as Docker merges them.
pub(crate) fn merge_image(config: &mut Config, image: &Config) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    let no_command = config.cmd.as_ref().is_none_or(Vec::is_empty);
    match &config.entrypoint {
        None => {
            if no_command {
                config.cmd.clone_from(&image.cmd);
            }
            config.entrypoint.clone_from(&image.entrypoint);
        }
        // `--entrypoint ""` takes the image's away.
        Some(own) if own.len() == 1 && own[0].is_empty() => config.entrypoint = None,
        Some(_) => {}
    }
    let mut env: Vec<String> = Vec::new();
    container::spec::merge_env(&mut env, &image.env);
    container::spec::merge_env(&mut env, &config.env);
    config.env = env;
    for (name, value) in &image.labels {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    add_missing(&mut config.exposed_ports, &image.exposed_ports);
    add_missing(&mut config.volumes, &image.volumes);
    match (&mut config.healthcheck, &image.healthcheck) {
        (None, of_image) => config.healthcheck.clone_from(of_image),
        (Some(own), Some(of_image)) => {
            if own.test.is_empty() {
                own.test.clone_from(&of_image.test);
            }
            for (own, of_image) in [
                (&mut own.interval, of_image.interval),
                (&mut own.timeout, of_image.timeout),
                (&mut own.start_period, of_image.start_period),
                (&mut own.start_interval, of_image.start_interval),
                (&mut own.retries, of_image.retries),
            ] {
                if *own == 0 {
                    *own = of_image;
                }
            }
        }
        (Some(_), None) => {}
    }
    if config.stop_signal.is_none() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
    if config.on_build.is_none() {
        config.on_build.clone_from(&image.on_build);
    }
}

fn add_missing(own: &mut Vec<String>, more: &[String]) {
    let known: HashSet<&str> = own.iter().map(String::as_str).collect();
    let missing: Vec<String> =
        more.iter().filter(|entry| !known.contains(entry.as_str())).cloned().collect();
    own.extend(missing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_with_very_many_entries_are_merged_in_no_time() {
        let many = |form: &dyn Fn(usize) -> String| (0..200_000).map(form).collect::<Vec<_>>();
        let image = Config {
            env: many(&|n| format!("N{n}=x")),
            exposed_ports: many(&|n| format!("{n}/tcp")),
            volumes: many(&|n| format!("/v{n}")),
            ..Config::default()
        };
        let mut config = Config {
            env: many(&|n| format!("N{n}=y")),
            volumes: vec!["/v7".to_owned()],
            ..Config::default()
        };
        let begin = std::time::Instant::now();
        merge_image(&mut config, &image);
        assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
        assert_eq!((config.env.len(), config.env[199_999].as_str()), (200_000, "N199999=y"));
        assert_eq!((config.exposed_ports.len(), config.volumes.len()), (200_000, 200_000));
    }

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    fn merged(user: Config) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let image =
            Config { entrypoint: words("/entry"), cmd: words("serve"), ..Config::default() };
        let mut config = user;
        merge_image(&mut config, &image);
        (config.entrypoint, config.cmd)
    }

    #[test]
    fn commands_merge_as_docker_merges_them() {
        assert_eq!(merged(Config::default()), (words("/entry"), words("serve")));
        assert_eq!(
            merged(Config { cmd: words("sh"), ..Config::default() }),
            (words("/entry"), words("sh"))
        );
        // An entry point of the user's own drops the image's command with its entry point.
        assert_eq!(
            merged(Config { entrypoint: words("/mine"), ..Config::default() }),
            (words("/mine"), None)
        );
        let cleared =
            Config { entrypoint: Some(vec![String::new()]), cmd: words("ls"), ..Config::default() };
        assert_eq!(merged(cleared), (None, words("ls")));
    }

    #[test]
    fn the_users_environment_wins_and_bare_names_are_dropped() {
        let image =
            Config { env: vec!["A=1".to_owned(), "SECRET".to_owned()], ..Config::default() };
        let mut config =
            Config { env: vec!["A=2".to_owned(), "B=".to_owned()], ..Config::default() };
        merge_image(&mut config, &image);
        assert_eq!(config.env, ["A=2", "B="]);
    }
}
