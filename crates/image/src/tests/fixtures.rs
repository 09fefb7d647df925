//! The fakes.

use crate::chain::sha256;
use crate::{Event, Images, LayerStep};
use bytes::Bytes;
use content::{BoxFuture, ByteStream, Fetcher, Resolved};
use flate2::write::GzEncoder;
use oci::image::{Descriptor, DescriptorPlatform, media};
use serde_json::{Value, json};
use snapshot::{Info, Key, Mounts, Name, Snapshotter, Sort, Swept, Usage, Which};
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use stdx::{Error, Kind, Result};
use types::{Digest, ImageRef};

/// A directory with everything that [`Images`] needs.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) content: content::mem::Memory,
    pub(crate) snapshots: Arc<Dirs>,
    pub(crate) images: Arc<Images>,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let content = content::mem::Memory::default();
        let snapshots = Arc::new(Dirs::new(root.path().join("snapshots")));
        let images = open(root.path(), &content, &snapshots);
        Self { root, content, snapshots, images }
    }

    /// What is on disk stays, what was in memory goes.
    pub(crate) fn restart(self) -> Self {
        let Self { root, content, snapshots, images } = self;
        assert_eq!(Arc::strong_count(&images), 1, "somebody still uses the old one");
        drop(images);
        snapshots.sweep(&[]).unwrap();
        let images = open(root.path(), &content, &snapshots);
        Self { root, content, snapshots, images }
    }

    /// The content of a file as a container of the image `name` would see it.
    pub(crate) fn file(&self, name: &str, path: &str) -> Option<String> {
        let image = self.images.resolve(name).unwrap();
        let mut at = image.snapshot();
        while let Some(layer) = at {
            if let Ok(text) = std::fs::read_to_string(self.snapshots.committed(&layer).join(path)) {
                return Some(text);
            }
            at = self.snapshots.stat(Which::Name(&layer)).unwrap().parent;
        }
        None
    }

    /// Nothing half-made is left, and nothing is in scratch. Threads of what was cancelled may take a moment.
    pub(crate) fn assert_tidy(&self) {
        for _ in 0..500 {
            if self.snapshots.keys().is_empty() {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        assert_eq!(self.snapshots.keys(), Vec::<String>::new(), "active snapshots");
        assert_eq!(
            std::fs::read_dir(self.root.path().join("scratch")).unwrap().count(),
            0,
            "scratch"
        );
    }

    pub(crate) fn blobs(&self) -> usize {
        let mut count = 0;
        content::Manager::walk(&self.content, &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        count
    }
}

fn open(root: &Path, content: &content::mem::Memory, snapshots: &Arc<Dirs>) -> Arc<Images> {
    let store = Arc::new(store::Store::open(&root.join("store.redb")).unwrap());
    let snapshots = Arc::clone(snapshots) as Arc<dyn Snapshotter>;
    Images::open(store, Arc::new(content.clone()), snapshots, root.join("scratch")).unwrap()
}

/// Snapshots as plain directories.
#[derive(Debug)]
pub(crate) struct Dirs {
    root: PathBuf,
    state: Mutex<DirsState>,
    /// Refuses to rebase, as a driver that copies would.
    pub(crate) is_serial: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct DirsState {
    active: BTreeMap<String, Option<Name>>,
    committed: BTreeMap<String, Option<Name>>,
    order: Vec<String>,
}

impl Dirs {
    fn new(root: PathBuf) -> Self {
        std::fs::create_dir_all(root.join("active")).unwrap();
        std::fs::create_dir_all(root.join("committed")).unwrap();
        Self { root, state: Mutex::default(), is_serial: false.into() }
    }

    pub(crate) fn committed(&self, name: &Name) -> PathBuf {
        self.root.join("committed").join(name.as_str())
    }

    fn active(&self, key: &Key) -> PathBuf {
        self.root.join("active").join(key.as_str())
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().active.keys().cloned().collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().committed.keys().cloned().collect()
    }
}

fn lost(what: &dyn std::fmt::Display) -> Error {
    Error::not_found(format!("no snapshot {what}"))
}

impl Snapshotter for Dirs {
    fn driver(&self) -> &'static str {
        "dirs"
    }

    fn prepare(&self, key: &Key, parent: Option<&Name>) -> Result<Mounts> {
        let mut state = self.state.lock().unwrap();
        if let Some(parent) = parent.filter(|p| !state.committed.contains_key(p.as_str())) {
            return Err(lost(parent));
        }
        if state.active.insert(key.as_str().to_owned(), parent.cloned()).is_some() {
            return Err(Error::conflict("it is there"));
        }
        std::fs::create_dir(self.active(key))?;
        drop(state);
        self.mounts(key)
    }

    fn view(&self, key: &Key, parent: Option<&Name>) -> Result<Mounts> {
        self.prepare(key, parent)
    }

    fn mounts(&self, key: &Key) -> Result<Mounts> {
        let state = self.state.lock().unwrap();
        let mut at = state.active.get(key.as_str()).ok_or_else(|| lost(key))?.clone();
        let mut lower = Vec::new();
        while let Some(name) = at {
            lower.push(self.committed(&name));
            at = state.committed[name.as_str()].clone();
        }
        Ok(Mounts::Overlay { lower, upper: Some(self.active(key)), work: None })
    }

    fn writable(&self, key: &Key) -> Result<PathBuf> {
        Ok(self.active(key))
    }

    fn rebase(&self, key: &Key, parent: Option<&Name>) -> Result<()> {
        if self.is_serial.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::not_implemented("rebase"));
        }
        let mut state = self.state.lock().unwrap();
        if let Some(parent) = parent.filter(|p| !state.committed.contains_key(p.as_str())) {
            return Err(lost(parent));
        }
        *state.active.get_mut(key.as_str()).ok_or_else(|| lost(key))? = parent.cloned();
        Ok(())
    }

    fn commit(&self, name: &Name, key: &Key) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.committed.contains_key(name.as_str()) {
            return Err(Error::conflict("it is there"));
        }
        let parent = state.active.remove(key.as_str()).ok_or_else(|| lost(key))?;
        std::fs::rename(self.active(key), self.committed(name))?;
        state.committed.insert(name.as_str().to_owned(), parent);
        state.order.push(name.as_str().to_owned());
        Ok(())
    }

    fn remove_active(&self, key: &Key) -> Result<()> {
        self.state.lock().unwrap().active.remove(key.as_str()).ok_or_else(|| lost(key))?;
        Ok(std::fs::remove_dir_all(self.active(key))?)
    }

    fn remove_committed(&self, name: &Name) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.active.values().chain(state.committed.values()).flatten().any(|p| p == name) {
            return Err(Error::conflict("it has children"));
        }
        state.committed.remove(name.as_str()).ok_or_else(|| lost(name))?;
        state.order.retain(|n| n != name.as_str());
        Ok(std::fs::remove_dir_all(self.committed(name))?)
    }

    fn stat(&self, which: Which<'_>) -> Result<Info> {
        let state = self.state.lock().unwrap();
        let (id, sort, parent) = match which {
            Which::Key(key) => (key.as_str(), Sort::Active, state.active.get(key.as_str())),
            Which::Name(name) => {
                (name.as_str(), Sort::Committed, state.committed.get(name.as_str()))
            }
        };
        let parent = parent.ok_or_else(|| lost(&id))?.clone();
        Ok(Info { id: id.to_owned(), sort, parent })
    }

    fn usage(&self, which: Which<'_>) -> Result<Usage> {
        self.stat(which)?;
        Ok(Usage { bytes: 4096, inodes: 1 })
    }

    fn walk(&self, visit: &mut dyn FnMut(&Info) -> Result<()>) -> Result<()> {
        let order = self.state.lock().unwrap().order.clone();
        for name in order {
            visit(&self.stat(Which::Name(&Name::new(&name)?))?)?;
        }
        Ok(())
    }

    fn sweep(&self, owned: &[Key]) -> Result<Swept> {
        let mut swept = Swept::default();
        for key in self.keys() {
            let key = Key::new(key)?;
            if !owned.contains(&key) {
                self.remove_active(&key)?;
                swept.unowned.push(key);
            }
        }
        Ok(swept)
    }

    fn empty_trash(&self) -> Result<usize> {
        Ok(0)
    }
}

