//! Entries to bytes: ustar where it suffices, pax where not. The same entries always make the same bytes.

use crate::entry::{Entry, Kind, Time};
use crate::error::Error;
use crate::{BLOCK, padding};
use std::io::{Read, Write};

/// The biggest number in a field of eleven octal digits.
const MAX_SIZE: u64 = (1 << 33) - 1;
/// The biggest number in a field of seven octal digits.
const MAX_ID: u32 = (1 << 21) - 1;

/// Writes one archive.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl<'a> Writer<'a> {
    /// Writes to `out`, which should buffer.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, at: 0 }
    }

    /// Adds an entry; for files exactly `entry.size` bytes are taken from `data`.
    ///
    /// [`Error::Invalid`] for an entry that no archive can hold, and when `data` ends early (the archive is spoilt
    /// then). Sparse files are written with their holes as zeros: `data` is to yield them.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        let path = checked_path(entry)
            .map_err(|why| Error::Invalid { at: self.at, why: why.to_owned() })?;
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let mut records = Vec::new();
        let mut header = [0; BLOCK];
        let fixed = Fixed { path: &path, entry, size };
        fixed.fill(&mut header, &mut records);
        if !records.is_empty() {
            self.extended(&path, &records)?;
        }
        finish_header(&mut header);
        self.put(&header)?;
        self.copy(data, size)?;
        self.pad(size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<(), Error> {
        self.put(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(write_error)
    }

    fn extended(&mut self, path: &[u8], records: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let mut header = [0; BLOCK];
        // The name is for readers that know no pax; it says nothing about this process, so that digests are stable.
        let base = path.rsplit(|b| *b == b'/').find(|c| !c.is_empty()).unwrap_or(b"x");
        let name = [b"PaxHeaders.0/", &base[..base.len().min(80)]].concat();
        text(&mut header[0..100], &name);
        octal(&mut header[100..108], 0o644);
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        octal(&mut header[124..136], data.len() as u64);
        octal(&mut header[136..148], 0);
        header[156] = b'x';
        finish_header(&mut header);
        self.put(&header)?;
        self.put(&data)?;
        self.pad(data.len() as u64)
    }

    fn copy(&mut self, data: &mut dyn Read, size: u64) -> Result<(), Error> {
        let mut left = size;
        let mut buffer = vec![0; usize::try_from(left.min(64 * 1024)).unwrap_or(0)];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match data.read(&mut buffer[..part]) {
                Ok(0) => {
                    return Err(Error::Invalid {
                        at: self.at,
                        why: format!("content ends {left} bytes early"),
                    });
                }
                Ok(n) => {
                    self.put(&buffer[..n])?;
                    left -= n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Io { doing: "read content for the archive", source });
                }
            }
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let zeros = [0; BLOCK];
        // Less than a block.
        self.put(&zeros[..usize::try_from(padding(size)).unwrap_or(0)])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(write_error)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("at", &self.at).finish_non_exhaustive()
    }
}

/// An entry on its way into a header and, for what does not fit, into records.
struct Fixed<'a> {
    path: &'a [u8],
    entry: &'a Entry,
    size: u64,
}

