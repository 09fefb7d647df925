//! Bytes to entries, streaming, in constant memory.

mod member;

use crate::entry::{Entry, Extent, Time};
use crate::error::Error;
use crate::header::{self, Header};
use crate::pax::{self, Records};
use crate::{BLOCK, padding};
use std::io::{self, Read};

/// How much an archive may ask of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one extended header (pax).
    pub extension: u64,
    /// Bytes of a path or link target; the kernel's PATH_MAX by default.
    pub name: usize,
    /// Components of a path.
    pub depth: usize,
    /// Parts of a sparse file.
    pub extents: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { extension: 1 << 20, name: 4096, depth: 256, extents: 1 << 18 }
    }
}

/// A part of an entry's content that has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where it belongs in the file; what no chunk covers is a hole.
    pub offset: u64,
    /// How many bytes at the start of the buffer.
    pub len: usize,
}

/// Reads one archive. Wrap files in a `BufReader`: headers are read one block at a time.
pub struct Reader<'a> {
    input: &'a mut dyn Read,
    limits: Limits,
    /// Bytes read so far.
    at: u64,
    /// Where the current entry's first header began.
    entry_at: u64,
    /// Stored bytes of the current entry that have not been read.
    stored: u64,
    /// What follows them up to the next block.
    padding: u64,
    /// The current entry's parts, not yet read ones; the last is next.
    parts: Vec<Extent>,
    /// How far the current entry's content has been read, and how long it is, holes included.
    offset: u64,
    size: u64,
    global_mtime: Option<Time>,
    ended: bool,
}

/// What headers before the entry's own have said about it.
#[derive(Default)]
struct Pending {
    pax: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a> Reader<'a> {
    /// Reads from the start of an archive.
    pub fn new(input: &'a mut dyn Read, limits: Limits) -> Self {
        Self {
            input,
            limits,
            at: 0,
            entry_at: 0,
            stored: 0,
            padding: 0,
            parts: Vec::new(),
            offset: 0,
            size: 0,
            global_mtime: None,
            ended: false,
        }
    }

