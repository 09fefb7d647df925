//! Use cases about images.

use crate::{Engine, Settings};
use container::Paths;
use image::{Images, Progress, PullRequest, Removed, Usage};
use remote::{Credentials, Registry};
use std::io::Read;
use std::sync::{Arc, RwLock};
use stdx::{Error, Kind, Result};
use store::Store;
use store::records::container::{Config, ContainerRecord, Healthcheck};
use tracing::Instrument as _;
use types::{ImageRef, Platform};

/// Credentials for a registry.
#[derive(Clone, Default)]
pub struct RegistryAuth {
    /// Who.
    pub username: String,
    /// With what.
    pub password: String,
    /// An OAuth2 refresh token instead of a password.
    pub identity_token: String,
    /// A bearer token to be used as it is.
    pub registry_token: String,
    /// The registry they are for.
    pub server_address: String,
}

impl std::fmt::Debug for RegistryAuth {
    /// Without any secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryAuth({} at {})", self.username, self.server_address)
    }
}

/// The image store, after what a crash left in it has been removed.
pub(crate) fn open(
    store: &Arc<Store>,
    content: &Arc<dyn content::Store>,
    snapshots: &Arc<dyn snapshot::Snapshotter>,
    paths: &Paths,
) -> Result<Arc<Images>> {
    let images = Images::open(
        Arc::clone(store),
        Arc::clone(content),
        Arc::clone(snapshots),
        paths.data.join("scratch"),
    )?;
    images.collect()?;
    Ok(images)
}

/// The way to registries, as it is set now.
#[derive(Debug)]
pub(crate) struct Fetchers {
    registry: RwLock<Arc<Registry>>,
}

impl Fetchers {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { registry: RwLock::new(Registry::new(config(settings)?)) })
    }

    pub(crate) fn reload(&self, settings: &Settings) -> Result<()> {
        let new = Registry::new(config(settings)?);
        *self.registry.write().unwrap_or_else(std::sync::PoisonError::into_inner) = new;
        Ok(())
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn session(&self, credentials: Option<Credentials>) -> remote::Session {
        self.registry().session(credentials)
    }
}

fn config(settings: &Settings) -> Result<remote::Config> {
    let mut config = remote::Config::default();
    for registry in &settings.insecure_registries {
        config.add_insecure(registry)?;
    }
    for mirror in &settings.registry_mirrors {
        config.add_mirror(mirror)?;
    }
    if settings.max_download_attempts > 0 {
        config.retries = settings.max_download_attempts - 1;
    }
    let proxies = settings.proxies.effective();
    config.proxies = remote::Proxies { http: proxies.http, https: proxies.https, no: proxies.no };
    Ok(config)
}

/// What `create` needs of an image.
pub(crate) struct ForContainer {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) config: Config,
}

impl Engine {
    /// The images.
    pub fn images(&self) -> &Images {
        &self.inner.images
    }

    /// Downloads an image. `reference` is a name with a tag or a digest; without either it is `latest`.
    pub async fn pull_image(
        &self,
        reference: &str,
        platform: Option<Platform>,
        auth: Option<RegistryAuth>,
        progress: Arc<dyn Progress>,
    ) -> Result<()> {
        let reference: ImageRef = reference.parse::<ImageRef>()?.with_default_tag();
        let session = Arc::new(self.inner.fetchers.session(auth.map(credentials)));
        let request = PullRequest { reference: reference.clone(), platform };
        let span = tracing::trace_span!(
            target: stdx::TRACES, "pull image", image = %reference, error = tracing::field::Empty
        );
        let pulling = self.inner.images.pull(session, &request, progress.as_ref());
        let pulled = pulling.instrument(span.clone()).await;
        if let Err(e) = &pulled {
            span.record("error", tracing::field::display(e));
        }
        // What was unpacked for nothing, or was unpacked already, is in the trash.
        self.inner.janitor.wake();
        pulled.map_err(|e| match e.kind() {
            // Docker's status too: to a 401 its client answers with a prompt for a password.
            Kind::Unauthorized => e.with_kind(Kind::Internal),
            _ => e,
        })?;
        let name = reference.familiar();
        self.image_event("pull", &name, &name);
        Ok(())
    }

    /// Loads the images of an archive (`docker save`, OCI layout). Blocking, at the pace of whoever sends it:
    /// call it by [`crate::at_a_clients_pace`].
    pub fn load_images(
        &self,
        archive: &mut (dyn Read + Send),
        progress: &dyn Progress,
    ) -> Result<()> {
        for loaded in self.inner.images.load(archive, progress)? {
            self.image_event("load", loaded.id.as_str(), loaded.id.as_str());
        }
        Ok(())
    }

