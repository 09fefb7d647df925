//! Records → files, with rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use stdx::{Context as _, Result};

use super::{Encode, compressed, lock_names, names, present, rotated};
use crate::{Buffer, Record, Sink};

/// Lines are collected until there are this many bytes of them.
const BATCH: usize = 192 << 10;

/// How much larger than it should be a file becomes at most because the daemon holds the lock on the names.
const PATIENCE: u64 = 1 << 20;

/// Writes a container's log.
#[derive(Debug)]
pub struct Writer<E> {
    path: PathBuf,
    max_size: Option<u64>,
    max_files: u32,
    encoder: E,
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    /// Lines not yet in the file.
    batch: Buffer,
    /// The file ends within a line.
    torn: bool,
}

impl<E: Encode> Writer<E> {
    /// Opens the log at `path`, whose folder exists, for appending, creating it (0640) when there is none.
    ///
    /// A file of at least `max_size` bytes is rotated before the next record (`None`: never); `max_files` are kept, the
    /// one that is written included.
    pub fn open(path: PathBuf, max_size: Option<u64>, max_files: u32, encoder: E) -> Result<Self> {
        let mut writer = Self {
            path,
            max_size,
            max_files,
            encoder,
            file: None,
            size: 0,
            batch: Buffer::default(),
            torn: false,
        };
        writer.open_file().map(drop).context(|| format!("open {}", writer.path.display()))?;
        Ok(writer)
    }

    fn open_file(&mut self) -> io::Result<&mut File> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.path)?;
        self.size = file.metadata()?.len();
        self.torn = false;
        if self.size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            self.torn = last != *b"\n";
        }
        Ok(self.file.insert(file))
    }

    /// Writes the batch. What cannot be written is dropped: a full disk must not hold the container up.
    fn write_batch(&mut self) -> io::Result<()> {
        if self.batch.written().is_empty() {
            return Ok(());
        }
        let mut written = 0;
        let mut result = if self.file.is_some() { Ok(()) } else { self.open_file().map(drop) };
        if result.is_ok() && self.torn {
            // Let the damaged line end, so that it takes no good one with it.
            self.batch.put_first(b'\n');
        }
        while let Some(file) =
            self.file.as_mut().filter(|_| result.is_ok() && written < self.batch.written().len())
        {
            match file.write(&self.batch.written()[written..]) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => result = Err(e),
            }
        }
        self.size += written as u64;
        if written > 0 {
            self.torn = self.batch.written()[written - 1] != b'\n';
        }
        self.batch.clear();
        result
    }

    fn rotate_files(&mut self) -> io::Result<()> {
        let path = &self.path;
        // Not all that there may be: somebody may have said a billion.
        let there = names(path).last().map_or(0, |name| name.index + 2);
        let kept = self.max_files.clamp(1, there.max(1));
        self.file = None;
        // Removed, not truncated: its readers keep it.
        for name in [rotated(path, kept - 1), compressed(path, kept - 1)] {
            present(std::fs::remove_file(name))?;
        }
        for index in (0..kept - 1).rev() {
            present(std::fs::rename(rotated(path, index), rotated(path, index + 1)))?;
            if index > 0 {
                present(std::fs::rename(compressed(path, index), compressed(path, index + 1)))?;
            }
        }
        self.open_file().map(drop)
    }

    /// Whether names may be changed now: nobody is replacing a file by its compressed self, or has been for so long
    /// that it must have been stopped in the middle of it.
    fn may_rotate(&self, max: u64) -> Option<Option<std::os::fd::OwnedFd>> {
        match lock_names(&self.path, false) {
            Ok(None) if self.size < max + PATIENCE => None,
            Ok(lock) => Some(lock),
            Err(_) => Some(None),
        }
    }

    /// Even with a failed batch: on a full disk, rotation is what makes room.
    fn rotate_now(&mut self) -> Result<()> {
        self.rotate_files().context(|| format!("rotate {}", self.path.display()))
    }

    fn doing(&self) -> String {
        format!("write {}", self.path.display())
    }
}

impl<E: Encode> Sink for Writer<E> {
    fn write(&mut self, record: &Record<'_>) -> Result<()> {
        let mut result = Ok(());
        if let Some(max) = self.max_size
            && self.size + self.batch.written().len() as u64 >= max
        {
            result = self.flush();
            if let Some(_lock) = self.may_rotate(max) {
                result = self.rotate_now().and(result);
            }
        }
        if !self.batch.has_room(self.encoder.longest(record), BATCH) {
            result = result.and(self.flush());
        }
        self.encoder.line(record, &mut self.batch);
        result
    }

    fn flush(&mut self) -> Result<()> {
        self.write_batch().context(|| self.doing())
    }

    fn rotate(&mut self) -> Result<()> {
        let written = self.flush();
        let _lock = lock_names(&self.path, true);
        self.rotate_now()?;
        written
    }

    fn release(&mut self) {
        self.batch.release();
    }
}
