//! The daemon's life: recover, serve, drain.

use crate::config::{self, Config};
use crate::log::Log;
use crate::pidfile::PidFile;
use crate::{drivers, dump, traces};
use engine::Engine;
use stdx::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs until SIGTERM or SIGINT. Containers go on without it.
pub(crate) fn run(config: Config) -> Result<()> {
    if config.cleanup {
        return drivers::cleanup(&drivers::settings(&config));
    }
    let traces::Traces { layer, sender: _until_the_end, notice } = traces::start();
    let log = Log::start(&config, layer)?;
    for notice in config.notices.iter().chain(&notice) {
        tracing::warn!("{notice}");
    }
    // A child that inherits nothing by accident, whatever started us.
    sys::process::close_on_exec_from(3).context(|| "mark descriptors")?;
    // Two workers serve thousands of requests; what blocks has threads of its own.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(std::time::Duration::from_secs(10))
        .enable_all()
        .build()
        .context(|| "start the runtime")?
        .block_on(serve(config, log))
}

async fn serve(config: Config, log: Log) -> Result<()> {
    let _pid = config.pidfile.as_deref().map(PidFile::write).transpose()?;
    let engine = Engine::open(drivers::settings(&config), drivers::builtin).await?;
    let listeners = server::bind(&server::Bind {
        hosts: config.hosts.clone(),
        group: config.group.clone(),
        tls: config.tls.clone(),
        plain_tcp: config.plain_tcp,
    })?;
    let metrics = config.metrics_address.as_deref().map(server::bind_metrics).transpose()?;
    let addresses = listeners.addresses();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let options = server::Options {
        min_version: config.min_api_version.as_deref().and_then(|text| text.parse().ok()),
        experimental: config.experimental,
        names: names(&config, &engine),
        activity: server::Activity::default(),
    };
    dump::watch(engine.clone(), options.activity.clone(), config.exec_root.clone())?;
    if let Some(listeners) = metrics {
        for address in listeners.addresses() {
            tracing::info!("metrics API listening on {address}");
        }
        tokio::spawn(server::serve_metrics(listeners, engine.clone(), stopped.clone()));
    }
    // From here on somebody may know that we are there.
    let signals = Signals::watch()?;
    let serving = tokio::spawn(server::serve(listeners, engine.clone(), options, stopped));
    tracing::info!("Daemon has completed initialization");
    for address in addresses {
        tracing::info!("API listen on {address}");
    }
    tell("READY=1");
    signals.until_stopped(config, &engine, &log).await;
    tell("STOPPING=1");
    // Requests under way get a moment to end. Containers keep running, unless live-restore is off.
    let _served = stop.send(true);
    let _ended = serving.await;
    engine.halt().await;
    engine.close();
    Ok(())
}

/// What the daemon is told by signals; one that comes before it is waited for is not lost.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn watch() -> Result<Self> {
        let watch = |kind| signal(kind).context(|| "watch signals");
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; SIGHUP reads the configuration again.
    async fn until_stopped(mut self, mut config: Config, engine: &Engine, log: &Log) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    if let Err(e) = sys::activation::notify_reloading() {
                        tracing::warn!("tell the service manager: {e}");
                    }
                    match reload_configuration(&config, engine, log) {
                        Ok(new) => config = new,
                        // A daemon that runs is not stopped by a mistake in its file.
                        Err(e) => tracing::error!("configuration not reloaded: {e}"),
                    }
                    tell("READY=1");
                }
            }
        }
    }
}

fn reload_configuration(old: &Config, engine: &Engine, log: &Log) -> Result<Config> {
    tracing::info!("Got signal to reload configuration, reloading");
    let (new, late) = config::reload(old)?;
    engine.reload(&drivers::settings(&new))?;
    log.reload(&new)?;
    if !late.is_empty() {
        tracing::warn!("these options need a new start to take effect: {}", late.join(", "));
    }
    tracing::info!("configuration reloaded");
    Ok(new)
}

/// Names that clients on plain TCP may call the daemon by: the host's own, and those that were asked for.
fn names(config: &Config, engine: &Engine) -> Vec<String> {
    let asked = config.hosts.iter().filter_map(|host| {
        let address = host.strip_prefix("tcp://")?;
        Some(address.rsplit_once(':').map_or(address, |(name, _)| name).to_owned())
    });
    asked.chain([engine.info().name]).filter(|name| !name.is_empty()).collect()
}

/// Tells the service manager, if there is one.
fn tell(state: &str) {
    if let Err(e) = sys::activation::notify(state) {
        tracing::warn!("tell the service manager: {e}");
    }
}
