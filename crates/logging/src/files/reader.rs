//! Files → records: tail, times, following over rotations.
//!
//! A reader holds every file that it still has to read open, so rotation takes nothing from it. At the end of the
//! newest it looks whether that is still the log's first file. If not, the writer has finished with it (it rotates
//! only after writing everything), so it is read to its end once more, and the next newer file is its successor.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, WatchFlags};
use stdx::{Context as _, Result};

use super::source::{Source, nanos};
use super::{Decode, Name, names};
use crate::{Entry, Position, Progress, Query};

/// How often files are looked for in a log that is rotated all the time.
const TRIES: usize = 8;

/// How many bytes are read at a time.
const BLOCK: usize = 128 << 10;

/// A line of more bytes than this is damage.
const MAX_LINE: usize = 8 << 20;

/// Reads a container's log.
#[derive(Debug)]
pub struct Reader<D> {
    path: PathBuf,
    query: Query,
    /// What is to be read, oldest first; the last is the one that was written when the reader was opened.
    sources: VecDeque<Source>,
    decoder: D,
    /// The start of a line whose end has not been read.
    rest: Vec<u8>,
    /// `rest` was too long and has been dropped; so is everything up to the next newline.
    skipping: bool,
    /// The file being read is not the log's first any more.
    superseded: bool,
    notify: Option<OwnedFd>,
    lost: u64,
    /// When the last record that was read was written.
    last: Option<i64>,
    position: Option<Position>,
    block: Vec<u8>,
}

impl<D: Decode> Reader<D> {
    /// Opens the log at `path`. One that does not exist yet is empty.
    pub fn open(path: &Path, query: Query) -> Result<Self> {
        Self::open_log(path, query).context(|| format!("read log {}", path.display()))
    }

    fn open_log(path: &Path, query: Query) -> io::Result<Self> {
        // Watch first: what changes after the files have been looked at is then noticed.
        let notify = if query.follow { Some(watch_folder(path)?) } else { None };
        let mut reader = Self {
            path: path.to_owned(),
            query,
            sources: VecDeque::new(),
            decoder: D::default(),
            rest: Vec::new(),
            skipping: false,
            superseded: false,
            notify,
            lost: 0,
            last: None,
            position: query.from,
            block: Vec::new(),
        };
        reader.find_sources()?;
        Ok(reader)
    }

