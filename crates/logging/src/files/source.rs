//! One file of a log, plain or compressed, as it is read.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{Decode, Name, tail};
use crate::Position;

/// How much of a file is looked at for its first record.
const HEAD: usize = 256 << 10;

const BLOCK: usize = 64 << 10;

/// A file that is being read from its start to its end.
#[derive(Debug)]
pub(crate) struct Source {
    content: Content,
    metadata: Metadata,
    /// Read from the decoder and not yet given out.
    pending: Vec<u8>,
    /// How many bytes have been read, of the text as it was written.
    pub(crate) offset: u64,
    /// Nothing from here on is read; `None`: to the end, wherever that is.
    pub(crate) limit: Option<u64>,
    /// When its first record was written, in nanoseconds since 1970, if that has been looked at: no other file of the
    /// log has the same, whatever its name and form.
    pub(crate) first: Option<i64>,
}

#[derive(Debug)]
enum Content {
    Plain(File),
    Compressed(Box<MultiGzDecoder<File>>),
}

impl Source {
    pub(crate) fn open(name: &Name) -> io::Result<Self> {
        let file = open(&name.path)?;
        let metadata = file.metadata()?;
        Ok(Self::new(if name.compressed { gunzip(file) } else { Content::Plain(file) }, metadata))
    }

    fn new(content: Content, metadata: Metadata) -> Self {
        Self { content, metadata, pending: Vec::new(), offset: 0, limit: None, first: None }
    }

    /// A compressed file once more from its start: by what is open, for its name is another file's once the log has been
    /// rotated.
    fn again(decoder: &MultiGzDecoder<File>, metadata: &Metadata) -> io::Result<Self> {
        let file = File::open(format!("/proc/self/fd/{}", decoder.get_ref().as_raw_fd()))?;
        Ok(Self::new(gunzip(file), metadata.clone()))
    }

    /// Reads no further than to where the file ends now.
    pub(crate) fn limit_to_now(&mut self) {
        if let Content::Plain(_) = self.content {
            self.limit = Some(self.metadata.len());
        }
    }

    /// The file, if it can be watched: a compressed one never grows.
    pub(crate) fn plain(&self) -> Option<&File> {
        match &self.content {
            Content::Plain(file) => Some(file),
            Content::Compressed(_) => None,
        }
    }

    pub(crate) fn is(&self, other: &Metadata) -> bool {
        self.metadata.dev() == other.dev() && self.metadata.ino() == other.ino()
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads on; 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.offset));
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        let n = match &mut self.content {
            Content::Plain(file) => file.read_at(buffer, self.offset)?,
            Content::Compressed(_) if !self.pending.is_empty() => {
                let n = self.pending.len().min(buffer.len());
                buffer[..n].copy_from_slice(&self.pending[..n]);
                self.pending.drain(..n);
                n
            }
            Content::Compressed(decoder) => match decoder.read(buffer) {
                // What is damaged ends the file: there is nothing to be had behind it.
                Err(e) if is_damage(&e) => 0,
                other => other?,
            },
        };
        self.offset += n as u64;
        Ok(n)
    }

    /// Goes on to where the last `wanted` lines begin; says how many there are from there on.
    pub(crate) fn seek_tail(&mut self, wanted: u64) -> io::Result<u64> {
        match &self.content {
            Content::Plain(file) => {
                let found = tail::last_lines(file, self.metadata.len(), wanted)?;
                self.offset = found.offset;
                Ok(found.lines)
            }
            // Read from its start only: once to count, once to skip.
            Content::Compressed(decoder) => {
                let total = Self::again(decoder, &self.metadata)?.count_lines()?;
                let skip = total.saturating_sub(wanted);
                self.skip_lines(skip)?;
                Ok(total - skip)
            }
        }
    }

    fn count_lines(&mut self) -> io::Result<u64> {
        let mut block = vec![0; BLOCK];
        let mut lines = 0;
        loop {
            match self.read(&mut block)? {
                0 => return Ok(lines),
                n => lines += block[..n].iter().filter(|b| **b == b'\n').count() as u64,
            }
        }
    }

    fn skip_lines(&mut self, mut skip: u64) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        while skip > 0 {
            let n = self.read(&mut block)?;
            if n == 0 {
                break;
            }
            for (i, _) in block[..n].iter().enumerate().filter(|(_, b)| **b == b'\n') {
                skip -= 1;
                if skip == 0 {
                    self.pending = block[i + 1..n].to_vec();
                    self.offset -= self.pending.len() as u64;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Finds out when the first record was written; leaves the place of reading as it is.
    pub(crate) fn look_at_first<D: Decode>(&mut self) -> io::Result<Option<i64>> {
        if self.first.is_none() {
            let mut head = vec![0; HEAD];
            let n = match &self.content {
                Content::Plain(file) => file.read_at(&mut head, 0)?,
                Content::Compressed(decoder) => {
                    let mut fresh = Self::again(decoder, &self.metadata)?;
                    let mut filled = 0;
                    loop {
                        match fresh.read(&mut head[filled..])? {
                            0 => break filled,
                            n => filled += n,
                        }
                    }
                }
            };
            let mut decoder = D::default();
            let mut lines: Vec<_> = head[..n].split(|b| *b == b'\n').collect();
            // What has no newline is no record yet.
            lines.pop();
            self.first = lines.iter().find_map(|line| decoder.entry(line)).map(|e| nanos(e.time));
        }
        Ok(self.first)
    }

    /// Goes on to `position`, if it is one of this file.
    pub(crate) fn seek<D: Decode>(&mut self, position: Position) -> io::Result<bool> {
        if self.look_at_first::<D>()? != Some(position.first) {
            return Ok(false);
        }
        match &self.content {
            Content::Plain(_) => {
                let fits = position.offset <= self.metadata.len();
                self.offset = if fits { position.offset } else { 0 };
            }
            Content::Compressed(_) => {
                let mut block = vec![0; BLOCK];
                while self.offset < position.offset {
                    let left = usize::try_from(position.offset - self.offset).unwrap_or(usize::MAX);
                    let length = block.len().min(left);
                    if self.read(&mut block[..length])? == 0 {
                        break;
                    }
                }
            }
        }
        Ok(true)
    }
}

fn gunzip(file: File) -> Content {
    Content::Compressed(Box::new(MultiGzDecoder::new(file)))
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Nanoseconds since 1970 as far as 64 bits hold them.
pub(crate) fn nanos(time: stdx::time::Timestamp) -> i64 {
    i64::try_from(time.unix_nanos()).unwrap_or(i64::MAX)
}

pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}
