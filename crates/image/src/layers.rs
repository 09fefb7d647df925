//! Layers as committed snapshots: who needs them, which are on their way.
//!
//! ```text
//!   Wanted ─▶ hold ─▶ there? ──────────────────────────────▶ AlreadyExists
//!                       └─▶ in flight? ─▶ watch that job ─┐
//!                             └─▶ new job ────────────────┴▶ Waiting ▶ Downloading ▶ Unpacking ▶ Done | Failed
//!
//!   job:   registry ──▶ channel ──▶ thread: hash, inflate, apply ──▶ wait for the parent's job ──▶ commit
//! ```
//!
//! A job lives as long as somebody waits for it: when the last pull that wants it is gone, so is the job, and what it had
//! unpacked. A job holds its parent's.

use crate::model::{Image, snapshot_name};
use crate::unpack::{self, Expected, Unpacked};
use bytes::Bytes;
use content::{ByteStream, Fetcher};
use futures_util::StreamExt as _;
use oci::image::Descriptor;
use snapshot::{Info, Key, Name, Snapshotter, Sort, Which};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use stdx::{Error, Kind, Result};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use types::{Digest, ImageRef};

/// Layers that are downloaded at a time, of all pulls together; Docker's default.
const DOWNLOADS: usize = 3;
/// Pieces of a layer between network and thread; each is at most what one read of a socket brings.
const PIECES: usize = 16;

/// The layers of all images.
#[derive(Debug)]
pub(crate) struct Layers {
    snapshots: Arc<dyn Snapshotter>,
    /// Whether layers can be unpacked before their parents are there.
    side_by_side: bool,
    downloads: RwLock<Arc<Semaphore>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Chain ids that must not be removed now, with how many hold them.
    held: HashMap<Digest, usize>,
    in_flight: HashMap<Digest, Weak<Job>>,
    /// Content sizes of layers that were committed by this process.
    sizes: HashMap<Digest, u64>,
}

/// Layers that stay as long as this does.
#[derive(Debug)]
pub(crate) struct Hold {
    layers: Arc<Layers>,
    chain_ids: Vec<Digest>,
}

/// A layer that a pull wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) chain_id: Digest,
    pub(crate) expected: Expected,
    pub(crate) descriptor: Descriptor,
    pub(crate) reference: ImageRef,
}

/// How far a job is.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Others come first.
    Waiting,
    /// Bytes that arrived.
    Downloading(u64),
    /// All arrived; bytes that were unpacked.
    Unpacking(u64),
    /// It is there.
    Done,
    /// It will not be.
    Failed(Arc<Error>),
}

impl Phase {
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }
}

/// One layer on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) phase: watch::Receiver<Phase>,
    task: AbortHandle,
}

impl Drop for Job {
    fn drop(&mut self) {
        // Nobody waits any more. The thread notices by its channel and takes away what it made.
        self.task.abort();
    }
}

impl Job {
    async fn done(&self) -> Result<()> {
        let mut phase = self.phase.clone();
        match phase.wait_for(Phase::is_final).await.as_deref() {
            Ok(Phase::Failed(error)) => Err(again(error)),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::internal("unpacking ended without a word")),
        }
    }
}

/// The same error once more, for each who waited.
pub(crate) fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

impl Layers {
    pub(crate) fn new(snapshots: Arc<dyn Snapshotter>) -> Arc<Self> {
        // A driver that can rebase says that this snapshot is not there; another, that it cannot.
        let nobody = Key::new("pull-probe").expect("a literal key");
        let probe = snapshots.rebase(&nobody, None).map_err(|e| e.kind());
        Arc::new(Self {
            snapshots,
            side_by_side: probe != Err(Kind::NotImplemented),
            downloads: RwLock::new(Arc::new(Semaphore::new(DOWNLOADS))),
            state: Mutex::default(),
        })
    }

