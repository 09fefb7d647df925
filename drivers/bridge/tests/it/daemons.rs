//! Two daemons on one host.

use crate::rig::{Container, Host, eventually, on_a_host, send};
use bridge::{Bridge, Config, policy::Policy};
use ipnet::IpNet;
use network::{
    Driver as _, Endpoint, EndpointId, Network, NetworkConfig, NetworkId, PoolConfig, Sandbox,
};
use nft::Firewall;
use std::net::IpAddr;
use stdx::{Kind, Result};

/// The daemon beside the rig's own.
struct Other {
    state: tempfile::TempDir,
    bridge: Bridge,
}

impl Other {
    fn on(host: &Host) -> Self {
        let state = tempfile::tempdir().unwrap();
        let bridge = host.open_with(Self::config(&state));
        Self { state, bridge }
    }

    fn config(state: &tempfile::TempDir) -> Config {
        Config {
            instance: Some("3d4e5f".into()),
            state: state.path().to_owned(),
            firewall: None,
            policy: Policy::default(),
        }
    }
}

fn network(subnets: &[&str]) -> NetworkConfig {
    let id = NetworkId::random().unwrap();
    let mut config =
        NetworkConfig { default: false, name: "net".into(), ..NetworkConfig::bridge(id, None) };
    for subnet in subnets {
        let subnet: IpNet = subnet.parse().unwrap();
        let pool = Some(PoolConfig { subnet: Some(subnet), ..PoolConfig::default() });
        if subnet.addr().is_ipv4() { config.ipv4 = pool } else { config.ipv6 = pool }
    }
    config
}

fn join(host: &Host, bridge: &Bridge, network: NetworkId) -> Container {
    let mut sandbox = Sandbox::create().unwrap();
    let id = EndpointId::random().unwrap();
    let endpoint = Endpoint { id, network, ..host.endpoint() };
    let joined = bridge.join(&endpoint, &mut sandbox).unwrap();
    Container { sandbox, endpoint, joined }
}

fn has_tables(of: &str) -> bool {
    Firewall::open().unwrap().tables().unwrap().iter().any(|table| table.contains(of))
}

#[test]
fn a_subnet_of_another_daemons_is_refused_and_no_other_is_chosen_from_it() {
    on_a_host(|host| {
        let (first, other) = (host.open(), Other::on(host));
        let second = &other.bridge;
        let theirs = network(&["10.9.0.0/24", "fd09::/64"]);
        let made = first.create(&theirs).unwrap();
        let talk = || {
            let (a, b) = (join(host, &first, theirs.id), join(host, &first, theirs.id));
            let (from, to) = (a.socket(), b.socket());
            let said = send(&from, &to, b.address());
            assert_eq!(said, Some(IpAddr::V4(a.address())));
            for container in [&a, &b] {
                first.leave(&container.endpoint.id).unwrap();
            }
            drop((a, b, from, to));
            eventually("they have gone", || first.leases() == 0);
        };
        talk();
        let (links, addresses) = (host.links(), host.addresses());

        let refused = |config: &NetworkConfig, family: &str| {
            let refused = second.create(config).unwrap_err();
            let bridge = |id: &NetworkId| format!("br-{}", &id.to_string()[..12]);
            assert_eq!(
                (refused.kind(), refused.to_string()),
                (
                    Kind::Forbidden,
                    format!(
                        "cannot create network {} ({}): conflicts with network {} ({}): networks have overlapping {family}",
                        config.id,
                        bridge(&config.id),
                        theirs.id,
                        bridge(&theirs.id)
                    )
                )
            );
            assert_eq!((host.links(), host.addresses()), (links.clone(), addresses.clone()));
            assert!(!has_tables("3d4e5f"));
        };
        for (subnets, family) in [
            (&["10.9.0.0/24"][..], "IPv4"),
            (&["10.9.0.128/25"], "IPv4"),
            (&["10.0.0.0/8"], "IPv4"),
            (&["10.10.0.0/24", "fd09::/56"], "IPv6"),
        ] {
            refused(&network(subnets), family);
        }
        // Nothing of it is left in the daemon either: the same again is refused in the same way.
        let wanted = network(&["10.9.0.0/24"]);
        refused(&wanted, "IPv4");
        refused(&wanted, "IPv4");
        talk();

        // What nobody asked for is beside it, and beside what the host routes.
        let subnet = |made: &Result<Network>| made.as_ref().unwrap().pools[0].subnet.to_string();
        let (free, mine) = (network(&[]), network(&[]));
        assert_eq!(subnet(&second.create(&free)), "172.17.0.0/16");
        assert_eq!(subnet(&first.create(&mine)), "172.18.0.0/16");

        // A daemon that comes again finds its own as it was, and a subnet that is given up can be had.
        drop(first);
        let first = host.open();
        assert_eq!(first.create(&theirs).unwrap(), made);
        first.delete(&theirs.id).unwrap();
        second.create(&wanted).unwrap();
        let overlapping = first.create(&theirs).unwrap_err();
        assert!(overlapping.to_string().ends_with("overlapping IPv4"), "{overlapping}");
        let container = join(host, second, wanted.id);
        second.leave(&container.endpoint.id).unwrap();
        drop(container);

        let config = Other::config(&other.state);
        drop(other.bridge);
        Bridge::cleanup(&config).unwrap();
        assert!(!has_tables("3d4e5f"));
    });
}

#[test]
fn a_network_that_fails_halfway_leaves_nothing_behind() {
    on_a_host(|host| {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Where a file is nothing can be written: the bridge is there by then, and the rules are not.
        let bridge = host
            .open_with(Config { firewall: Some(file.path().join("firewall")), ..host.config() });
        let links = host.links();
        let config = network(&["10.9.0.0/24"]);
        for _ in 0..2 {
            let failed = bridge.create(&config).unwrap_err();
            assert!(failed.to_string().starts_with("create network net"), "{failed}");
            assert_eq!(host.links(), links);
        }
        assert!(!has_tables("0a1b2c"));
    });
}
