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
