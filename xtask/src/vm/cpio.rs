//! The archive that a kernel takes its first files from: cpio's "newc" form, uncompressed.

use anyhow::{Context as _, Result};
use std::fmt::Write as _;

/// An archive that grows in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

impl Archive {
    /// Adds a folder.
    pub(super) fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, 0o040_755, &[])
    }

    /// Adds a file that can be executed.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, 0o100_755, content)
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    /// One header of thirteen numbers, eight hexadecimal digits each, the name with its NUL, and the content; both are
    /// filled up to a multiple of four (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.count += 1;
        let size = u32::try_from(content.len()).context("a file of 4 GiB in the first archive")?;
        let name_size = u32::try_from(name.len() + 1).context("a name of 4 GiB")?;
        let mut header = String::from("070701");
        let numbers = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        for number in numbers {
            write!(header, "{number:08x}").context("format a header")?;
        }
        self.bytes.extend(header.bytes().chain(name.bytes()).chain([0]));
        self.fill_up();
        self.bytes.extend(content);
        self.fill_up();
        Ok(())
    }

    fn fill_up(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