    /// Finds the files to be read, anew where the log was rotated more than once meanwhile: then a newer file may have been
    /// taken for an older one.
    fn find_sources(&mut self) -> io::Result<()> {
        for _ in 0..TRIES {
            self.sources.clear();
            self.lost = 0;
            self.look_for_sources()?;
            if !self.is_overtaken() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the newest file that was found has moved on by more than one name.
    fn is_overtaken(&self) -> bool {
        let Some(newest) = self.sources.back() else { return false };
        let is_it = |m: std::fs::Metadata| same(&m, newest.metadata());
        let now = names(&self.path).find(|name| name.path.symlink_metadata().is_ok_and(is_it));
        now.is_none_or(|name| name.index > 1)
    }

    /// From the newest to the oldest, against the direction in which rotation moves files: one may be seen twice, none
    /// is missed.
    fn look_for_sources(&mut self) -> io::Result<()> {
        let path = self.path.clone();
        let mut wanted = self.query.tail;
        let mut newest = true;
        for found in sources(&path) {
            let (name, mut source) = found?;
            if self.sources.iter().any(|s| s.is(source.metadata())) {
                continue;
            }
            if name.compressed && self.is_seen(&mut source)? {
                continue;
            }
            if newest && self.query.follow {
                self.watch_file(&source)?;
            } else {
                source.limit_to_now();
            }
            newest = false;
            if let Some(position) = self.query.from
                && source.seek::<D>(position)?
            {
                self.sources.push_front(source);
                return Ok(());
            }
            if let Some(left) = wanted {
                wanted = Some(left - source.seek_tail(left)?.min(left));
            }
            self.sources.push_front(source);
            if wanted == Some(0) {
                break;
            }
        }
        // The place to go on from is in a file that rotation has removed.
        self.lost += u64::from(self.query.from.is_some());
        Ok(())
    }

    /// Whether a compressed file was opened already, when it was a plain one and had another name.
    fn is_seen(&mut self, source: &mut Source) -> io::Result<bool> {
        let Some(newer) = self.sources.front_mut() else { return Ok(false) };
        let first = source.look_at_first::<D>()?;
        Ok(newer.plain().is_some() && first.is_some() && newer.look_at_first::<D>()? == first)
    }

    fn read_block(&mut self, entries: &mut Vec<Entry>) -> io::Result<Progress> {
        let Some(source) = self.sources.front_mut() else {
            return self.at_end_of_newest();
        };
        self.block.resize(BLOCK, 0);
        let n = source.read(&mut self.block)?;
        if n == 0 {
            return self.at_end();
        }
        self.superseded = false;
        let block = std::mem::take(&mut self.block);
        let finished = self.lines(&block[..n], entries);
        self.block = block;
        self.note_position();
        Ok(if finished { Progress::Finished } else { Progress::More })
    }

    /// Behind the last whole line.
    fn note_position(&mut self) {
        let Some(source) = self.sources.front_mut() else { return };
        // Without a single good record there is no place to come back to.
        let Some(first) = source.first else { return };
        self.position = Some(Position { first, offset: source.offset - self.rest.len() as u64 });
    }

    /// Decodes the lines that `bytes` complete; says whether `until` has passed.
    fn lines(&mut self, bytes: &[u8], entries: &mut Vec<Entry>) -> bool {
        let mut parts = bytes.split(|b| *b == b'\n');
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            let entry = if self.rest.is_empty() {
                self.decoder.entry(part)
            } else {
                self.rest.extend_from_slice(part);
                let entry = self.decoder.entry(&self.rest);
                self.rest.clear();
                entry
            };
            if let Some(entry) = &entry {
                let time = nanos(entry.time);
                if let Some(source) = self.sources.front_mut() {
                    source.first.get_or_insert(time);
                }
                self.last = Some(time);
            }
            match entry {
                _ if std::mem::take(&mut self.skipping) => self.lost += 1,
                Some(entry) if self.query.until.is_some_and(|until| entry.time > until) => {
                    return true;
                }
                Some(entry) if self.query.since.is_some_and(|since| entry.time < since) => {}
                Some(entry) => entries.push(entry),
                None if part.is_empty() => {} // What the writer puts behind a torn line.
                None => self.lost += 1,
            }
        }
        if !self.skipping {
            self.rest.extend_from_slice(last);
        }
        if self.rest.len() > MAX_LINE {
            self.rest = Vec::new();
            self.skipping = true;
        }
        false
    }

    /// Nothing is left of the first source.
    fn at_end(&mut self) -> io::Result<Progress> {
        if self.sources.len() > 1 {
            self.sources.pop_front();
            self.drop_rest();
            return Ok(Progress::More);
        }
        self.at_end_of_newest()
    }

    fn at_end_of_newest(&mut self) -> io::Result<Progress> {
        if !self.query.follow {
            self.drop_rest();
            return Ok(Progress::Finished);
        }
        match self.successor()? {
            Successor::None => Ok(Progress::CaughtUp),
            Successor::Found(_) if !self.superseded && !self.sources.is_empty() => {
                self.superseded = true;
                Ok(Progress::More)
            }
            Successor::Found(source) => {
                self.superseded = false;
                self.watch_file(&source)?;
                self.drop_rest();
                self.sources.clear();
                self.sources.push_back(*source);
                Ok(Progress::More)
            }
        }
    }

    /// A line without its end is a torn one when its file ends.
    fn drop_rest(&mut self) {
        if !std::mem::take(&mut self.rest).is_empty() || std::mem::take(&mut self.skipping) {
            self.lost += 1;
        }
    }

    /// Which file comes after the newest that we have.
    fn successor(&self) -> io::Result<Successor> {
        let Some(source) = self.sources.front() else {
            // There was no file at all: begin with the oldest that there is now.
            let oldest = sources(&self.path).last().transpose()?;
            return Ok(oldest.map(|(_, source)| source).into());
        };
        let ours = source.metadata();
        loop {
            let mut newer = None;
            let mut found = None;
            for name in names(&self.path) {
                match name.path.symlink_metadata() {
                    Ok(m) if same(&m, ours) => {
                        found = Some(name.index);
                        break;
                    }
                    Ok(_) => newer = Some(name),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            let Some(newer) = newer else { return Ok(Successor::None) };
            let Some(index) = found else { return self.oldest_unread() };
            let next = match Source::open(&newer) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            // Rotation may have moved the names meanwhile: then what was opened may not be ours' neighbour.
            let ours_now = super::rotated(&self.path, index);
            let ours_now = if source.plain().is_some() {
                ours_now
            } else {
                super::compressed(&self.path, index)
            };
            let adjacent = newer.index + 1 == index;
            if adjacent && ours_now.symlink_metadata().is_ok_and(|m| same(&m, ours)) {
                return Ok(Some(next).into());
            }
            if newer.index + 1 < index {
                // In the middle of a rotation the place between is empty; its end is noticed by the watch.
                return Ok(Successor::None);
            }
        }
    }

    /// Ours is gone, or is there in its compressed form only: the oldest file that begins after what was read follows
    /// it, and the newest in any case (clocks may have been set back).
    fn oldest_unread(&self) -> io::Result<Successor> {
        let mut best: Option<Source> = None;
        for found in sources(&self.path) {
            let (_, mut source) = found?;
            let first = source.look_at_first::<D>()?;
            let unread = first.is_none_or(|first| self.last.is_none_or(|last| first > last));
            if unread || best.is_none() {
                source.offset = 0;
                best = Some(source);
            }
            if !unread {
                break;
            }
        }
        Ok(best.into())
    }

    fn watch_file(&self, source: &Source) -> io::Result<()> {
        let (Some(notify), Some(file)) = (&self.notify, source.plain()) else { return Ok(()) };
        watch(notify, file)
    }
}

fn watch(notify: &OwnedFd, file: &File) -> io::Result<()> {
    // By descriptor, so that a rotation in between does not make us watch another file.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::inotify::add_watch(notify, path, WatchFlags::MODIFY)?;
    Ok(())
}

impl<D: Decode> crate::Reader for Reader<D> {
    fn read_more(&mut self, records: &mut Vec<Entry>) -> Result<Progress> {
        let progress =
            self.read_block(records).context(|| format!("read log {}", self.path.display()))?;
        if progress != Progress::More {
            // Followers wait most of the time.
            self.block = Vec::new();
        }
        Ok(progress)
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(AsFd::as_fd)
    }

    fn acknowledge(&mut self) {
        let mut buffer = [0_u8; 4096];
        if let Some(notify) = &self.notify {
            while rustix::io::read(notify, &mut buffer).is_ok_and(|n| n > 0) {}
        }
    }

    fn lost(&self) -> u64 {
        self.lost
    }

    fn position(&self) -> Option<Position> {
        self.position
    }

    fn reading(&self) -> Option<(u64, u64)> {
        self.sources.front().map(|s| (s.metadata().dev(), s.metadata().ino()))
    }
}

enum Successor {
    None,
    Found(Box<Source>),
}

impl From<Option<Source>> for Successor {
    fn from(source: Option<Source>) -> Self {
        source.map_or(Self::None, |source| Self::Found(Box::new(source)))
    }
}

/// Creation and renaming in the log's folder: the moments at which a new first file appears.
fn watch_folder(path: &Path) -> io::Result<OwnedFd> {
    let notify = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    rustix::fs::inotify::add_watch(&notify, folder, flags)?;
    Ok(notify)
}

/// The log's files, newest first.
fn sources(path: &Path) -> impl Iterator<Item = io::Result<(Name, Source)>> {
    names(path).filter_map(|name| match Source::open(&name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        other => Some(other.map(|source| (name, source))),
    })
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    one.dev() == other.dev() && one.ino() == other.ino()
}