    /// How many layers are fetched at a time from now on; 0: three. What has begun goes on beside them.
    pub(crate) fn set_downloads(&self, at_a_time: usize) {
        let at_a_time = if at_a_time == 0 { DOWNLOADS } else { at_a_time };
        let new = Arc::new(Semaphore::new(at_a_time.min(Semaphore::MAX_PERMITS)));
        *self.downloads.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every layer of `image` is there.
    pub(crate) fn check(&self, image: &Image) -> Result<()> {
        image.layers.iter().try_for_each(|l| self.stat(&l.chain_id).map(drop))
    }

    fn stat(&self, chain_id: &Digest) -> Result<Info> {
        self.snapshots.stat(Which::Name(&snapshot_name(chain_id)))
    }

    /// Whether the layer is there.
    pub(crate) fn has(&self, chain_id: &Digest) -> Result<bool> {
        match self.stat(chain_id) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == Kind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// From now on these stay, if they are there.
    pub(crate) fn hold(self: &Arc<Self>, chain_ids: &[Digest]) -> Hold {
        let mut state = self.state();
        for id in chain_ids {
            *state.held.entry(id.clone()).or_default() += 1;
        }
        Hold { layers: Arc::clone(self), chain_ids: chain_ids.to_vec() }
    }

    /// Whether nobody holds anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().held.is_empty()
    }

    /// Bytes of content of a layer that this process committed, or what the storage driver thinks.
    pub(crate) fn size(&self, chain_id: &Digest) -> Result<u64> {
        if let Some(size) = self.state().sizes.get(chain_id) {
            return Ok(*size);
        }
        Ok(self.snapshots.usage(Which::Name(&snapshot_name(chain_id)))?.bytes)
    }

    /// Removes layers, given from the top down, as far as nobody holds or stands on them. Answers those that went.
    pub(crate) fn remove(&self, chain_ids: &[Digest]) -> Vec<Digest> {
        let mut state = self.state();
        let mut removed = Vec::new();
        for id in
            chain_ids.iter().filter(|id| !state.held.contains_key(*id)).cloned().collect::<Vec<_>>()
        {
            match self.snapshots.remove_committed(&snapshot_name(&id)) {
                Ok(()) => {
                    state.sizes.remove(&id);
                    removed.push(id);
                }
                // A container stands on it, or it is gone already.
                Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => {
                    tracing::warn!(layer = %id, %error, "layer stays until the next collection");
                }
            }
        }
        removed
    }

    /// Removes every committed layer that is not `needed`. Answers how many went.
    pub(crate) fn collect(&self, needed: &HashSet<Digest>) -> Result<usize> {
        let mut unneeded = Vec::new();
        self.snapshots.walk(&mut |info| {
            if info.sort == Sort::Committed
                // Names of another form are not ours.
                && let Ok(id) = Digest::from_sha256_hex(&info.id)
                && !needed.contains(&id)
            {
                unneeded.push(id);
            }
            Ok(())
        })?;
        unneeded.reverse();
        Ok(self.remove(&unneeded).len())
    }

    /// Unpacks an archive that is at hand. Blocks.
    pub(crate) fn unpack(
        &self,
        archive: &mut (dyn Read + Send),
        expected: &Expected,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Unpacked> {
        unpack::unpack(&self.snapshots, None, archive, expected, progress)
    }

    /// Commits what [`unpack`](Self::unpack) made, on top of its parent. Blocks.
    pub(crate) fn commit(
        &self,
        unpacked: Unpacked,
        chain_id: &Digest,
        parent: Option<&Digest>,
    ) -> Result<()> {
        let size = unpacked.size();
        unpacked.commit(&snapshot_name(chain_id), parent.map(snapshot_name).as_ref(), true)?;
        self.state().sizes.insert(chain_id.clone(), size);
        Ok(())
    }

    /// Unpacks an archive of which nothing is known yet. Blocks.
    pub(crate) fn unpack_new(
        &self,
        archive: &mut (dyn Read + Send),
        parent: Option<&Digest>,
    ) -> Result<Unpacked> {
        let parent = parent.filter(|_| !self.side_by_side).map(snapshot_name);
        unpack::unpack_new(&self.snapshots, parent.as_ref(), archive)
    }

    /// Commits what [`unpack_new`](Self::unpack_new) made. Blocks.
    pub(crate) fn commit_new(
        &self,
        unpacked: Unpacked,
        chain_id: &Digest,
        parent: Option<&Digest>,
    ) -> Result<()> {
        let size = unpacked.size();
        let parent = parent.map(snapshot_name);
        unpacked.commit(&snapshot_name(chain_id), parent.as_ref(), self.side_by_side)?;
        self.state().sizes.insert(chain_id.clone(), size);
        Ok(())
    }

    /// Whether archives can be unpacked before their parents are there.
    pub(crate) fn is_side_by_side(&self) -> bool {
        self.side_by_side
    }

    /// Unpacks onto a parent that is there already, for drivers that cannot do otherwise. Blocks.
    pub(crate) fn unpack_onto(
        &self,
        archive: &mut (dyn Read + Send),
        expected: &Expected,
        chain_id: &Digest,
        parent: Option<&Digest>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let parent = parent.map(snapshot_name);
        let unpacked =
            unpack::unpack(&self.snapshots, parent.as_ref(), archive, expected, progress)?;
        let size = unpacked.size();
        unpacked.commit(&snapshot_name(chain_id), parent.as_ref(), false)?;
        self.state().sizes.insert(chain_id.clone(), size);
        Ok(())
    }

    /// The job that brings `wanted`: one that is on its way already, or a new one. `parent` is the layer below with its
    /// job, unless that one is there.
    pub(crate) fn job(
        self: &Arc<Self>,
        fetcher: &Arc<dyn Fetcher>,
        wanted: Wanted,
        parent: Option<(Digest, Option<Arc<Job>>)>,
    ) -> Arc<Job> {
        let mut state = self.state();
        if let Some(job) = state.in_flight.get(&wanted.chain_id).and_then(Weak::upgrade)
            && !matches!(*job.phase.borrow(), Phase::Failed(_))
        {
            return job;
        }
        let (phase, watched) = watch::channel(Phase::Waiting);
        let layers = Arc::clone(self);
        let fetcher = Arc::clone(fetcher);
        let chain_id = wanted.chain_id.clone();
        let task = tokio::spawn(async move {
            let result = layers.run(fetcher.as_ref(), &wanted, parent, &phase).await;
            let _nobody_left = phase.send(match result {
                Ok(()) => Phase::Done,
                Err(error) => Phase::Failed(Arc::new(error)),
            });
        });
        let job = Arc::new(Job { phase: watched, task: task.abort_handle() });
        state.in_flight.retain(|_, job| job.strong_count() > 0);
        state.in_flight.insert(chain_id, Arc::downgrade(&job));
        job
    }

    async fn run(
        self: &Arc<Self>,
        fetcher: &dyn Fetcher,
        wanted: &Wanted,
        parent: Option<(Digest, Option<Arc<Job>>)>,
        phase: &watch::Sender<Phase>,
    ) -> Result<()> {
        let (parent, parent_job) = parent.unzip();
        let parent_job = parent_job.flatten();
        if let Some(job) = &parent_job
            && !self.side_by_side
        {
            job.done().await?;
        }
        let downloads = Arc::clone(&self.downloads.read().unwrap_or_else(PoisonError::into_inner));
        let permit =
            downloads.acquire().await.map_err(|_| Error::internal("downloads are closed"))?;
        phase.send_replace(Phase::Downloading(0));
        let stream = fetcher.fetch(&wanted.reference, &wanted.descriptor).await?;
        let below = parent.as_ref().map(snapshot_name);
        let base = if self.side_by_side { None } else { below.clone() };
        let (pieces, result) = self.start_thread(wanted.expected.clone(), base, phase.clone())?;
        let sent = send(stream, &pieces, phase).await;
        // The thread sees either the end mark or a channel that closed without.
        drop(pieces);
        let unpacked =
            result.await.map_err(|_| Error::internal("the unpacking thread panicked"))?;
        // A failed download makes unpacking fail too, and explains it.
        sent?;
        let unpacked = unpacked?;
        drop(permit);
        if let Some(job) = &parent_job {
            job.done().await?;
        }
        let size = unpacked.size();
        let name = snapshot_name(&wanted.chain_id);
        let rebase = self.side_by_side;
        tokio::task::spawn_blocking(move || unpacked.commit(&name, below.as_ref(), rebase))
            .await
            .map_err(|_| Error::internal("committing a layer panicked"))??;
        self.state().sizes.insert(wanted.chain_id.clone(), size);
        Ok(())
    }

    fn start_thread(
        &self,
        expected: Expected,
        base: Option<Name>,
        phase: watch::Sender<Phase>,
    ) -> Result<(mpsc::Sender<Piece>, oneshot::Receiver<Result<Unpacked>>)> {
        let (pieces, received) = mpsc::channel(PIECES);
        let (done, result) = oneshot::channel();
        let snapshots = Arc::clone(&self.snapshots);
        let run = move || {
            let mut archive = Received { pieces: received, current: Bytes::new(), is_over: false };
            let progress = |read: u64| {
                phase.send_if_modified(|phase| match phase {
                    Phase::Unpacking(so_far) => {
                        *so_far = read;
                        true
                    }
                    // Still downloading: that is what humans watch.
                    _ => false,
                });
            };
            let unpacked =
                unpack::unpack(&snapshots, base.as_ref(), &mut archive, &expected, &progress);
            // Nobody there to take it: dropping it removes the snapshot.
            drop(done.send(unpacked));
        };
        std::thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(run)
            .map_err(|e| Error::io("start a thread for unpacking", e))?;
        Ok((pieces, result))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.layers.state();
        for id in &self.chain_ids {
            if let Some(count) = state.held.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(id);
                }
            }
        }
    }
}

/// What travels to the unpacking thread.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// All bytes were sent; a channel that closes without this was cut.
    End,
}

async fn send(
    mut stream: ByteStream,
    pieces: &mpsc::Sender<Piece>,
    phase: &watch::Sender<Phase>,
) -> Result<()> {
    let mut current = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        current += bytes.len() as u64;
        if pieces.send(Piece::Bytes(bytes)).await.is_err() {
            // The thread gave up; it says why.
            return Ok(());
        }
        phase.send_replace(Phase::Downloading(current));
    }
    phase.send_replace(Phase::Unpacking(current));
    let _gave_up = pieces.send(Piece::End).await;
    Ok(())
}

/// The bytes of a layer as the unpacking thread sees them.
struct Received {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    is_over: bool,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.is_over {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.is_over = true,
                None => return Err(io::Error::other("the download was cut")),
            }
        }
        let n = buffer.len().min(self.current.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
