//! Records → files, with rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use logging::{Attributes, Record, Sink};
use stdx::{Context as _, Result};

use crate::encode::{Buffer, Encoder};
use crate::rotated;

/// Lines are collected until there are this many bytes of them.
const BATCH: usize = 192 << 10;

/// Where and how much to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file; its folder exists.
    pub path: PathBuf,
    /// A file of at least so many bytes is rotated before the next record. `None`: never.
    pub max_size: Option<u64>,
    /// How many files are kept, the one that is written included; at least one.
    pub max_files: u32,
    /// Written into every record; empty as a rule.
    pub attributes: Attributes,
}

/// Writes a container's log.
#[derive(Debug)]
pub struct Writer {
    options: Options,
    encoder: Encoder,
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    /// Lines not yet in the file.
    batch: Buffer,
    /// The file ends within a line.
    torn: bool,
}

impl Writer {
    /// Opens the log for appending, creating it (0640) when there is none.
    pub fn open(options: Options) -> Result<Self> {
        let encoder = Encoder::new(&options.attributes);
        let mut writer =
            Self { options, encoder, file: None, size: 0, batch: Buffer::default(), torn: false };
        writer
            .open_file()
            .map(drop)
            .context(|| format!("open {}", writer.options.path.display()))?;
        Ok(writer)
    }

    fn open_file(&mut self) -> io::Result<&mut File> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.options.path)?;
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
        let path = self.options.path.clone();
        self.file = None;
        let kept = self.options.max_files.max(1);
        if kept == 1 {
            // Removed, not truncated: its readers keep it.
            present(std::fs::remove_file(&path))?;
        }
        for index in (0..kept - 1).rev() {
            present(std::fs::rename(rotated(&path, index), rotated(&path, index + 1)))?;
        }
        self.open_file().map(drop)
    }

    fn doing(&self) -> String {
        format!("write {}", self.options.path.display())
    }
}

impl Sink for Writer {
    fn write(&mut self, record: &Record<'_>) -> Result<()> {
        let mut result = Ok(());
        if self
            .options
            .max_size
            .is_some_and(|max| self.size + self.batch.written().len() as u64 >= max)
        {
            result = self.rotate();
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
        // Even with a failed batch: on a full disk, rotation is what makes room.
        self.rotate_files().context(|| format!("rotate {}", self.options.path.display()))?;
        written
    }

    fn release(&mut self) {
        self.batch.release();
    }
}

/// That a file is not there is no error.
fn present(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
