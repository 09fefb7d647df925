//! What rules say.

use crate::set::{Kind, Set};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// One table, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's name.
    pub name: String,
    /// Which packets it sees.
    pub family: Family,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains; one that another jumps to may come later in the list.
    pub chains: Vec<Chain>,
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4 alone.
    Ip,
    /// IPv6 alone.
    Ip6,
    /// Frames that a bridge passes on.
    Bridge,
}

/// Rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the table.
    pub name: String,
    /// Where packets enter it from the kernel; `None` when only other chains lead here.
    pub base: Option<Base>,
    /// The first that matches and decides, wins.
    pub rules: Vec<Rule>,
}

/// How a chain hangs in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What the chain may do.
    pub kind: ChainKind,
    /// Which packets it sees.
    pub hook: Hook,
    /// Lower comes first. `filter` is 0, `dstnat` -100, `srcnat` 100.
    pub priority: i32,
    /// What happens to a packet that no rule decided on.
    pub policy: Policy,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Let through or drop.
    Filter,
    /// Translate addresses; it sees only the first packet of a connection.
    Nat,
}

/// Which packets a base chain sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// All that arrive, before routing.
    Prerouting,
    /// Those for the host itself.
    Input,
    /// Those that pass through.
    Forward,
    /// Those the host itself sends.
    Output,
    /// All that leave, after routing.
    Postrouting,
}

/// The end of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The packet goes on to other programs' chains.
    Accept,
    /// The packet is gone.
    Drop,
}

/// If all matches hold, the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All must hold; none always do.
    pub matches: Vec<Match>,
    /// What then happens.
    pub action: Action,
    /// For whoever reads `nft list ruleset`; at most 127 bytes.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(matches: impl Into<Vec<Match>>, action: Action) -> Self {
        Self { matches: matches.into(), action, comment: None }
    }

    /// The same rule with a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }
}

/// A question about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It came in through this link.
    In(String),
    /// It came in through another link than this.
    NotIn(String),
    /// It goes out through this link.
    Out(String),
    /// It goes out through another link than this.
    NotOut(String),
    /// It is IPv4.
    Ipv4,
    /// It is IPv6.
    Ipv6,
    /// Its source is in this subnet.
    Source(IpNet),
    /// Its destination is in this subnet.
    Destination(IpNet),
    /// Its destination is not in this subnet.
    NotDestination(IpNet),
    /// This IPv4 address of a frame that is known to be IPv4 is in 127.0.0.0/8.
    Loopback4(Load),
    /// Its connection is in one of these states.
    State(State),
    /// Its connection's destination was translated: somebody published this port.
    DestinationTranslated,
    /// It carries this protocol: 6 is TCP.
    Protocol(u8),
    /// It is an ICMPv6 message of this type.
    Icmpv6(u8),
    /// It is an ICMP message of this type.
    Icmp(u8),
    /// It is TCP and has one of these flags: 1 is FIN, 2 SYN, 4 RST.
    TcpFlags(u8),
    /// It is a part of an IPv4 packet, and not the first: ports are in another.
    Fragment4,
    /// There have been at most so many a second of the same key. The set is a [`Data::Fleeting`](crate::Data::Fleeting)
    /// of its own.
    Pace {
        /// The parts of the key.
        of: Vec<Load>,
        /// The set in which they are counted.
        set: String,
        /// So many a second for long.
        rate: u32,
        /// So many at once.
        burst: u32,
    },
    /// Its destination is an address of the host.
    Local,
    /// Its mark, masked, is this value.
    Mark {
        /// The value.
        value: u32,
        /// The bits that count.
        mask: u32,
    },
    /// What is loaded of it is in this set, or is not.
    Known {
        /// The parts of the key.
        of: Vec<Load>,
        /// The set.
        set: String,
        /// It is not.
        not: bool,
    },
}

impl Match {
    /// The parts of a packet are in this set.
    pub fn known(of: impl Into<Vec<Load>>, set: &str) -> Self {
        Self::Known { of: of.into(), set: set.into(), not: false }
    }
}

