//! Volumes and networks.

use api::{Ipam, IpamConfig, Network, NetworkContainer, Volume};
use engine::{ContainerView, VolumeView};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use store::records::network::{NetworkRecord, PoolRecord};

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

/// A network in lists and inspects; `containers` are those on it that run.
pub(crate) fn network(
    record: NetworkRecord,
    containers: BTreeMap<String, NetworkContainer>,
) -> Network {
    let pools: Vec<IpamConfig> = record.ipam.pools.into_iter().map(pool).collect();
    Network {
        name: record.name,
        id: record.id,
        created: record.created,
        scope: "local".to_owned(),
        driver: record.driver,
        enable_ipv6: record.ipv6,
        ipam: Ipam {
            driver: record.ipam.driver,
            options: Some(record.ipam.options).filter(|options| !options.is_empty()),
            config: Some(pools).filter(|pools| !pools.is_empty()),
        },
        internal: record.internal,
        attachable: record.attachable,
        containers,
        options: record.options,
        labels: record.labels,
        ..Network::default()
    }
}

fn pool(record: PoolRecord) -> IpamConfig {
    IpamConfig {
        subnet: record.subnet,
        ip_range: record.range,
        gateway: record.gateway,
        auxiliary_addresses: Some(record.auxiliary),
    }
}

/// The containers that have an endpoint on a network.
pub(crate) fn members<V: Borrow<ContainerView>>(
    views: impl IntoIterator<Item = V>,
    network: &str,
) -> BTreeMap<String, NetworkContainer> {
    let member = |view: &ContainerView| {
        let endpoint = view
            .network
            .endpoints
            .values()
            .find(|e| e.network_id == network && !e.endpoint_id.is_empty())?;
        let address = if endpoint.ip.is_empty() {
            String::new()
        } else {
            format!("{}/{}", endpoint.ip, endpoint.prefix_len)
        };
        let member = NetworkContainer {
            name: view.record.name.clone(),
            endpoint_id: endpoint.endpoint_id.clone(),
            mac_address: endpoint.mac.clone(),
            ipv4_address: address,
            ipv6_address: String::new(),
        };
        Some((view.record.id.clone(), member))
    };
    views.into_iter().filter_map(|view| member(view.borrow())).collect()
}
