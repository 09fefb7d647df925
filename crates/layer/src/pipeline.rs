//! The threads beside the unpacking one: inflating ahead of it, and hashing.

use crate::decompress::decompress;
use crate::limits::Limits;
use ring::digest::{Context, SHA256};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use stdx::{Error, Result};
use types::Digest;

/// Bytes handed on at once: big enough that a hand-over costs nothing, small enough for the cache.
const BUFFER: usize = 256 * 1024;
/// Buffers that may wait before each consumer: together at most 4 MiB.
const WAITING: usize = 8;

/// Bytes on their way; both consumers look at the same.
type Buffer<'p> = Arc<Filled<'p>>;

/// Buffers that are not on their way: taking one from here costs no page faults.
#[derive(Debug, Default)]
struct Pool(Mutex<Vec<Box<[u8]>>>);

impl Pool {
    fn list(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        // A list of spare buffers cannot be half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer and how much of it counts; goes back to the pool by itself.
#[derive(Debug)]
struct Filled<'p> {
    bytes: Box<[u8]>,
    len: usize,
    pool: &'p Pool,
}

impl Filled<'_> {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        self.pool.list().push(std::mem::take(&mut self.bytes));
    }
}

/// What the consumer sees; the whole error is kept beside it.
const BROKEN: &str = "the layer's stream is broken";

/// Called with the number of (compressed) bytes read so far.
pub(crate) type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// What is known of the stream when it has been read to its end.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// sha256 of the uncompressed bytes.
    pub(crate) diff_id: Digest,
    /// How many those are.
    pub(crate) bytes: u64,
}

/// Runs `consume` on the uncompressed bytes of `reader`, inflating and hashing beside it. What `consume` leaves unread is
/// read and hashed too. Ends only when `reader` does, or after its next answer if `consume` fails.
pub(crate) fn run<T>(
    reader: &mut (dyn Read + Send),
    limits: &Limits,
    progress: Option<Progress<'_>>,
    consume: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<(T, Streamed)> {
    let pool = Pool::default();
    let pool = &pool;
    let (to_unpack, unpacked) = sync_channel(WAITING);
    let (to_hash, hashed) = sync_channel(WAITING);
    thread::scope(|scope| {
        let spawn_failed = |e| Error::io("start a thread for unpacking", e);
        let inflate = move || {
            let sent = inflate(reader, limits, progress, pool, (&to_unpack, &to_hash));
            // If the unpacking side is gone it has its own error already.
            sent.unwrap_or_else(|e| drop(to_unpack.send(Err(e))));
        };
        let digest = thread::Builder::new()
            .name("digest".into())
            .spawn_scoped(scope, move || hash(&hashed))
            .map_err(spawn_failed)?;
        thread::Builder::new()
            .name("inflate".into())
            .spawn_scoped(scope, inflate)
            .map_err(spawn_failed)?;
        let mut stream = Stream { buffers: unpacked, current: None, at: 0, failed: None };
        let result = consume(&mut stream);
        // The stream's own failure explains the consumer's, which only saw that reading failed.
        let value = match (stream.failed.take(), result) {
            (Some(error), _) => return Err(error),
            (None, result) => result?,
        };
        stream.drain()?;
        drop(stream);
        let streamed = digest.join().map_err(|_| Error::internal("the hashing thread panicked"))?;
        Ok((value, streamed))
    })
}

fn inflate<'p>(
    reader: &mut (dyn Read + Send),
    limits: &Limits,
    progress: Option<Progress<'_>>,
    pool: &'p Pool,
    (to_unpack, to_hash): (&SyncSender<Result<Buffer<'p>>>, &SyncSender<Buffer<'p>>),
) -> Result<()> {
    let compressed = AtomicU64::new(0);
    let mut plain = 0;
    let mut input = decompress(Counted { reader, count: &compressed })?;
    loop {
        let bytes = pool.list().pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let mut buffer = Filled { bytes, len: 0, pool };
        buffer.len = fill(&mut input, &mut buffer.bytes).map_err(|e| Error::io("read layer", e))?;
        let so_far = compressed.load(Ordering::Relaxed);
        if let Some(progress) = progress {
            progress(so_far);
        }
        if buffer.len == 0 {
            return Ok(());
        }
        plain += buffer.len as u64;
        limits.check_ratio(so_far, plain)?;
        let buffer = Arc::new(buffer);
        // Either side is gone only after a failure, which that side reports.
        if to_hash.send(Arc::clone(&buffer)).is_err() || to_unpack.send(Ok(buffer)).is_err() {
            return Ok(());
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

fn hash(buffers: &Receiver<Buffer<'_>>) -> Streamed {
    let mut context = Context::new(&SHA256);
    let mut bytes = 0;
    while let Ok(buffer) = buffers.recv() {
        context.update(buffer.bytes());
        bytes += buffer.len as u64;
    }
    let digest = context.finish();
    let value = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
    Streamed { diff_id: Digest::from_sha256(value), bytes }
}

/// The uncompressed bytes as they arrive from the other thread.
struct Stream<'p> {
    buffers: Receiver<Result<Buffer<'p>>>,
    current: Option<Buffer<'p>>,
    at: usize,
    /// Why the stream broke, kept whole while the consumer gets a plain I/O error.
    failed: Option<Error>,
}

impl Stream<'_> {
    /// Reads on to the end, so that everything has been hashed and checked.
    fn drain(&mut self) -> Result<()> {
        self.current = None;
        while let Ok(buffer) = self.buffers.recv() {
            buffer?;
        }
        Ok(())
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let waiting = |buffer: &Buffer<'_>| buffer.len - self.at;
        if self.current.as_ref().map_or(0, waiting) == 0 {
            self.current = None;
            self.at = 0;
            match self.buffers.recv() {
                _ if self.failed.is_some() => return Err(io::Error::other(BROKEN)),
                Err(_) => return Ok(0),
                Ok(Ok(buffer)) => self.current = Some(buffer),
                Ok(Err(error)) => {
                    self.failed = Some(error);
                    return Err(io::Error::other(BROKEN));
                }
            }
        }
        let bytes = self.current.as_ref().map_or(&[][..], |buffer| &buffer.bytes()[self.at..]);
        let n = out.len().min(bytes.len());
        out[..n].copy_from_slice(&bytes[..n]);
        self.at += n;
        Ok(n)
    }
}

struct Counted<'a> {
    reader: &'a mut (dyn Read + Send),
    count: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
