//! Which of the host's ports containers have, and which they get. Pure but for the question whether a port is free.

use network::{PortRequest, Protocol, PublishedPort};
use rangemap::RangeInclusiveSet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stdx::{Error, Result};

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The ports that containers have.
#[derive(Debug, Default)]
pub struct Ports {
    taken: HashMap<(Protocol, IpAddr), RangeInclusiveSet<u16>>,
    /// The number after which the next search begins.
    last: HashMap<(Protocol, IpAddr), u16>,
}

/// Why a port of the host cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel says that it is in use, and by whom if it can be told.
    InUse(Option<String>),
    /// The host has no such address.
    NoAddress,
    /// Something else, in words.
    Other(String),
}

/// Asks whether the host's port is free on all these addresses.
pub type Probe<'a> = &'a mut dyn FnMut(Protocol, &[IpAddr], u16) -> Result<(), (IpAddr, Refusal)>;

impl Ports {
    /// Chooses and takes the port for a request on all of `addresses`.
    ///
    /// # Errors
    /// `Conflict` when none is free.
    pub fn take(
        &mut self,
        request: &PortRequest,
        addresses: &[IpAddr],
        ephemeral: (u16, u16),
        probe: Probe<'_>,
    ) -> Result<Vec<PublishedPort>> {
        let Some(address) = addresses.first() else { return Ok(Vec::new()) };
        let last_key = (request.protocol, *address);
        let mut refused = None;
        for port in self.candidates(request, last_key, ephemeral) {
            match self.free(request.protocol, addresses, port, probe) {
                Ok(()) => {
                    if request.ports.is_none() {
                        self.last.insert(last_key, port);
                    }
                    return Ok(self.hold(request, addresses, port));
                }
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        Err(match (request.ports, refused) {
            (Some((first, last)), Some(refused)) if first == last => refused,
            (Some((first, _)), _) => Error::conflict(format!(
                "Bind for {} failed: all ports are allocated",
                endpoint(*address, first)
            )),
            (None, _) => Error::conflict(format!(
                "Bind for {} failed: all ports are allocated",
                endpoint(*address, 0)
            )),
        })
    }

    /// The ports that will do, in the order in which they are tried: one after the other from where the last was found,
    /// as Docker does.
    fn candidates(
        &self,
        request: &PortRequest,
        last: (Protocol, IpAddr),
        ephemeral: (u16, u16),
    ) -> Box<dyn Iterator<Item = u16>> {
        match request.ports {
            Some((first, last)) => Box::new(first..=last),
            None => {
                let (low, high) = ephemeral;
                let after = self.last.get(&last).filter(|n| (low..high).contains(*n));
                let start = after.map_or(low, |n| n + 1);
                Box::new((start..=high).chain(low..start))
            }
        }
    }

    fn free(
        &self,
        protocol: Protocol,
        addresses: &[IpAddr],
        port: u16,
        probe: Probe<'_>,
    ) -> Result<()> {
        for address in addresses {
            if self.is_taken(protocol, *address, port) {
                let at = endpoint(*address, port);
                return Err(Error::conflict(format!(
                    "Bind for {at} failed: port is already allocated"
                )));
            }
        }
        probe(protocol, addresses, port).map_err(|(address, refusal)| {
            let family = if address.is_ipv4() { "4" } else { "6" };
            let listen = format!("listen {protocol}{family} {}: bind: ", endpoint(address, port));
            match refusal {
                Refusal::InUse(None) => Error::conflict(format!("{listen}address already in use")),
                Refusal::InUse(Some(who)) => {
                    Error::conflict(format!("{listen}address already in use (by {who})"))
                }
                Refusal::NoAddress => {
                    Error::conflict(format!("{listen}cannot assign requested address"))
                }
                Refusal::Other(text) => Error::internal(format!("{listen}{text}")),
            }
        })
    }

    fn is_taken(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let at = |address| {
            self.taken.get(&(protocol, address)).is_some_and(|ports| ports.contains(&port))
        };
        if !address.is_unspecified() {
            let any = if address.is_ipv4() { ANY4 } else { ANY6 };
            return at(address) || at(any);
        }
        self.taken.iter().any(|((of, other), ports)| {
            *of == protocol && other.is_ipv4() == address.is_ipv4() && ports.contains(&port)
        })
    }

    fn hold(
        &mut self,
        request: &PortRequest,
        addresses: &[IpAddr],
        port: u16,
    ) -> Vec<PublishedPort> {
        for address in addresses {
            self.taken.entry((request.protocol, *address)).or_default().insert(port..=port);
        }
        let published = |address: &IpAddr| PublishedPort {
            protocol: request.protocol,
            container: request.container,
            address: *address,
            port,
        };
        addresses.iter().map(published).collect()
    }

    /// Takes ports as they were bound before.
    pub fn adopt(&mut self, ports: &[PublishedPort]) {
        for port in ports.iter().filter(|port| port.port != 0) {
            let at = self.taken.entry((port.protocol, port.address)).or_default();
            at.insert(port.port..=port.port);
        }
    }

    /// Gives ports back.
    pub fn release(&mut self, ports: &[PublishedPort]) {
        for port in ports {
            let key = (port.protocol, port.address);
            let Some(ports) = self.taken.get_mut(&key) else { continue };
            ports.remove(port.port..=port.port);
            if ports.is_empty() {
                self.taken.remove(&key);
            }
        }
    }

    /// Whether none is taken.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

/// The host's addresses of a port that was asked for without one.
pub fn default_addresses(
    binding: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    families: (bool, bool),
) -> Vec<IpAddr> {
    let (v4, v6) = binding;
    let four = v4.unwrap_or(Ipv4Addr::UNSPECIFIED);
    // Who binds IPv4 to one address has not asked for all of IPv6.
    let six = v6.or((four.is_unspecified()).then_some(Ipv6Addr::UNSPECIFIED));
    let four = families.0.then_some(IpAddr::V4(four));
    four.into_iter().chain(six.filter(|_| families.1).map(IpAddr::V6)).collect()
}

/// `0.0.0.0:80`, `[::]:80`.
fn endpoint(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(ports: Option<(u16, u16)>) -> PortRequest {
        PortRequest { protocol: Protocol::Tcp, container: 80, address: None, ports }
    }

    fn any() -> Vec<IpAddr> {
        default_addresses((None, None), (true, true))
    }

    fn free() -> impl FnMut(Protocol, &[IpAddr], u16) -> Result<(), (IpAddr, Refusal)> {
        |_, _, _| Ok(())
    }

    fn take(ports: &mut Ports, wanted: Option<(u16, u16)>, at: &[IpAddr]) -> Result<u16, String> {
        ports
            .take(&request(wanted), at, (32768, 32770), &mut free())
            .map(|got| got[0].port)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn both_families_get_the_same_number() {
        let mut ports = Ports::default();
        let got = ports.take(&request(None), &any(), (32768, 60999), &mut free()).unwrap();
        let shown: Vec<_> = got.iter().map(|p| format!("{} {}", p.address, p.port)).collect();
        assert_eq!(shown, ["0.0.0.0 32768", ":: 32768"]);
        ports.release(&got);
        assert!(ports.is_empty());
    }

    #[test]
    fn numbers_go_on_from_the_last_and_around() {
        let mut ports = Ports::default();
        let (a, b, c) = (
            take(&mut ports, None, &any()).unwrap(),
            take(&mut ports, None, &any()).unwrap(),
            take(&mut ports, None, &any()).unwrap(),
        );
        assert_eq!((a, b, c), (32768, 32769, 32770));
        assert_eq!(
            take(&mut ports, None, &any()).unwrap_err(),
            "Bind for 0.0.0.0:0 failed: all ports are allocated"
        );
        let freed: Vec<_> = any()
            .iter()
            .map(|a| PublishedPort {
                protocol: Protocol::Tcp,
                container: 80,
                address: *a,
                port: 32769,
            })
            .collect();
        ports.release(&freed);
        assert_eq!(take(&mut ports, None, &any()).unwrap(), 32769);
    }

    #[test]
    fn a_port_has_one_owner_an_address() {
        let mut ports = Ports::default();
        let v4 = |a: &str| vec![a.parse::<IpAddr>().unwrap()];
        take(&mut ports, Some((80, 80)), &any()).unwrap();
        assert_eq!(
            take(&mut ports, Some((80, 80)), &any()).unwrap_err(),
            "Bind for 0.0.0.0:80 failed: port is already allocated"
        );
        assert!(take(&mut ports, Some((80, 80)), &v4("127.0.0.1")).is_err());
        take(&mut ports, Some((81, 81)), &v4("127.0.0.1")).unwrap();
        take(&mut ports, Some((81, 81)), &v4("127.0.0.2")).unwrap();
        take(&mut ports, Some((81, 81)), &v4("::")).unwrap();
        assert!(take(&mut ports, Some((81, 81)), &v4("0.0.0.0")).is_err());
        // A range gives its first that is free.
        assert_eq!(take(&mut ports, Some((80, 82)), &any()).unwrap(), 82);
        assert_eq!(
            take(&mut ports, Some((80, 82)), &any()).unwrap_err(),
            "Bind for 0.0.0.0:80 failed: all ports are allocated"
        );
    }

    #[test]
    fn what_the_kernel_says_is_told() {
        let mut ports = Ports::default();
        let mut told = |refusal: Refusal| {
            let mut probe = |_: Protocol, a: &[IpAddr], _: u16| Err((a[0], refusal.clone()));
            ports
                .take(&request(Some((81, 81))), &any(), (1, 2), &mut probe)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            told(Refusal::InUse(Some("nginx, process 7".into()))),
            "listen tcp4 0.0.0.0:81: bind: address already in use (by nginx, process 7)"
        );
        assert_eq!(
            told(Refusal::NoAddress),
            "listen tcp4 0.0.0.0:81: bind: cannot assign requested address"
        );
    }

    #[test]
    fn addresses_of_a_port_without_one() {
        let home = Some(Ipv4Addr::LOCALHOST);
        for (binding, families, expected) in [
            ((None, None), (true, true), "0.0.0.0 ::"),
            ((None, None), (true, false), "0.0.0.0"),
            ((None, None), (false, true), "::"),
            ((home, None), (true, true), "127.0.0.1"),
            ((home, Some(Ipv6Addr::LOCALHOST)), (true, true), "127.0.0.1 ::1"),
        ] {
            let all = default_addresses(binding, families);
            let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), expected);
        }
    }
}
