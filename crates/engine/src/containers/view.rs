//! Containers as inspect, list and top show them.

use crate::Engine;
use container::{Container, Phase, Published, spec};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use stdx::Result;
use stdx::time::Timestamp;
use store::records::container::{ContainerRecord, EndpointWishes};
use store::records::network::{EndpointRecord, PortRecord};

/// All that inspect and list need to know of a container.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// What was asked for and resolved.
    pub record: Arc<ContainerRecord>,
    /// All of its names, with the slash that the API begins them with.
    pub names: Vec<String>,
    /// Its legacy links: `/db:/web/alias`.
    pub links: Vec<String>,
    /// Where it is in its life.
    pub state: StateView,
    /// Its networks.
    pub network: NetworkView,
    /// Its files and its command.
    pub paths: PathsView,
    /// Exec sessions that run in it.
    pub exec_ids: Vec<String>,
    /// The image as the user named it, or its id when that name means another image now.
    pub image_name: String,
    /// Where its root file system is kept.
    pub snapshot: SnapshotView,
    /// What it takes on disk, when asked for.
    pub size: Option<Sizes>,
}

/// Where a container is in its life, in Docker's terms.
#[derive(Debug, Clone)]
pub struct StateView {
    /// In one word.
    pub status: Status,
    /// Its first process; 0 when it does not run.
    pub pid: i32,
    /// Its last exit code.
    pub code: i32,
    /// The kernel killed one of its processes for want of memory.
    pub oom: bool,
    /// Why it could not be started.
    pub error: String,
    /// When it was last started; zero time: never.
    pub started: Timestamp,
    /// When it last ended; zero time: never.
    pub finished: Timestamp,
    /// How healthy it is, if it is probed.
    pub health: Option<Arc<container::health::Health>>,
}

/// Docker's word for where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// `created`
    Created,
    /// `running`
    Running,
    /// `paused`
    Paused,
    /// `restarting`
    Restarting,
    /// `removing`
    Removing,
    /// `exited`
    Exited,
    /// `dead`
    Dead,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}

/// A container's networks.
#[derive(Debug, Clone, Default)]
pub struct NetworkView {
    /// `bridge`, `host`, `none`.
    pub mode: String,
    /// By the network's name.
    pub endpoints: BTreeMap<String, EndpointView>,
    /// An id for its network namespace.
    pub sandbox_id: String,
    /// Its network namespace; empty when it does not run.
    pub sandbox_key: String,
    /// The host's ports that lead to it.
    pub ports: Vec<PortRecord>,
}

/// A container's place in one network; addresses are empty while it does not run.
#[derive(Debug, Clone, Default)]
pub struct EndpointView {
    /// The network's id.
    pub network_id: String,
    /// The endpoint's id.
    pub endpoint_id: String,
    /// MAC address.
    pub mac: String,
    /// IPv4 address.
    pub ip: String,
    /// Bits of its prefix.
    pub prefix_len: u8,
    /// Gateway.
    pub gateway: String,
    /// IPv6 address.
    pub ipv6: String,
    /// Bits of its prefix.
    pub ipv6_prefix_len: u8,
    /// Gateway for IPv6.
    pub ipv6_gateway: String,
    /// The names by which it is known there.
    pub dns_names: Vec<String>,
    /// What its user wanted of it.
    pub wishes: EndpointWishes,
}

/// A container's files on the host, and its command.
#[derive(Debug, Clone, Default)]
pub struct PathsView {
    /// `/etc/hosts`
    pub hosts: String,
    /// `/etc/hostname`
    pub hostname: String,
    /// `/etc/resolv.conf`
    pub resolv_conf: String,
    /// The log; empty when there is none.
    pub log: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Where a root file system is kept.
#[derive(Debug, Clone, Default)]
pub struct SnapshotView {
    /// `overlay2`, as Docker names overlay.
    pub driver: String,
    /// Layers, top first.
    pub lower: Vec<String>,
    /// The writable layer.
    pub upper: String,
    /// overlay's work directory.
    pub work: String,
    /// Docker's merged directory; ours is attached only inside the container.
    pub merged: String,
}

/// What a container takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes it has written.
    pub rw: i64,
    /// Those and its image's.
    pub root: i64,
}