    /// The next entry, `None` at the end of the archive. What is left of the one before is skipped. After an error
    /// nothing more can be read. Bytes behind the end stay unread in the input.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.ended {
            return Ok(None);
        }
        let entry = self.read_entry();
        self.ended = !matches!(entry, Ok(Some(_)));
        entry
    }

    /// The next part of the current entry's content, at most as long as `buffer`; `None` when there is no more.
    pub fn next_chunk(&mut self, buffer: &mut [u8]) -> Result<Option<Chunk>, Error> {
        let Some(part) = self.parts.last_mut() else { return Ok(None) };
        let wanted = usize::try_from(part.len).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = Chunk { offset: part.offset, len: wanted };
        part.offset += wanted as u64;
        part.len -= wanted as u64;
        if part.len == 0 {
            self.parts.pop();
        }
        self.stored -= wanted as u64;
        self.offset = chunk.offset + wanted as u64;
        self.fill(&mut buffer[..wanted])?;
        Ok(Some(chunk))
    }

    /// How many bytes of the archive have been read.
    pub fn position(&self) -> u64 {
        self.at
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip(self.stored + self.padding)?;
        (self.stored, self.padding) = (0, 0);
        self.parts.clear();
        (self.offset, self.size) = (0, 0);
        self.entry_at = self.at;
        let mut pending = Pending::default();
        let mut first = true;
        loop {
            let Some(block) = self.read_header(first)? else { return Ok(None) };
            first = false;
            let header = header::parse(&block).map_err(|why| self.invalid(why))?;
            match header.type_flag() {
                b'x' => {
                    let data = self.extension(&header, self.limits.extension)?;
                    let records = pax::parse(&data).map_err(|why| self.invalid(why))?;
                    self.once(pending.pax.replace(records), "two extended headers for one entry")?;
                }
                b'g' => {
                    let data = self.extension(&header, self.limits.extension)?;
                    self.global(&data)?;
                }
                b'L' => {
                    let name = self.long_name(&header)?;
                    self.once(pending.long_name.replace(name), "two long names for one entry")?;
                }
                b'K' => {
                    let name = self.long_name(&header)?;
                    self.once(
                        pending.long_link.replace(name),
                        "two long link targets for one entry",
                    )?;
                }
                _ => {
                    let entry = self.finish(&header, pending)?;
                    self.size = entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// A block that is no end mark. `None` is the end: two blocks of zeros, or nothing more where an entry could begin.
    fn read_header(&mut self, first: bool) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut got = self.fill_some(&mut block)?;
        let zeros = got == BLOCK && block.iter().all(|b| *b == 0);
        if zeros {
            got = self.fill_some(&mut block)?;
            // Python stops at one block of zeros, GNU tar warns and stops, Go refuses.
            if got == BLOCK && block.iter().any(|b| *b != 0) {
                return Err(self.ambiguous("a single block of zeros inside the archive"));
            }
        }
        match (got, zeros) {
            (0, _) | (BLOCK, true) if first => Ok(None),
            (0, _) | (BLOCK, true) => Err(Error::Truncated { at: self.entry_at }),
            (BLOCK, false) => Ok(Some(block)),
            _ => Err(Error::Truncated { at: self.entry_at }),
        }
    }

    /// The data of an extended header. Its size is its own header's: nothing that came before overrides it.
    fn extension(&mut self, header: &Header<'_>, limit: u64) -> Result<Vec<u8>, Error> {
        let size = self.unsigned(header.size(), "size")?;
        if size > limit {
            return Err(Error::TooLarge { at: self.entry_at, what: "an extended header", limit });
        }
        // Below the limit, so it fits.
        let mut data = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.fill(&mut data)?;
        let mut rest = [0; BLOCK];
        // Less than a block.
        let rest = &mut rest[..usize::try_from(padding(size)).unwrap_or(0)];
        self.fill(rest)?;
        // GNU tar and Python read names to the NUL, wherever the size says that they end; so there must be one.
        if rest.iter().any(|b| *b != 0) {
            return Err(self.ambiguous("text behind the end of an extended header"));
        }
        Ok(data)
    }

    fn long_name(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Error> {
        let mut data = self.extension(header, self.limits.name as u64 + 1)?;
        // GNU ends it with NUL, others do not; what comes after one is seen by some only.
        let end = header::text(&data).len();
        if data[end..].iter().any(|b| *b != 0) {
            return Err(self.ambiguous("a long name with text behind its end"));
        }
        data.truncate(end);
        Ok(data)
    }

    /// A global header. Go passes it over and others apply it, so only what does no harm either way may be in it.
    fn global(&mut self, data: &[u8]) -> Result<(), Error> {
        let records = pax::parse(data).map_err(|why| self.invalid(why))?;
        for key in records.values.keys() {
            let standard = [&b"path"[..], b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname"];
            if standard.contains(&key.as_slice())
                || [&b"GNU.sparse."[..], b"SCHILY.", b"LIBARCHIVE."]
                    .iter()
                    .any(|p| key.starts_with(p))
            {
                let key = String::from_utf8_lossy(key);
                return Err(self.ambiguous(format!("a global header with {key}")));
            }
        }
        if !records.sparse_pairs.is_empty() {
            return Err(self.ambiguous("a global header with a sparse map"));
        }
        let mtime = records.time("mtime").map_err(|why| self.invalid(why))?;
        self.global_mtime = mtime.or(self.global_mtime);
        Ok(())
    }

    fn once<T>(&self, before: Option<T>, why: &str) -> Result<(), Error> {
        if before.is_some() { Err(self.ambiguous(why)) } else { Ok(()) }
    }

    fn invalid(&self, why: impl Into<String>) -> Error {
        Error::Invalid { at: self.entry_at, why: why.into() }
    }

    fn ambiguous(&self, why: impl Into<String>) -> Error {
        Error::Ambiguous { at: self.entry_at, why: why.into() }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.fill_some(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(Error::Truncated { at: self.entry_at })
        }
    }

    /// Fills the buffer or as much of it as there is.
    fn fill_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut got = 0;
        while got < buffer.len() {
            match self.input.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { doing: "read archive", source }),
            }
        }
        self.at += got as u64;
        Ok(got)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        let mut scratch = [0; 16 * BLOCK];
        while count > 0 {
            let part = usize::try_from(count).unwrap_or(usize::MAX).min(scratch.len());
            self.fill(&mut scratch[..part])?;
            count -= part as u64;
        }
        Ok(())
    }
}

/// The current entry's content with its holes as zeros.
impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let next = self.parts.last().map_or(self.size, |part| part.offset);
        let hole = usize::try_from(next - self.offset).unwrap_or(usize::MAX).min(buffer.len());
        if hole > 0 {
            buffer[..hole].fill(0);
            self.offset += hole as u64;
            return Ok(hole);
        }
        match self.next_chunk(buffer) {
            Ok(chunk) => Ok(chunk.map_or(0, |c| c.len)),
            Err(Error::Io { source, .. }) => Err(source),
            Err(other) => Err(io::Error::new(io::ErrorKind::InvalidData, other)),
        }
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("at", &self.at)
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}
