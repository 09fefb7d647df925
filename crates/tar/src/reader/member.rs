//! One entry from its own header and what the headers before it have said; what they contradict each other about.

use super::{Pending, Reader};
use crate::entry::{Entry, Extent, Kind, Time};
use crate::error::Error;
use crate::header::{self, Format, Header};
use crate::pax::{self, Records};
use crate::sparse;
use crate::{BLOCK, padding};

impl Reader<'_> {
    /// The entry itself: its header, merged with what preceded it.
    pub(super) fn finish(&mut self, header: &Header<'_>, pending: Pending) -> Result<Entry, Error> {
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

    pub(super) fn unsigned(&self, value: Option<i64>, what: &str) -> Result<u64, Error> {
        let value = value.ok_or_else(|| self.invalid(format!("unreadable {what}")))?;
        u64::try_from(value).map_err(|_| self.invalid(format!("negative {what}")))
    }

    fn pax_text(&self, records: &Records, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(records.text(key).map_err(|why| self.invalid(why))?.map(<[u8]>::to_vec))
    }
}