/// The processes of a container, as `ps` prints them.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row a process.
    pub processes: Vec<Vec<String>>,
}

impl Engine {
    /// One container; `size`: measure what it takes on disk.
    pub fn inspect_container(&self, name: &str, size: bool) -> Result<ContainerView> {
        let container = self.inner.containers.find(name)?;
        let now = container.now();
        let mut view = self.view(&now, self.image_name(&now.record), true);
        if size {
            view.size = self.container_size(&view.record.id);
        }
        Ok(view)
    }

    /// All containers, the newest first, each put together when its turn comes: lists are long, and one view at a
    /// time stays in the processor's cache. Where their root file systems are kept is left out: it takes a look at
    /// the disk for each, and no list shows it.
    pub fn list_containers(&self) -> impl Iterator<Item = ContainerView> {
        let mut all: Vec<Published> =
            self.inner.containers.all().iter().map(Container::now).collect();
        all.sort_by_key(|now| std::cmp::Reverse(now.record.created));
        // Neighbours in the list are often of one image: its name is looked up once for them.
        let mut last: Option<(Arc<ContainerRecord>, String)> = None;
        all.into_iter().map(move |now| {
            let known = last.as_ref().filter(|(record, _)| {
                record.config.image == now.record.config.image
                    && record.image_id == now.record.image_id
            });
            let name = known.map_or_else(|| self.image_name(&now.record), |(_, name)| name.clone());
            last = Some((Arc::clone(&now.record), name.clone()));
            self.view(&now, name, false)
        })
    }

    /// What a container takes on disk.
    pub fn container_size(&self, id: &str) -> Option<Sizes> {
        let container = self.inner.containers.find(id).ok()?;
        let record = container.now().record;
        let key = snapshot::Key::new(&record.id).ok()?;
        let usage = self.inner.services.snapshots.usage(snapshot::Which::Key(&key)).ok()?;
        let rw = i64::try_from(usage.bytes).unwrap_or(i64::MAX);
        Some(Sizes { rw, root: rw.saturating_add(self.image_size(&record.image_id)) })
    }

    /// `whole`: with the names of its files and layers, which lists do not show.
    fn view(&self, now: &Published, image_name: String, whole: bool) -> ContainerView {
        let record = Arc::clone(&now.record);
        let mut command = spec::command_line(&record).into_iter();
        let (path, args) = (command.next().unwrap_or_default(), command.collect());
        let paths = PathsView { path, args, ..PathsView::default() };
        let (paths, snapshot) = if whole {
            (self.with_files(paths, &record), self.snapshot_view(&record.id))
        } else {
            (paths, SnapshotView::default())
        };
        ContainerView {
            names: super::links::names(&self.inner.containers, &record),
            links: super::links::shown(&self.inner.containers, &record),
            state: state(now),
            network: self.network_view(now),
            paths,
            exec_ids: self.inner.execs.running_in(&record.id),
            image_name,
            snapshot,
            size: None,
            record,
        }
    }

    fn with_files(&self, paths: PathsView, record: &ContainerRecord) -> PathsView {
        let places = &self.inner.services.paths;
        let files = container::files::paths(places, &record.id);
        let text = |path: &std::path::Path| path.display().to_string();
        PathsView {
            hosts: text(&files.hosts),
            hostname: text(&files.hostname),
            resolv_conf: text(&files.resolv_conf),
            log: self.inner.logs.public_path(record).map_or_else(String::new, |path| text(&path)),
            ..paths
        }
    }

