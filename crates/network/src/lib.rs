//! Contract: network drivers, addresses, endpoints.
//!
//! A *network* is something that containers can be attached to; a *sandbox* is a network namespace; an *endpoint* is the
//! attachment of one container to one network, for one run of it: every start makes a new endpoint.
//!
//! # Life of a network
//!
//! `create(config)` makes what the host needs for it (a bridge, rules) and says which subnet it got. It is called again
//! with the recorded subnet at every start of the daemon and then changes nothing that is right already. `delete` takes
//! it away.
//!
//! # Starting and ending a container
//!
//! ```text
//!   Sandboxes::take ──▶ Sandbox ──▶ Driver::join(endpoint, sandbox) ──▶ Joined{interface, addresses, gateway, …}
//!                          │
//!                          └─ netns() goes to the shim, which puts the container's first process into it; then dropped
//!
//!   container ends: its processes held the namespace's last reference ──▶ the kernel takes the links away (about 3 ms)
//!   Driver::leave(endpoint): nothing to wait for; the address comes free with the link's own delete event
//! ```
//!
//! Nothing of ours keeps a namespace alive: it is never mounted, and the daemon drops its descriptors after the start.
//!
//! # After a crash
//!
//! `recover(live)` is told which endpoints still have a running container. What they miss is made again, what nobody
//! owns any more is removed, and what is not ours is left alone.

#![forbid(unsafe_code)]

pub mod announce;
mod explain;
pub mod ipam;
mod mac;
mod mode;
mod model;
mod plugins;
pub mod pools;
mod ports;
pub mod route;
mod sandbox;

pub use announce::Announcements;
pub use explain::{Explanation, Question, Sender};
pub use ipam::{Ipam, Usage};
pub use mac::{InvalidMac, Mac};
pub use mode::{Mode, Namespace};
pub use model::{
    Endpoint, EndpointId, InvalidId, IpamConfig, Joined, Link, Live, Network, NetworkConfig,
    NetworkId, Pool, PoolConfig, Recovered,
};
pub use plugins::{Owner, Plugins};
pub use pools::Family;
pub use ports::{InvalidProtocol, PortRequest, Protocol, PublishedPort};
pub use sandbox::{Sandbox, Sandboxes};

use stdx::Result;

/// A kind of network.
pub trait Driver: Send + Sync + std::fmt::Debug {
    /// Its name in the API: `bridge`, `host`, `null`.
    fn name(&self) -> &str;

    /// It is outside of the daemon: what it is asked may take as long as it likes, up to its own limit, so nobody holds
    /// what others need meanwhile. It is told when an endpoint leads out even if no ports are published.
    fn is_remote(&self) -> bool {
        false
    }

    /// Makes the network on the host, or finds it there as `config` says.
    ///
    /// # Errors
    /// `Forbidden` when the subnet overlaps another; `Conflict` when a link of the name exists that is not ours;
    /// `InvalidArgument`, `NotImplemented` for what the driver cannot do.
    fn create(&self, config: &NetworkConfig) -> Result<Network>;

    /// Takes the network away. That it is gone already is success.
    fn delete(&self, network: &NetworkId) -> Result<()>;

    /// Attaches `sandbox`. On an error nothing of the attachment is left.
    ///
    /// # Errors
    /// `NotFound` when there is no such network; `Forbidden` when no address is free or the one asked for is taken.
    fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined>;

    /// The container of this endpoint has ended or its start failed. Returns at once; the address is given away again
    /// only when the kernel has removed the link. An unknown endpoint is success.
    fn leave(&self, endpoint: &EndpointId) -> Result<()>;

    /// Takes the endpoint's link out of a running container, now, and its published ports back: live disconnect. The
    /// kernel takes 15–34 ms for it. An unknown endpoint is success. Afterwards as after [`leave`](Self::leave).
    /// `interface` is the link's name in `sandbox`, the container's namespace.
    fn detach(&self, endpoint: &EndpointId, interface: &str, sandbox: &mut Sandbox) -> Result<()> {
        let _ = (interface, sandbox);
        self.leave(endpoint)
    }

    /// Leads ports of the host to an endpoint that has been joined: all that are wanted or, on an error, none. In the
    /// answer a port of all addresses stands once a family, IPv4 first, both with the same number. `leave` withdraws
    /// them.
    ///
    /// # Errors
    /// `Conflict` when a port is taken, with who has it as far as the kernel tells; `NotImplemented` where the driver
    /// publishes nothing. The texts are what Docker says after "driver failed programming external connectivity on
    /// endpoint NAME (ID): ", which the caller says.
    fn publish(&self, endpoint: &EndpointId, ports: &[PortRequest]) -> Result<Vec<PublishedPort>> {
        let _ = endpoint;
        match ports {
            [] => Ok(Vec::new()),
            _ => Err(stdx::Error::not_implemented(format!(
                "networks of driver \"{}\" publish no ports",
                self.name()
            ))),
        }
    }

    /// The port on `[::1]` and 127.0.0.1 of the listener that passes on what the kernel cannot translate: ports that are
    /// published from now on count on it. `None`: there is no such listener.
    fn relay(&self, port: Option<u16>) -> Result<()> {
        let _ = port;
        Ok(())
    }

    /// The number by which the kernel announces this driver's own changes of the firewall (`nlmsg_pid`), if it makes any:
    /// whoever watches our tables leaves those alone.
    fn firewall_port(&self) -> Option<u32> {
        None
    }

    /// The table of family `bridge` in whose sets names' addresses are allowed, and the group of `nfnetlink_log` that
    /// denied packets are told to, if this driver holds containers to where they may go. `None`: whoever may not go
    /// everywhere cannot be on its networks.
    fn egress(&self) -> Option<(String, u16)> {
        None
    }

    /// Takes all published ports of an endpoint back. That there are none is success.
    fn withdraw(&self, endpoint: &EndpointId) -> Result<()> {
        let _ = endpoint;
        Ok(())
    }

    /// Who may talk to whom where neighbours are kept apart: from now on these and nobody else. Endpoints that there are not
    /// (any more) are passed over.
    fn link(&self, links: Vec<Link>) -> Result<()> {
        let _ = links;
        Ok(())
    }

    /// Which rules decide about what is asked; nothing about what is not this driver's.
    ///
    /// # Errors
    /// When what the rules depend on cannot be read.
    fn explain(&self, question: &Question) -> Result<Vec<Explanation>> {
        let _ = question;
        Ok(Vec::new())
    }

    /// What on this host stands in the way of networks and cannot be helped from here, with what its owner can do.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What of the host's own is other than it would be without this driver, for a person; `gantryd --cleanup` undoes it.
    fn changes(&self) -> Vec<String> {
        Vec::new()
    }

    /// How full a network's subnets are. Nothing where the driver does not know.
    fn usage(&self, network: &NetworkId) -> Vec<(ipnet::IpNet, Usage)> {
        let _ = network;
        Vec::new()
    }

    /// At the daemon's start, after `create` of every network: adopts the living endpoints and removes what has no
    /// owner. Each thing that could not be put right is in the answer; the rest is done all the same.
    fn recover(&self, live: Vec<Live>) -> Result<Recovered>;
}