    /// Removes a name, and the image when it was its last one.
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        noprune: bool,
    ) -> Result<Vec<Removed>> {
        // Parents are never kept as images of their own here, so there is nothing that `noprune` would keep.
        let _no_parents = noprune;
        let engine = self.clone();
        let name = name.to_owned();
        let removed = tokio::task::spawn_blocking(move || {
            let removed = engine.inner.images.remove(&name, force, &engine.usages())?;
            engine.inner.janitor.wake();
            Ok::<_, Error>(removed)
        })
        .await
        .map_err(|e| Error::internal(e.to_string()))??;
        for one in &removed {
            match one {
                Removed::Untagged { reference: _, image } => {
                    self.image_event("untag", image.as_str(), image.as_str())
                }
                Removed::Image(image) => self.image_event("delete", image.as_str(), image.as_str()),
                Removed::Layer(_) => {}
            }
        }
        Ok(removed)
    }

    /// Removes images that no container stands on: those without a name, or (not `dangling`) all. `keep` keeps more.
    /// What was removed, and the bytes that came free.
    pub async fn prune_images(
        &self,
        dangling: bool,
        keep: impl Fn(&image::Summary) -> bool,
    ) -> Result<(Vec<Removed>, u64)> {
        let mut removed = Vec::new();
        let mut bytes = 0;
        for summary in self.inner.images.list() {
            let id = summary.image.id.to_string();
            let named = summary.tags.iter().chain(&summary.digests);
            let names: Vec<String> = named.cloned().collect();
            let is_parent =
                |other: &image::Summary| other.image.parent.as_ref() == Some(&summary.image.id);
            // An image that another was committed from explains that one's history.
            let wanted = names.is_empty() && !self.inner.images.list().iter().any(is_parent);
            if keep(&summary) || dangling && !wanted || self.containers_of_image(&id) > 0 {
                continue;
            }
            let sizes: std::collections::HashMap<_, _> =
                summary.image.layers.iter().map(|l| (l.chain_id.clone(), l.size)).collect();
            let asked = if names.is_empty() { vec![id] } else { names };
            for name in asked {
                match self.remove_image(&name, false, false).await {
                    Ok(gone) => {
                        bytes += gone
                            .iter()
                            .filter_map(|one| match one {
                                Removed::Layer(chain) => sizes.get(chain),
                                _ => None,
                            })
                            .sum::<u64>();
                        removed.extend(gone);
                    }
                    // A container has been made of it meanwhile, or another name took this one along.
                    Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        let reclaimed = [("reclaimed".to_owned(), bytes.to_string())].into();
        self.inner.events.publish("image", "prune", "", reclaimed);
        Ok((removed, bytes))
    }

    /// Whether a registry accepts credentials. [`Kind::Unauthorized`] when it does not.
    pub async fn login(&self, auth: RegistryAuth) -> Result<()> {
        let server = auth.server_address.trim_start_matches("https://");
        let server = server.trim_start_matches("http://");
        let host = server.split('/').next().unwrap_or_default();
        let domain = match host {
            "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        }
        .to_owned();
        let registry = self.inner.fetchers.registry();
        registry.login(&domain, credentials(auth)).await
    }

    /// Gives an image one more name.
    pub fn tag_image(&self, source: &str, target: &str) -> Result<()> {
        let (name, image) = self.inner.images.tag(source, target)?;
        self.image_event("tag", &name, &image.id.to_string());
        Ok(())
    }

    /// How many containers stand on an image.
    pub fn containers_of_image(&self, image_id: &str) -> usize {
        self.inner.containers.all().iter().filter(|c| c.now().record.image_id == image_id).count()
    }

    pub(crate) fn image_count(&self) -> usize {
        self.inner.images.count()
    }

    pub(crate) fn image_size(&self, id: &str) -> i64 {
        self.inner
            .images
            .resolve(id)
            .map_or(0, |image| i64::try_from(image.size()).unwrap_or(i64::MAX))
    }

    /// The image's name as the user gave it, or its id when that name means another image by now.
    pub(crate) fn image_name(&self, record: &ContainerRecord) -> String {
        match self.inner.images.resolve(&record.config.image) {
            Ok(image) if image.id.as_str() == record.image_id => record.config.image.clone(),
            _ => record.image_id.clone(),
        }
    }

    pub(crate) fn image_for(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<ForContainer> {
        if name.is_empty() {
            return Err(Error::invalid("no image specified"));
        }
        let image = self.inner.images.resolve(name)?;
        if let Some(wanted) = platform {
            let own = Platform::new(&image.config.os, &image.config.architecture, "");
            if wanted.os() != own.os() || wanted.architecture() != own.architecture() {
                return Err(Error::not_found(format!(
                    "image with reference {name} was found but does not match the specified platform: wanted {wanted}, \
                     actual: {own}"
                )));
            }
        }
        Ok(ForContainer {
            id: image.id.to_string(),
            parent: image.snapshot().map(|name| name.as_str().to_owned()),
            config: defaults(&image.config.config),
        })
    }

    fn usages(&self) -> Vec<Usage> {
        let usage = |container: &container::Container| {
            let now = container.now();
            Some(Usage {
                container: now.record.id.parse().ok()?,
                image: now.record.image_id.parse().ok()?,
                running: now.phase.is_running(),
            })
        };
        self.inner.containers.all().iter().filter_map(usage).collect()
    }

    pub(crate) fn image_event(&self, action: &str, id: &str, name: &str) {
        let attributes = std::collections::BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.inner.events.publish("image", action, id, attributes);
    }
}

fn credentials(auth: RegistryAuth) -> Credentials {
    Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    }
}

/// An image's defaults in the engine's own terms.
fn defaults(image: &oci::image::RunConfig) -> Config {
    Config {
        user: image.user.clone(),
        env: image.env.clone(),
        cmd: image.cmd.clone(),
        entrypoint: image.entrypoint.clone(),
        args_escaped: image.args_escaped,
        working_dir: image.working_dir.clone(),
        labels: image.labels.clone(),
        exposed_ports: image.exposed_ports.keys().cloned().collect(),
        volumes: image.volumes.keys().cloned().collect(),
        stop_signal: Some(image.stop_signal.clone()).filter(|s| !s.is_empty()),
        stop_timeout: image.stop_timeout,
        shell: image.shell.clone(),
        on_build: (!image.on_build.is_empty()).then(|| image.on_build.clone()),
        healthcheck: image.healthcheck.as_ref().map(|check| Healthcheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        ..Config::default()
    }
}