/// A registry in memory.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tags: Mutex<HashMap<String, Descriptor>>,
    blobs: Mutex<HashMap<Digest, Bytes>>,
    /// How often each blob was asked for.
    pub(crate) fetched: Mutex<HashMap<Digest, usize>>,
    /// Blobs of which only so many bytes come, then an error.
    pub(crate) cut: Mutex<HashMap<Digest, usize>>,
    /// Blobs wait for a permit before each piece when there is one of these.
    pub(crate) gate: Mutex<Option<Arc<tokio::sync::Semaphore>>>,
}

impl Registry {
    pub(crate) fn put(&self, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        let size = bytes.len() as u64;
        self.blobs.lock().unwrap().insert(digest.clone(), bytes);
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    /// Replaces what comes for a digest.
    pub(crate) fn forge(&self, digest: &Digest, bytes: impl Into<Bytes>) {
        self.blobs.lock().unwrap().insert(digest.clone(), bytes.into());
    }

    pub(crate) fn tag(&self, reference: &str, descriptor: &Descriptor) {
        let reference: ImageRef = reference.parse().unwrap();
        self.tags
            .lock()
            .unwrap()
            .insert(reference.with_default_tag().to_string(), descriptor.clone());
    }

    /// Puts an image there and tags it.
    pub(crate) fn image(&self, reference: &str, image: &Made) -> Descriptor {
        let manifest = self.manifest(image, media::OCI_MANIFEST, |_| {});
        self.tag(reference, &manifest);
        manifest
    }

    pub(crate) fn manifest(
        &self,
        image: &Made,
        media_type: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Descriptor {
        let config = self.put(media::OCI_CONFIG, image.config.clone());
        let layers: Vec<Descriptor> =
            image.layers.iter().map(|l| self.put(media::OCI_LAYER_GZIP, l.clone())).collect();
        let mut manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers});
        edit(&mut manifest);
        self.put(media_type, manifest.to_string())
    }

