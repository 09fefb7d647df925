//! The container's log: its streams, cut into records, into the sink that was asked for.

use std::time::{Duration, Instant};

use logging::{Sink, Splitter, Stream};
use stdx::time::Timestamp;
use stdx::{Error, Result};
use task::protocol;

/// How often a log that cannot be written is complained of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Where the container's output is kept.
pub(crate) struct Log {
    sink: Box<dyn Sink>,
    splitters: [Splitter; 2],
    /// Later than every time given out.
    clock: Timestamp,
    dirty: bool,
    failure: Option<Error>,
    complained: Option<Instant>,
}

impl Log {
    /// Opens what the daemon asked for; `None` when nothing is to be kept.
    pub(crate) fn open(log: protocol::Log) -> Result<Option<Self>> {
        let sink: Box<dyn Sink> = match log {
            protocol::Log::None => return Ok(None),
            protocol::Log::JsonFile { path, max_size, max_files, attributes } => {
                let options = jsonlog::Options { path, max_size, max_files, attributes };
                Box::new(jsonlog::Writer::open(options)?)
            }
            protocol::Log::Local { path, max_size, max_files } => {
                Box::new(locallog::Writer::open(locallog::Options { path, max_size, max_files })?)
            }
        };
        Ok(Some(Self::new(sink)))
    }

    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        let splitters = [Splitter::new(Stream::Stdout), Splitter::new(Stream::Stderr)];
        let clock = Timestamp::from_unix(0, 0);
        Self { sink, splitters, clock, dirty: false, failure: None, complained: None }
    }

    /// Takes bytes that were just read from `stream`.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.clock = self.clock.max(Timestamp::now());
        let splitter = &mut self.splitters[usize::from(stream == Stream::Stderr)];
        let result = splitter.push(bytes, &mut self.clock, &mut *self.sink);
        self.note(result);
        self.dirty = true;
    }

    /// The streams have ended.
    pub(crate) fn finish(&mut self) {
        self.clock = self.clock.max(Timestamp::now());
        for splitter in &mut self.splitters {
            let result = splitter.finish(&mut self.clock, &mut *self.sink);
            if let Err(error) = result {
                self.failure.get_or_insert(error);
            }
        }
        self.dirty = true;
        self.flush();
    }

    /// Makes what was taken visible to readers.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let result = self.sink.flush();
            self.note(result);
        }
    }

    /// Gives memory back.
    pub(crate) fn release(&mut self) {
        self.sink.release();
        self.splitters.iter_mut().for_each(Splitter::release);
    }

    /// A failure to write that is to be told now; repeated ones are told once a minute. Records are lost, the
    /// container is not held up.
    pub(crate) fn complaint(&mut self) -> Option<Error> {
        if self.complained.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY) {
            return None;
        }
        let failure = self.failure.take()?;
        self.complained = Some(Instant::now());
        Some(failure)
    }

    /// Has a failure told with the log's own.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.fail(error);
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dirty", &self.dirty).finish_non_exhaustive()
    }
}
