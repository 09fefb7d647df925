//! Files → records: tail, times, following over rotations.
//!
//! A reader holds every file that it still has to read open, so rotation takes nothing from it. At the end of the
//! newest it looks whether that is still the log's first file. If not, the writer has finished with it (it rotates
//! only after writing everything), so it is read to its end once more, and the next newer file is its successor.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use logging::{Entry, Progress, Query};
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use stdx::{Context as _, Result};

use crate::decode::Decoder;
use crate::{rotated, tail};

/// How many bytes are read at a time.
const BLOCK: usize = 128 << 10;

/// A line of more bytes than this is damage.
const MAX_LINE: usize = 8 << 20;

/// More rotated files than this are not looked for.
const MAX_FILES: u32 = 10_000;

/// Reads a container's log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    query: Query,
    /// What is to be read, oldest first; the last is the one that was written when the reader was opened.
    sources: VecDeque<Source>,
    decoder: Decoder,
    /// The start of a line whose end has not been read.
    rest: Vec<u8>,
    /// `rest` was too long and has been dropped; so is everything up to the next newline.
    skipping: bool,
    /// The file being read is not the log's first any more.
    superseded: bool,
    notify: Option<OwnedFd>,
    lost: u64,
    block: Vec<u8>,
}

#[derive(Debug)]
struct Source {
    file: File,
    offset: u64,
    /// Nothing from here on is read; `None`: to the end, wherever that is.
    limit: Option<u64>,
}

impl Reader {
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
            decoder: Decoder::default(),
            rest: Vec::new(),
            skipping: false,
            superseded: false,
            notify,
            lost: 0,
            block: Vec::new(),
        };
        let mut wanted = query.tail;
        let mut newest = true;
        // From the newest to the oldest, against the direction in which rotation moves files: one may be seen twice,
        // none is missed.
        for file in files(path) {
            let file = file?;
            let metadata = file.metadata()?;
            if reader.sources.iter().any(|s| same(&s.file, &metadata)) {
                continue;
            }
            let mut source = Source { file, offset: 0, limit: Some(metadata.len()) };
            if newest && query.follow {
                source.limit = None;
                reader.watch_file(&source.file)?;
            }
            newest = false;
            if let Some(left) = wanted {
                let found = tail::last_lines(&source.file, metadata.len(), left)?;
                source.offset = found.offset;
                wanted = Some(left - found.lines);
            }
            reader.sources.push_front(source);
            if wanted == Some(0) {
                break;
            }
        }
        Ok(reader)
    }

    fn read_block(&mut self, entries: &mut Vec<Entry>) -> io::Result<Progress> {
        let Some(source) = self.sources.front_mut() else {
            return self.at_end_of_newest();
        };
        self.block.resize(BLOCK, 0);
        let left = source.limit.map_or(u64::MAX, |limit| limit.saturating_sub(source.offset));
        let length = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let n = source.file.read_at(&mut self.block[..length], source.offset)?;
        source.offset += n as u64;
        if n == 0 {
            return self.at_end();
        }
        self.superseded = false;
        let block = std::mem::take(&mut self.block);
        let finished = self.lines(&block[..n], entries);
        self.block = block;
        Ok(if finished { Progress::Finished } else { Progress::More })
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
            Successor::Found(file) => {
                self.superseded = false;
                self.watch_file(&file)?;
                self.drop_rest();
                self.sources.clear();
                self.sources.push_back(Source { file, offset: 0, limit: None });
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
            return files(&self.path).last().transpose().map(Successor::from);
        };
        let ours = source.file.metadata()?;
        loop {
            let mut newer = None;
            let mut found = None;
            for (index, name) in names(&self.path) {
                match name.symlink_metadata() {
                    Ok(m) if m.dev() == ours.dev() && m.ino() == ours.ino() => {
                        found = Some(index);
                        break;
                    }
                    Ok(_) => newer = Some(index),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            let Some(newer) = newer else { return Ok(Successor::None) };
            let file = match open(&rotated(&self.path, newer)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            // Rotation may have moved the names meanwhile: then what was opened may not be ours' neighbour.
            let unmoved = match found {
                Some(index) => {
                    newer + 1 == index
                        && rotated(&self.path, index)
                            .symlink_metadata()
                            .is_ok_and(|m| m.dev() == ours.dev() && m.ino() == ours.ino())
                }
                // Ours is gone altogether: the oldest that is left follows it.
                None => !rotated(&self.path, newer + 1).exists(),
            };
            if unmoved {
                return Ok(Successor::Found(file));
            }
            if found.is_some_and(|index| newer + 1 < index) {
                // In the middle of a rotation the place between is empty; its end is noticed by the watch.
                return Ok(Successor::None);
            }
        }
    }

    fn watch_file(&self, file: &File) -> io::Result<()> {
        let Some(notify) = &self.notify else { return Ok(()) };
        // By descriptor, so that a rotation in between does not make us watch another file.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::inotify::add_watch(notify, path, WatchFlags::MODIFY)?;
        Ok(())
    }
}

impl logging::Reader for Reader {
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
}

enum Successor {
    None,
    Found(File),
}

impl From<Option<File>> for Successor {
    fn from(file: Option<File>) -> Self {
        file.map_or(Self::None, Self::Found)
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

/// The log's names that exist, newest first. One may be missing in the middle of a rotation, two mark the end.
fn names(path: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    let path = path.to_owned();
    let mut missing = 0;
    (0..MAX_FILES).map(move |index| (index, rotated(&path, index))).take_while(move |(_, name)| {
        missing = if name.symlink_metadata().is_ok() { 0 } else { missing + 1 };
        missing < 2
    })
}

/// The log's files, newest first.
fn files(path: &Path) -> impl Iterator<Item = io::Result<File>> {
    names(path).filter_map(|(_, name)| match open(&name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        other => Some(other),
    })
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn same(file: &File, other: &std::fs::Metadata) -> bool {
    file.metadata().is_ok_and(|m| m.dev() == other.dev() && m.ino() == other.ino())
}