    pub(crate) fn index(&self, reference: &str, manifests: &[(&str, &Descriptor)]) -> Descriptor {
        let entries: Vec<Descriptor> = manifests
            .iter()
            .map(|(platform, descriptor)| {
                let platform: types::Platform = platform.parse().unwrap();
                Descriptor {
                    platform: Some(DescriptorPlatform {
                        os: platform.os().to_owned(),
                        architecture: platform.architecture().to_owned(),
                        variant: platform.variant().to_owned(),
                    }),
                    ..(*descriptor).clone()
                }
            })
            .collect();
        let index =
            json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
        let descriptor = self.put(media::OCI_INDEX, index.to_string());
        self.tag(reference, &descriptor);
        descriptor
    }

    pub(crate) fn count(&self, digest: &Digest) -> usize {
        self.fetched.lock().unwrap().get(digest).copied().unwrap_or(0)
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Resolved> {
        let bytes = self.blobs.lock().unwrap().get(&descriptor.digest).cloned();
        let bytes = bytes.ok_or_else(|| Error::not_found("manifest unknown"))?;
        Ok(Resolved { descriptor: descriptor.clone(), bytes })
    }
}

impl Fetcher for Registry {
    fn resolve<'a>(&'a self, reference: &'a ImageRef) -> BoxFuture<'a, Result<Resolved>> {
        Box::pin(async move {
            let tags = self.tags.lock().unwrap();
            let found = match reference.digest() {
                Some(digest) => tags.values().find(|d| d.digest == *digest),
                None => tags.get(&reference.to_string()),
            };
            let found = found.cloned().ok_or_else(|| {
                Error::not_found(format!("manifest for {} not found", reference.familiar()))
            })?;
            drop(tags);
            self.document(&found)
        })
    }

    fn manifest<'a>(
        &'a self,
        _: &'a ImageRef,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Resolved>> {
        Box::pin(async move { self.document(descriptor) })
    }