/// A part of a packet that sets are asked for. Where it names an IP version, packets of the other are no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// The link it came in through; of a bridged frame, the port.
    In,
    /// The link it goes out through.
    Out,
    /// What is in the frame.
    EtherType,
    /// What is in the packet.
    Protocol,
    /// The frame's source.
    SourceMac,
    /// In an ARP frame, the Ethernet address that the sender claims.
    ArpMac,
    /// In an ARP frame, the IPv4 address that the sender claims.
    ArpSource,
    /// The IPv4 source.
    Source4,
    /// The IPv4 destination.
    Destination4,
    /// The IPv6 source.
    Source6,
    /// The IPv6 destination.
    Destination6,
    /// The IPv4 source of a frame that is known to be IPv4.
    BridgedSource4,
    /// The IPv6 source of a frame that is known to be IPv6.
    BridgedSource6,
    /// The IPv4 destination of a packet that is known to be IPv4.
    BridgedDestination4,
    /// The IPv6 destination of a frame that is known to be IPv6.
    BridgedDestination6,
    /// The destination port of TCP, UDP or SCTP.
    DestinationPort,
    /// The source port of TCP, UDP or SCTP.
    SourcePort,
    /// In a neighbour advertisement, the IPv6 address that the sender claims.
    NeighbourTarget,
}

impl Load {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::In | Self::Out => Kind::Link,
            Self::EtherType => Kind::EtherType,
            Self::Protocol => Kind::Protocol,
            Self::SourceMac | Self::ArpMac => Kind::Mac,
            Self::ArpSource
            | Self::Source4
            | Self::Destination4
            | Self::BridgedSource4
            | Self::BridgedDestination4 => Kind::V4,
            Self::Source6
            | Self::Destination6
            | Self::BridgedSource6
            | Self::BridgedDestination6
            | Self::NeighbourTarget => Kind::V6,
            Self::DestinationPort | Self::SourcePort => Kind::Port,
        }
    }
}

/// States of a connection, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(pub(crate) u32);

impl State {
    /// Packets in both directions have been seen.
    pub const ESTABLISHED: Self = Self(2);
    /// It belongs to an established one, as an ICMP error.
    pub const RELATED: Self = Self(4);
    /// The first packet.
    pub const NEW: Self = Self(8);
    /// No connection that could be.
    pub const INVALID: Self = Self(1);

    /// Either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It leaves our table; other programs' chains may still drop it.
    Accept,
    /// It is gone.
    Drop,
    /// The chain of this name, then back.
    Jump(String),
    /// The chain of this name, not back.
    Goto(String),
    /// Back to where this chain was jumped to from.
    Return,
    /// Its source becomes the address of the link it leaves through.
    Masquerade,
    /// Its source becomes this address.
    Snat(IpAddr),
    /// It goes to this port of the host.
    Redirect(u16),
    /// A copy leaves through the link of this number, to this neighbour there, whatever becomes of the packet itself. In
    /// tables of one family alone.
    Copy {
        /// The neighbour, of the table's family.
        to: IpAddr,
        /// The link.
        link: u32,
    },
    /// Its parts are in the set from now on, for so long; the next rule follows. The set is
    /// [`Data::Fleeting`](crate::Data::Fleeting).
    Remember {
        /// The parts of the key.
        of: Vec<Load>,
        /// The set.
        set: String,
        /// For how long.
        time: Duration,
    },
    /// Its first bytes are told to whoever listens to this group of `nfnetlink_log`; the next rule follows.
    Log(u16),
    /// What the map says of these parts; the next rule if it says nothing.
    Map {
        /// The parts of the key.
        of: Vec<Load>,
        /// The map, of verdicts.
        map: String,
    },
    /// It goes where the map says; the next rule if it says nothing.
    Dnat {
        /// The parts of the key.
        of: Vec<Load>,
        /// The map, of addresses or of addresses and ports.
        map: String,
        /// The addresses are IPv6.
        ipv6: bool,
        /// The map says the port too; otherwise it stays.
        port: bool,
    },
}
