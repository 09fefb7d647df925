//! What joining a network costs, step by step: `cargo run --release -p bridge --example join_cost [rounds]` as root.
//!
//! Runs in a network namespace of its own, as "the host". Prints medians and minima in microseconds.

#![expect(clippy::print_stdout, reason = "it is a measuring program")]

use bridge::{Bridge, Config};
use ipnet::Ipv4Net;
use network::route::{self, Veth};
use network::{
    Driver as _, Endpoint, EndpointId, Mac, NetworkConfig, NetworkId, PortRequest, Sandbox,
    Sandboxes, ipam, pools,
};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stdx::{Error, Result};
use sys::netlink::{Batch, Protocol, Socket};
use sys::netns;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    let host = Sandbox::create()?.into_netns();
    netns::enter(host.as_fd())?;
    let state = std::env::temp_dir().join(format!("join-cost-{}", std::process::id()));
    let config = Config {
        instance: Some("0a1b2c".into()),
        state: state.clone(),
        firewall: None,
        policy: bridge::policy::Policy::default(),
    };
    let driver = Bridge::open(config.clone(), Arc::new(ipam::Default::new(pools::defaults())))?;
    let id = NetworkId::random()?;
    let start = Instant::now();
    driver.create(&NetworkConfig::bridge(id, None))?;
    println!("create the network: {} µs", start.elapsed().as_micros());

    whole(&driver, id, rounds)?;
    steps(rounds)?;
    drop(driver);
    Bridge::cleanup(&config)?;
    stdx::fs::remove_tree(&state)
}

/// The calls as the engine makes them.
fn whole(driver: &Bridge, network: NetworkId, rounds: usize) -> Result<()> {
    let (mut fresh, mut taken, mut joined, mut left) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    let (mut published, mut withdrawn) = (Times::default(), Times::default());
    let stock = Sandboxes::new(2)?;
    for _ in 0..rounds {
        fresh.time(Sandbox::create)?;
        // As between two containers: the stock is full again.
        while stock.len() < 2 {
            std::thread::park_timeout(Duration::from_micros(200));
        }
        let mut sandbox = taken.time(|| stock.take())?;
        let container = types::ContainerId::from_bytes(&[1; 32]);
        let endpoint = Endpoint::new(EndpointId::random()?, network, container);
        joined.time(|| driver.join(&endpoint, &mut sandbox))?;
        let web = PortRequest {
            protocol: network::Protocol::Tcp,
            container: 80,
            address: None,
            ports: Some((8080, 8080)),
        };
        published.time(|| driver.publish(&endpoint.id, &[web]))?;
        withdrawn.time(|| driver.withdraw(&endpoint.id))?;
        drop(sandbox);
        left.time(|| driver.leave(&endpoint.id))?;
        stock.refill();
        while driver.leases() > 0 {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
    fresh.print("make a sandbox on the path");
    taken.print("take a sandbox from stock");
    joined.print("join");
    published.print("publish a port");
    withdrawn.print("withdraw it");
    left.print("leave");
    Ok(())
}

/// The messages that a join consists of.
fn steps(rounds: usize) -> Result<()> {
    let mut socket = Socket::open(Protocol::Route)?;
    let bridge = route::link(&mut socket, "gantry0-0a1b2c")?
        .ok_or_else(|| Error::internal("no bridge"))?
        .index;
    let mut times: [Times; 5] = std::array::from_fn(|_| Times::default());
    for round in 0..rounds {
        let mut sandbox = Sandbox::create()?;
        let (index, interface) = sandbox.next_link();
        let name = format!("veth{round:07}");
        let address = Ipv4Addr::new(172, 17, 200, (round % 250) as u8 + 2);
        times[0].time(|| {
            let mut batch = Batch::new();
            let netns = sandbox.netns();
            let veth = Veth {
                name: &name,
                mtu: 1500,
                peer: &interface,
                peer_mac: Mac::of(address),
                netns,
            };
            route::add_veth(&mut batch, &veth);
            run(&mut socket, batch)
        })?;
        times[1].time(|| {
            let mut batch = Batch::new();
            route::enslave(&mut batch, &name, bridge, "measured");
            run(&mut socket, batch)
        })?;
        times[2].time(|| {
            let mut batch = Batch::new();
            let address =
                Ipv4Net::new(address, 16).map_err(|e| Error::internal("address").caused_by(e))?;
            route::add_address(&mut batch, index, address.into());
            route::raise(&mut batch, index);
            route::add_default_route(&mut batch, index, Ipv4Addr::new(172, 17, 0, 1).into());
            run(sandbox.route(), batch)
        })?;
        times[3].time(|| route::link(&mut socket, &name))?;
        times[4].time(|| {
            drop(sandbox);
            Ok(())
        })?;
        while route::link(&mut socket, &name)?.is_some() {
            std::thread::park_timeout(Duration::from_micros(500));
        }
    }
    let names = [
        "  make the pair of links",
        "  into the bridge, alias, up",
        "  address, up, route",
        "  carry packets now",
        "  drop the sandbox",
    ];
    for (name, times) in names.iter().zip(&mut times) {
        times.print(name);
    }
    Ok(())
}

fn run(socket: &mut Socket, batch: Batch) -> Result<()> {
    socket.execute(batch).map_err(|e| Error::internal("rtnetlink").caused_by(e))
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn time<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work();
        self.0.push(start.elapsed());
        result
    }

    fn print(&mut self, name: &str) {
        self.0.sort();
        let micros = |at: usize| self.0.get(at).map_or(0.0, |t| t.as_secs_f64() * 1e6);
        let last = self.0.len().saturating_sub(1);
        println!(
            "{name:<32} median {:>8.1}  min {:>8.1}  p95 {:>8.1}",
            micros(last / 2),
            micros(0),
            micros(last * 95 / 100)
        );
    }
}