    fn fetch<'a>(
        &'a self,
        _: &'a ImageRef,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<ByteStream>> {
        Box::pin(async move {
            let digest = &descriptor.digest;
            *self.fetched.lock().unwrap().entry(digest.clone()).or_default() += 1;
            let bytes = self.blobs.lock().unwrap().get(digest).cloned();
            let bytes = bytes.ok_or_else(|| Error::not_found("blob unknown"))?;
            let cut = self.cut.lock().unwrap().get(digest).copied();
            let gate = self.gate.lock().unwrap().clone();
            let whole = bytes.slice(..cut.unwrap_or(bytes.len()).min(bytes.len()));
            let pieces: Vec<Bytes> = whole.chunks(1000).map(Bytes::copy_from_slice).collect();
            let end = cut.map(|_| Err(Error::new(Kind::Unavailable, "the transfer was cut")));
            let items = pieces.into_iter().map(Ok).chain(end);
            let stream = futures_util::stream::unfold(items, move |mut items| {
                let gate = gate.clone();
                async move {
                    if let Some(gate) = gate {
                        gate.acquire().await.unwrap().forget();
                    }
                    tokio::task::yield_now().await;
                    items.next().map(|item| (item, items))
                }
            });
            Ok(Box::pin(stream) as ByteStream)
        })
    }
}

/// How a layer is wrapped.
#[derive(Clone, Copy)]
pub(crate) enum Wrap {
    Plain,
    Gzip,
    Zstd,
}

/// An image's bytes.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) diff_ids: Vec<Digest>,
}

impl Made {
    pub(crate) fn id(&self) -> Digest {
        sha256(&self.config)
    }
}

/// A tar of files.
pub(crate) fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = tar::Writer::new(&mut bytes);
    for (path, text) in files {
        let mut entry = tar::Entry::new(*path, tar::Kind::File);
        entry.size = text.len() as u64;
        writer.append(&entry, &mut text.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

pub(crate) fn wrap(bytes: &[u8], how: Wrap) -> Vec<u8> {
    match how {
        Wrap::Plain => bytes.to_vec(),
        Wrap::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Wrap::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// An image of layers of files.
pub(crate) fn made(layers: &[(&[(&str, &str)], Wrap)]) -> Made {
    made_with(layers, |_| {})
}

pub(crate) fn made_with(layers: &[(&[(&str, &str)], Wrap)], edit: impl FnOnce(&mut Value)) -> Made {
    let tars: Vec<Vec<u8>> = layers.iter().map(|(files, _)| tar_of(files)).collect();
    let diff_ids: Vec<Digest> = tars.iter().map(|t| sha256(t)).collect();
    let history: Vec<Value> =
        (0..layers.len()).map(|n| json!({"created_by": format!("step {n}")})).collect();
    let mut config = json!({
        "architecture": types::Platform::host().architecture(),
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    edit(&mut config);
    let layers = tars.iter().zip(layers).map(|(tar, (_, how))| wrap(tar, *how)).collect();
    Made { config: config.to_string().into_bytes(), layers, diff_ids }
}

/// What was told, as lines: `id: status` without the bytes, each line once in a row.
#[derive(Default)]
pub(crate) struct Heard {
    lines: Mutex<Vec<String>>,
}

impl crate::Progress for Heard {
    fn event(&self, event: Event) {
        let line = match &event {
            Event::Layer { id, step } => {
                if let LayerStep::Downloading { current, total } = step {
                    assert!(current <= total, "{event:?}");
                }
                format!("{id}: {event}")
            }
            Event::PullingFrom { tag, .. } => format!("{tag}: {event}"),
            _ => event.to_string(),
        };
        let mut lines = self.lines.lock().unwrap();
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
}

impl Heard {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Lines about one layer, the unpredictable ones left out.
    pub(crate) fn of(&self, id: &str) -> Vec<String> {
        let prefix = format!("{id}: ");
        let told = |l: &String| l.strip_prefix(&prefix).map(str::to_owned);
        let is_steady =
            |l: &String| !matches!(l.as_str(), "Waiting" | "Downloading" | "Extracting");
        self.lines().iter().filter_map(told).filter(is_steady).collect()
    }
}
