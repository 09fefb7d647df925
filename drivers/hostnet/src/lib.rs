//! The networks `host` and `none`.
//!
//! Neither makes a link. A container on `host` lives in the host's namespace, so there is nothing to join; one on `none`
//! has a sandbox whose loopback is up already. The third mode without a link, `container:<id>`, is no network at all:
//! `network::Mode::namespace` says whose namespace it means, and `sys::netns::of_process` opens it.

#![forbid(unsafe_code)]

use network::{
    Driver, Endpoint, EndpointId, Joined, Live, Network, NetworkConfig, NetworkId, Recovered,
    Sandbox,
};
use stdx::{Error, Kind, Result};

/// A driver that makes no links.
#[derive(Debug)]
pub struct HostNet {
    name: &'static str,
}

/// The driver of the network `host`.
pub fn host() -> HostNet {
    HostNet { name: "host" }
}

/// The driver of the network `none`; the API calls it `null`.
pub fn none() -> HostNet {
    HostNet { name: "null" }
}

impl Driver for HostNet {
    fn name(&self) -> &str {
        self.name
    }

    fn create(&self, config: &NetworkConfig) -> Result<Network> {
        if !config.default {
            let text = format!("only one instance of \"{}\" network is allowed", self.name);
            return Err(Error::new(Kind::Forbidden, text));
        }
        Ok(Network::default())
    }

    fn delete(&self, _network: &NetworkId) -> Result<()> {
        Ok(())
    }

    fn join(&self, endpoint: &Endpoint, _sandbox: &mut Sandbox) -> Result<Joined> {
        if endpoint.ipv4.is_some() || endpoint.ipv6.is_some() || endpoint.mac.is_some() {
            let text = format!(
                "a container on a network of driver \"{}\" has no address to choose",
                self.name
            );
            return Err(Error::invalid(text));
        }
        Ok(Joined::nothing())
    }

    fn leave(&self, _endpoint: &EndpointId) -> Result<()> {
        Ok(())
    }

    fn recover(&self, _live: Vec<Live>) -> Result<Recovered> {
        Ok(Recovered::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use network::route;

    #[test]
    fn none_leaves_a_sandbox_as_it_was() {
        let driver = none();
        let mut config = NetworkConfig::bridge(NetworkId::random().unwrap(), None);
        assert_eq!(driver.create(&config).unwrap().interface, None);
        let mut sandbox = Sandbox::create().unwrap();
        let before = route::links(sandbox.route()).unwrap();
        let id = EndpointId::random().unwrap();
        let mut endpoint = Endpoint::new(id, config.id, types::ContainerId::from_bytes(&[7; 32]));
        assert_eq!(driver.join(&endpoint, &mut sandbox).unwrap(), Joined::nothing());
        assert_eq!(route::links(sandbox.route()).unwrap(), before);
        endpoint.ipv4 = Some("10.0.0.1".parse().unwrap());
        assert_eq!(driver.join(&endpoint, &mut sandbox).unwrap_err().kind(), Kind::InvalidArgument);
        config.default = false;
        let error = host().create(&config).unwrap_err();
        assert_eq!(error.to_string(), "only one instance of \"host\" network is allowed");
    }
}
