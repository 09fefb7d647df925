//! Use cases about volumes.

use crate::Engine;
use std::path::PathBuf;
use stdx::Result;
use store::records::volume::VolumeRecord;

/// A volume and where its content is.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// Its record.
    pub record: VolumeRecord,
    /// Its directory on the host.
    pub path: PathBuf,
}

impl Engine {
    /// All volumes that are recorded, by name.
    pub fn list_volumes(&self) -> Result<Vec<VolumeView>> {
        let records = self.inner.records.store().all::<VolumeRecord>()?;
        records.into_iter().map(|(_, record)| self.volume_view(record)).collect()
    }

    /// One volume.
    pub fn inspect_volume(&self, name: &str) -> Result<VolumeView> {
        let record = self.inner.records.store().get::<VolumeRecord>(name)?;
        let record =
            record.ok_or_else(|| stdx::Error::not_found(format!("get {name}: no such volume")))?;
        self.volume_view(record)
    }

    /// Bytes of all files in a volume's directory, each counted once; -1 when it cannot be read.
    pub fn size_of_volume(&self, path: &std::path::Path) -> i64 {
        size_of(path).unwrap_or(-1)
    }

    fn volume_view(&self, record: VolumeRecord) -> Result<VolumeView> {
        let path = self.inner.volumes.path(&record.name.parse()?)?;
        Ok(VolumeView { record, path })
    }

    pub(crate) fn volume_exists(&self, name: &str) -> Result<bool> {
        Ok(self.inner.records.store().get::<VolumeRecord>(name)?.is_some())
    }

    /// All networks.
    pub fn list_networks(&self) -> Vec<store::records::network::NetworkRecord> {
        self.inner.networks.all()
    }
}

/// As deep as archives of layers may be: each level holds a descriptor.
const MAX_DEPTH: usize = 250;

fn size_of(path: &std::path::Path) -> std::io::Result<i64> {
    let top = sys::dir::Dir::open(path)?;
    let mut seen = std::collections::HashSet::new();
    let mut bytes = 0_i64;
    let names = top.names()?;
    let mut levels = vec![(top, names)];
    while let Some(depth) = levels.len().checked_sub(1) {
        let (dir, names) = &mut levels[depth];
        let Some(name) = names.pop() else {
            levels.pop();
            continue;
        };
        // What goes away meanwhile takes no space.
        let Ok(stat) = dir.stat(&name) else { continue };
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind != rustix::fs::FileType::Directory {
            if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
                bytes = bytes.saturating_add(stat.st_size);
            }
        } else if depth < MAX_DEPTH
            && let Ok(child) = dir.child(&name)
        {
            let names = child.names()?;
            levels.push((child, names));
        }
    }
    Ok(bytes)
}
