//! Bytes to entries, streaming, in constant memory.

use crate::entry::{Entry, Extent, Kind, Time};
use crate::error::Error;
use crate::header::{self, Format, Header};
use crate::pax::{self, Records};
use crate::sparse;
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

    /// The entry itself: its header, merged with what preceded it.
    fn finish(&mut self, header: &Header<'_>, pending: Pending) -> Result<Entry, Error> {
        let records = pending.pax.unwrap_or_default();
        let path = self.path(header, &records, pending.long_name)?;
        let kind = self.kind(header, &records, &path, pending.long_link)?;
        let mode = self.unsigned(header.mode(), "mode")?;
        let entry = Entry {
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: self.id(header.uid(), &records, "uid")?,
            gid: self.id(header.gid(), &records, "gid")?,
            user: self.pax_text(&records, "uname")?.unwrap_or_else(|| header.user().to_vec()),
            group: self.pax_text(&records, "gname")?.unwrap_or_else(|| header.group().to_vec()),
            mtime: self.mtime(header, &records)?,
            size: 0,
            extents: None,
            xattrs: records.xattrs().map_err(|why| self.invalid(why))?,
            path,
            kind,
        };
        self.content(entry, header, &records)
    }

    fn path(
        &self,
        header: &Header<'_>,
        records: &Records,
        long: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Error> {
        let own = header.path().map_err(|why| self.ambiguous(why))?;
        let sparse_name = self.pax_text(records, "GNU.sparse.name")?;
        let pax = sparse_name.or(self.pax_text(records, "path")?);
        let path = match (pax, long) {
            // Go prefers GNU's, GNU prefers pax's.
            (Some(pax), Some(long)) if pax != long => {
                return Err(self.ambiguous("two long names for one entry"));
            }
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => own.clone(),
        };
        if path.is_empty() {
            return Err(self.invalid("an entry without a name"));
        }
        if own.is_empty() && header.type_flag() == 0 {
            // Some look at the short name to tell a file from a directory.
            return Err(self.ambiguous("an entry without a short name"));
        }
        if path.len() > self.limits.name {
            return Err(Error::TooLarge {
                at: self.entry_at,
                what: "a path",
                limit: self.limits.name as u64,
            });
        }
        let depth = path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").count();
        if depth > self.limits.depth {
            return Err(Error::TooLarge {
                at: self.entry_at,
                what: "a depth",
                limit: self.limits.depth as u64,
            });
        }
        let (slash, own_slash) = (path.ends_with(b"/"), own.ends_with(b"/"));
        let plain = matches!(header.type_flag(), 0 | b'0' | b'7');
        // Before there was a type for directories a slash said so; some still apply that to real files.
        if plain && slash && header.type_flag() != 0 {
            return Err(self.ambiguous("a file whose name ends in a slash"));
        }
        if header.type_flag() == 0 && slash != own_slash {
            return Err(self.ambiguous("a directory by one name and a file by the other"));
        }
        Ok(path)
    }

    fn kind(
        &self,
        header: &Header<'_>,
        records: &Records,
        path: &[u8],
        long: Option<Vec<u8>>,
    ) -> Result<Kind, Error> {
        let flag = header.type_flag();
        if long.is_some() && !matches!(flag, b'1' | b'2') {
            return Err(self.invalid("a long link target for what is no link"));
        }
        let device = || -> Result<(u32, u32), Error> {
            let (major, minor) =
                header.device().ok_or_else(|| self.invalid("unreadable device numbers"))?;
            // The kernel's dev_t: 12 bits and 20.
            let fit = |n: i64, bits: u32| u32::try_from(n).ok().filter(|n| *n < 1 << bits);
            fit(major, 12)
                .zip(fit(minor, 20))
                .ok_or_else(|| self.invalid("impossible device numbers"))
        };
        if flag == b'S' && header.format != Format::Gnu {
            return Err(self.ambiguous("GNU's sparse file in a header that is not GNU's"));
        }
        Ok(match flag {
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink { target: self.target(header, records, long)? },
            b'2' => Kind::Symlink { target: self.target(header, records, long)? },
            b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                let why = format!("type {:?}", char::from(other));
                return Err(Error::Unsupported { at: self.entry_at, why });
            }
        })
    }

    fn target(
        &self,
        header: &Header<'_>,
        records: &Records,
        long: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Error> {
        let target = match (self.pax_text(records, "linkpath")?, long) {
            (Some(pax), Some(long)) if pax != long => {
                return Err(self.ambiguous("two long targets for one link"));
            }
            (Some(target), _) | (None, Some(target)) => target,
            (None, None) => header.link().to_vec(),
        };
        if target.is_empty() {
            return Err(self.invalid("a link without a target"));
        }
        if target.len() > self.limits.name {
            return Err(Error::TooLarge {
                at: self.entry_at,
                what: "a link target",
                limit: self.limits.name as u64,
            });
        }
        Ok(target)
    }

    fn mtime(&self, header: &Header<'_>, records: &Records) -> Result<Time, Error> {
        for key in ["atime", "ctime"] {
            records.time(key).map_err(|why| self.invalid(why))?;
        }
        if let Some(time) =
            records.time("mtime").map_err(|why| self.invalid(why))?.or(self.global_mtime)
        {
            return Ok(time);
        }
        let seconds = header.mtime().ok_or_else(|| self.invalid("unreadable time"))?;
        Ok(Time { seconds, nanos: 0 })
    }

    /// How much data follows, and where in the file it belongs.
    fn content(
        &mut self,
        mut entry: Entry,
        header: &Header<'_>,
        records: &Records,
    ) -> Result<Entry, Error> {
        let header_size = self.unsigned(header.size(), "size")?;
        let pax_size = records.number("size").map_err(|why| self.invalid(why))?;
        let size = pax_size.unwrap_or(header_size);
        if i64::try_from(size).is_err() {
            return Err(self.invalid("impossible size"));
        }
        let map = sparse::from_records(records).map_err(|why| self.invalid(why))?;
        match entry.kind {
            Kind::File => {}
            // Everybody ignores a hard link's size; pax sizes and other kinds' sizes only some do.
            Kind::HardLink { .. }
                if pax_size.is_none_or(|n| n == 0) && map == sparse::Pax::None =>
            {
                return Ok(entry);
            }
            _ if size != 0 || header_size != 0 || map != sparse::Pax::None => {
                return Err(self.ambiguous("content in what is no file"));
            }
            _ => return Ok(entry),
        }
        self.stored = size;
        self.padding = padding(size);
        if header.type_flag() == b'S' {
            if pax_size.is_some() || map != sparse::Pax::None {
                return Err(self.ambiguous("a sparse file in two ways"));
            }
            return self.gnu_sparse(entry, header);
        }
        let map = match map {
            sparse::Pax::None => {
                entry.size = size;
                if size > 0 {
                    self.parts.push(Extent { offset: 0, len: size });
                }
                return Ok(entry);
            }
            sparse::Pax::Here(map) => map,
            sparse::Pax::InData => self.map_in_data()?,
        };
        let number = |key| records.number(key).map_err(|why| self.invalid(why));
        let real = match (number("GNU.sparse.realsize")?, number("GNU.sparse.size")?) {
            (Some(a), Some(b)) if a != b => {
                return Err(self.ambiguous("two sizes of a sparse file"));
            }
            (Some(real), _) | (None, Some(real)) => real,
            (None, None) => return Err(self.invalid("a sparse file without a size")),
        };
        self.sparse(entry, map, real)
    }

    fn gnu_sparse(&mut self, entry: Entry, header: &Header<'_>) -> Result<Entry, Error> {
        let (pairs, real, mut extended) = header.gnu_sparse();
        let mut map = Vec::new();
        let mut ended = sparse::add_gnu_pairs(&mut map, pairs).map_err(|why| self.invalid(why))?;
        let real = self.unsigned(header::number(real), "real size")?;
        while extended {
            if ended {
                return Err(self.ambiguous("a sparse map that goes on behind its end"));
            }
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            ended =
                sparse::add_gnu_pairs(&mut map, &block[..504]).map_err(|why| self.invalid(why))?;
            extended = block[504] != 0;
            self.bound_extents(map.len())?;
        }
        self.sparse(entry, map, real)
    }

    /// Format 1.0: the number of parts and then each offset and length, a line each, padded to a block. Counts as data.
    fn map_in_data(&mut self) -> Result<Vec<Extent>, Error> {
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut digits = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            self.stored = self
                .stored
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| self.invalid("a cut sparse map"))?;
            self.fill(&mut block)?;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(self.invalid("an unreadable sparse map"));
                    }
                    continue;
                }
                let number = pax::decimal(&digits)
                    .ok_or_else(|| self.invalid("an unreadable sparse map"))?;
                digits.clear();
                match wanted {
                    None => {
                        let count = usize::try_from(number).unwrap_or(usize::MAX);
                        self.bound_extents(count)?;
                        wanted = Some(count * 2);
                    }
                    Some(_) => numbers.push(number),
                }
                if wanted == Some(numbers.len()) {
                    return Ok(numbers
                        .chunks_exact(2)
                        .map(|p| Extent { offset: p[0], len: p[1] })
                        .collect());
                }
            }
        }
    }

    fn sparse(&mut self, mut entry: Entry, map: Vec<Extent>, real: u64) -> Result<Entry, Error> {
        self.bound_extents(map.len())?;
        if i64::try_from(real).is_err() {
            return Err(self.invalid("impossible size"));
        }
        let map = sparse::checked(map, real, self.stored).map_err(|why| self.invalid(why))?;
        self.parts = map.iter().rev().copied().collect();
        entry.size = real;
        entry.extents = Some(map);
        Ok(entry)
    }

    fn bound_extents(&self, count: usize) -> Result<(), Error> {
        if count <= self.limits.extents {
            return Ok(());
        }
        Err(Error::TooLarge {
            at: self.entry_at,
            what: "a sparse map",
            limit: self.limits.extents as u64,
        })
    }

    fn id(&self, own: Option<i64>, records: &Records, key: &str) -> Result<u32, Error> {
        let own = self.unsigned(own, key)?;
        let id = records.number(key).map_err(|why| self.invalid(why))?.unwrap_or(own);
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| self.invalid(format!("{key} {id} is out of range")))
    }

    fn unsigned(&self, value: Option<i64>, what: &str) -> Result<u64, Error> {
        let value = value.ok_or_else(|| self.invalid(format!("unreadable {what}")))?;
        u64::try_from(value).map_err(|_| self.invalid(format!("negative {what}")))
    }

    fn pax_text(&self, records: &Records, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(records.text(key).map_err(|why| self.invalid(why))?.map(<[u8]>::to_vec))
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
