//! One plugin: what it is, and what it is to take back.

use crate::Inner;
use crate::undo::Chore;
use crate::wire::{IpamCapabilities, NetworkCapabilities, Spaces};
use plugin::{Failure, Plugin};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long who wants something new of a plugin waits until it has taken back the old.
const SETTLE: Duration = Duration::from_secs(5);

const NETWORKS: &str = "NetworkDriver";
const ADDRESSES: &str = "IpamDriver";

/// A plugin by its name, whether there is one or not.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// What it said when it was found; asked anew when it could not be reached. Never held while it is asked: who waits
    /// for a plugin that hangs waits once, not once for everybody before him.
    found: Mutex<Option<Found>>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// It has answered once, and once as a driver of networks.
    loaded: AtomicBool,
    networks: AtomicBool,
}

#[derive(Debug, Clone)]
struct Found {
    plugin: Arc<Plugin>,
    network: Option<NetworkCapabilities>,
    ipam: Option<(IpamCapabilities, Spaces)>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Chore>,
    /// What could not be done because the plugin did not answer.
    stale: Vec<Chore>,
    working: bool,
}

impl Peer {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            found: Mutex::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
            loaded: AtomicBool::new(false),
            networks: AtomicBool::new(false),
        }
    }

    /// Whether it has ever answered.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Whether there is something that it is to take back.
    pub(crate) fn has_chores(&self) -> bool {
        let queue = self.queue();
        queue.working || !queue.waiting.is_empty() || !queue.stale.is_empty()
    }

    /// Whether it has answered as a driver of networks.
    pub(crate) fn gives_networks(&self) -> bool {
        self.networks.load(Ordering::Relaxed)
    }

    /// What it is as a driver of networks.
    pub(crate) fn network(&self, inner: &Inner) -> Result<NetworkCapabilities, Failure> {
        let known = self.find(inner)?;
        if let Some(capabilities) = known.network {
            return Ok(capabilities);
        }
        self.must_implement(&known.plugin, NETWORKS)?;
        let method = "NetworkDriver.GetCapabilities";
        let told: NetworkCapabilities = known.plugin.get(method)?;
        if !matches!(told.scope.as_str(), "local" | "global") {
            // Docker's words.
            let text = "invalid capability: expecting 'local' or 'global'";
            return Err(Failure::garbled(&self.name, method, text));
        }
        if let Some(found) = &mut *self.found() {
            found.network = Some(told.clone());
        }
        self.networks.store(true, Ordering::Relaxed);
        Ok(told)
    }

    /// What it is as an address management.
    pub(crate) fn ipam(&self, inner: &Inner) -> Result<(IpamCapabilities, Spaces), Failure> {
        let known = self.find(inner)?;
        if let Some(told) = known.ipam {
            return Ok(told);
        }
        self.must_implement(&known.plugin, ADDRESSES)?;
        // Plugins older than the question have no capabilities.
        let capabilities = match known.plugin.get("IpamDriver.GetCapabilities") {
            Err(e) if e.is_final() => IpamCapabilities::default(),
            told => told?,
        };
        let spaces: Spaces = known.plugin.get("IpamDriver.GetDefaultAddressSpaces")?;
        if let Some(found) = &mut *self.found() {
            found.ipam = Some((capabilities.clone(), spaces.clone()));
        }
        Ok((capabilities, spaces))
    }

    /// Asks it something.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        inner: &Inner,
        method: &str,
        question: &impl Serialize,
    ) -> Result<T, Failure> {
        let plugin = self.find(inner)?.plugin;
        plugin.call(method, question).inspect_err(|e| {
            if !e.is_final() {
                // It may listen somewhere else when it is there again.
                *self.found() = None;
            }
        })
    }

    fn must_implement(&self, plugin: &Plugin, kind: &str) -> Result<(), Failure> {
        if plugin.implements(kind) {
            return Ok(());
        }
        let text = format!("it does not implement the requested driver ({kind})");
        Err(Failure::garbled(&self.name, "Plugin.Activate", text))
    }

    fn find(&self, inner: &Inner) -> Result<Found, Failure> {
        if let Some(known) = &*self.found() {
            return Ok(known.clone());
        }
        // Two who ask at the same time both activate it, which does no harm.
        let plugin = Arc::new(Plugin::activate(&inner.folders, &self.name)?);
        self.loaded.store(true, Ordering::Relaxed);
        let new = Found { plugin, network: None, ipam: None };
        Ok(self.found().get_or_insert(new).clone())
    }

    fn found(&self) -> MutexGuard<'_, Option<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something taken back. Nobody waits for it.
    pub(crate) fn later(self: &Arc<Self>, inner: &Arc<Inner>, chore: Chore) {
        let mut queue = self.queue();
        queue.waiting.push_back(chore);
        self.start(inner, &mut queue);
    }

    /// The plugin did not answer when this was asked of it: it is asked again when it answers something else, or when the
    /// daemon starts the next time.
    pub(crate) fn stale(&self, chore: Chore) {
        self.queue().stale.push(chore);
    }

    /// It answers: what it did not take back before, it may take back now.
    pub(crate) fn is_alive(self: &Arc<Self>, inner: &Arc<Inner>) {
        let mut queue = self.queue();
        if !queue.stale.is_empty() {
            let stale = std::mem::take(&mut queue.stale);
            queue.waiting.extend(stale);
            self.start(inner, &mut queue);
        }
    }

    /// Waits until what is to be taken back has been, for a while.
    pub(crate) fn settle(&self) {
        let working = |queue: &mut Queue| queue.working;
        let waited = self.changed.wait_timeout_while(self.queue(), SETTLE, working);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// A thread for as long as there is something to do.
    fn start(self: &Arc<Self>, inner: &Arc<Inner>, queue: &mut Queue) {
        if queue.working {
            return;
        }
        let (peer, inner) = (Arc::clone(self), Arc::clone(inner));
        let thread = std::thread::Builder::new().name("plugin-undo".into());
        // Without a thread the notes are there still: the next that is to be taken back, or the daemon's next start, sees
        // to it.
        queue.working = thread.stack_size(512 << 10).spawn(move || peer.work(&inner)).is_ok();
    }

    fn work(self: &Arc<Self>, inner: &Arc<Inner>) {
        loop {
            let next = {
                let mut queue = self.queue();
                let next = queue.waiting.pop_front();
                queue.working = next.is_some();
                next
            };
            let Some(mut chore) = next else {
                self.changed.notify_all();
                return;
            };
            match inner.do_chore(self, &mut chore) {
                Err(e) if !e.is_final() => {
                    tracing::warn!("{e}; it is asked again later");
                    // Each of the others would take as long.
                    let mut queue = self.queue();
                    queue.stale.push(chore);
                    let rest: Vec<Chore> = queue.waiting.drain(..).collect();
                    queue.stale.extend(rest);
                }
                // It has heard us, and what it does not know it need not take back.
                Err(e) => tracing::warn!("{e}"),
                Ok(()) => {}
            }
        }
    }
}