    fn network_view(&self, now: &Published) -> NetworkView {
        let asked = now.record.host.network_mode.as_str();
        let mode = if matches!(asked, "" | "default") { "bridge" } else { asked };
        let live = now.phase.live();
        let mut endpoints: BTreeMap<String, EndpointView> = now
            .endpoints
            .iter()
            .map(|(name, owned)| (name.clone(), endpoint_view(owned)))
            .collect();
        for (name, wishes) in now.record.networks() {
            // What it was taken from while it runs is shown no more; the host's network and none have no link.
            let linkless = matches!(name.as_str(), "host" | "none");
            if live.is_none() || linkless {
                endpoints.entry(name).or_default().wishes = wishes;
            } else if let Some(view) = endpoints.get_mut(&name) {
                view.wishes = wishes;
            }
        }
        for (name, view) in &mut endpoints {
            if view.network_id.is_empty() {
                view.network_id = match view.wishes.network_id.as_str() {
                    "" if live.is_some() => self.inner.networks.id_of(name),
                    known => known.to_owned(),
                };
            }
        }
        NetworkView {
            mode: mode.to_owned(),
            ports: now.endpoints.values().flat_map(|owned| owned.ports.iter().cloned()).collect(),
            endpoints,
            sandbox_id: live.map(|_| now.record.id.clone()).unwrap_or_default(),
            sandbox_key: live.map(|l| format!("/proc/{}/ns/net", l.pid)).unwrap_or_default(),
        }
    }

    fn snapshot_view(&self, id: &str) -> SnapshotView {
        let Ok(key) = snapshot::Key::new(id) else { return SnapshotView::default() };
        let text = |path: &std::path::PathBuf| path.display().to_string();
        match self.inner.services.snapshots.mounts(&key) {
            Ok(snapshot::Mounts::Overlay { lower, upper, work }) => SnapshotView {
                driver: "overlay2".to_owned(),
                lower: lower.iter().map(text).collect(),
                upper: upper.as_ref().map(text).unwrap_or_default(),
                work: work.as_ref().map(text).unwrap_or_default(),
                merged: String::new(),
            },
            Ok(snapshot::Mounts::Directory(path)) => SnapshotView {
                driver: "vfs".to_owned(),
                upper: text(&path),
                ..SnapshotView::default()
            },
            Err(_) => SnapshotView { driver: "overlay2".to_owned(), ..SnapshotView::default() },
        }
    }
}

fn endpoint_view(owned: &EndpointRecord) -> EndpointView {
    let (ip, prefix_len) = owned.ipv4().unwrap_or_default();
    let (ipv6, ipv6_prefix_len) = owned.ipv6().unwrap_or_default();
    EndpointView {
        network_id: owned.network.clone(),
        endpoint_id: owned.id.clone(),
        mac: owned.mac.clone(),
        ip: ip.to_owned(),
        prefix_len,
        gateway: owned.gateway.clone(),
        ipv6: ipv6.to_owned(),
        ipv6_prefix_len,
        ipv6_gateway: owned.gateway_v6.clone(),
        dns_names: owned.dns_names.clone(),
        wishes: EndpointWishes::default(),
    }
}

/// A container's state in Docker's one word.
pub(crate) fn status(now: &Published) -> Status {
    match &now.phase {
        Phase::Created | Phase::Starting if now.record.last.finished.is_zero() => Status::Created,
        Phase::Restarting => Status::Restarting,
        Phase::Starting if now.record.last.restart_at.is_some() => Status::Restarting,
        Phase::Created | Phase::Starting | Phase::Exited => Status::Exited,
        Phase::Running(_) | Phase::Stopping(_) => Status::Running,
        Phase::Paused(_) => Status::Paused,
        Phase::Removing | Phase::Gone => Status::Removing,
        Phase::Dead(_) => Status::Dead,
    }
}

fn state(now: &Published) -> StateView {
    let last = &now.record.last;
    let error =
        if let Phase::Dead(error) = &now.phase { Some(error.clone()) } else { last.error.clone() };
    StateView {
        status: status(now),
        pid: now.phase.live().map_or(0, |live| live.pid),
        code: last.code,
        oom: last.oom,
        error: error.unwrap_or_default(),
        started: last.started,
        finished: last.finished,
        health: now.health.clone(),
    }
}
