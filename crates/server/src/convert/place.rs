//! Volumes.

use api::Volume;
use engine::VolumeView;

/// The label by which Docker marks a volume that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume in lists and inspects.
pub(crate) fn volume(view: VolumeView) -> Volume {
    let VolumeView { record, path, .. } = view;
    let mut labels = record.labels;
    if record.anonymous {
        labels.insert(ANONYMOUS.to_owned(), String::new());
    }
    // Docker tells whole seconds.
    let created = match record.created.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => record.created,
    };
    Volume {
        created_at: created,
        driver: record.driver,
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        mountpoint: path.display().to_string(),
        name: record.name,
        options: Some(record.options).filter(|options| !options.is_empty()),
        scope: "local".to_owned(),
        usage_data: None,
    }
}