impl Fixed<'_> {
    fn fill(&self, header: &mut [u8; BLOCK], records: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        let entry = self.entry;
        let mut say = |key: &str, value: Vec<u8>| records.push((key.as_bytes().to_vec(), value));
        match split(self.path) {
            Some((prefix, name)) => {
                text(&mut header[0..100], name);
                text(&mut header[345..500], prefix);
            }
            None => {
                // Cut short for readers that know no pax; the slash says that it is a directory.
                text(&mut header[0..100], &self.path[..self.path.len().min(99)]);
                say("path", self.path.to_vec());
            }
        }
        octal(&mut header[100..108], u64::from(entry.mode & 0o7777));
        for (range, key, id) in [(108..116, "uid", entry.uid), (116..124, "gid", entry.gid)] {
            octal(&mut header[range], if id > MAX_ID { 0 } else { u64::from(id) });
            if id > MAX_ID {
                say(key, id.to_string().into_bytes());
            }
        }
        octal(&mut header[124..136], if self.size > MAX_SIZE { 0 } else { self.size });
        if self.size > MAX_SIZE {
            say("size", self.size.to_string().into_bytes());
        }
        let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|s| *s <= MAX_SIZE);
        octal(&mut header[136..148], seconds.unwrap_or(0));
        if seconds.is_none() || entry.mtime.nanos != 0 {
            say("mtime", time(entry.mtime));
        }
        let (flag, target) = match &entry.kind {
            Kind::File => (b'0', &[][..]),
            Kind::HardLink { target } => (b'1', target.as_slice()),
            Kind::Symlink { target } => (b'2', target.as_slice()),
            Kind::CharDevice { .. } => (b'3', &[][..]),
            Kind::BlockDevice { .. } => (b'4', &[][..]),
            Kind::Directory => (b'5', &[][..]),
            Kind::Fifo => (b'6', &[][..]),
        };
        header[156] = flag;
        text(&mut header[157..257], &target[..target.len().min(100)]);
        if target.len() > 100 || !target.is_ascii() {
            say("linkpath", target.to_vec());
        }
        for (range, key, name) in
            [(265..297, "uname", &entry.user), (297..329, "gname", &entry.group)]
        {
            if name.len() < 32 && name.is_ascii() {
                text(&mut header[range], name);
            } else {
                say(key, name.clone());
            }
        }
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind {
            octal(&mut header[329..337], u64::from(major));
            octal(&mut header[337..345], u64::from(minor));
        }
        let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
        xattrs.sort();
        for (name, value) in xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
    }
}

/// The path as it is to be written; directories end in a slash.
fn checked_path(entry: &Entry) -> Result<Vec<u8>, &'static str> {
    let mut path = entry.path.clone();
    if path.is_empty() || path.contains(&0) {
        return Err("impossible name");
    }
    match &entry.kind {
        Kind::Directory if !path.ends_with(b"/") => path.push(b'/'),
        Kind::File if path.ends_with(b"/") => return Err("a file whose name ends in a slash"),
        Kind::Symlink { target } | Kind::HardLink { target }
            if target.is_empty() || target.contains(&0) =>
        {
            return Err("impossible link target");
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor }
            if *major >= 1 << 12 || *minor >= 1 << 20 =>
        {
            return Err("impossible device numbers");
        }
        _ => {}
    }
    if entry
        .xattrs
        .iter()
        .any(|(name, value)| name.is_empty() || name.contains(&b'=') || value.is_empty())
    {
        // A pax key ends at the first "=", and an empty value takes the key back.
        return Err("an extended attribute that pax cannot express");
    }
    Ok(path)
}

/// Prefix and name for the two fields of ustar; `None` when the path needs a record.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((&[], path));
    }
    // The slash between them is not stored: the prefix has up to 155 bytes, the name 1 to 100.
    let earliest = path.len().checked_sub(101)?;
    let slash =
        (earliest.max(1)..path.len().min(156)).find(|i| path[*i] == b'/' && i + 1 < path.len())?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// A record with its own length in front, which counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + 1;
    while length != bare + length.to_string().len() {
        length = bare + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn time(time: Time) -> Vec<u8> {
    let total = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    let (seconds, nanos) = (total / 1_000_000_000, total % 1_000_000_000);
    if nanos == 0 {
        return format!("{sign}{seconds}").into_bytes();
    }
    let decimals = format!("{nanos:09}");
    format!("{sign}{seconds}.{}", decimals.trim_end_matches('0')).into_bytes()
}

fn finish_header(header: &mut [u8; BLOCK]) {
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn text(field: &mut [u8], value: &[u8]) {
    field[..value.len()].copy_from_slice(value);
}

/// Zero-padded octal with a NUL at the end; callers see to it that it fits.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}

fn write_error(source: std::io::Error) -> Error {
    Error::Io { doing: "write archive", source }
}
