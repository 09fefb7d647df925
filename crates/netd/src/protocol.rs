//! What daemon and helper say to each other, on `EXEC-ROOT/netd/socket` (`SOCK_SEQPACKET`).
//!
//! ```text
//!   daemon                                      helper
//!   Hello {version}                         ─▶
//!                                           ◀─  Hello {version, pid, port}
//!   [sandboxes/<id>.json is there]
//!   Attach {sandbox} + network namespace    ─▶  sockets and redirect are there: queries are answered
//!                                           ◀─  Done                          or Failed
//!   [the container's first process is there]
//!   Owner {sandbox, pid} + its pidfd        ─▶  written down; when it ends, everything of the sandbox is let go
//!                                           ◀─  Done
//!   [a record was replaced or removed]
//!   Sandbox {id}, Network {id}              ─▶  read again
//!                                           ◀─  Done
//!   Detach {sandbox}                        ─▶  sockets and namespace let go
//!                                           ◀─  Done
//!   Firewall {netlink_port}                 ─▶  the file is read again; changes that come from this netlink port are
//!                                           ◀─  Done                          the daemon's own, as long as it is connected
//!   Watch                                   ─▶  what egress rules denied, from now on and as far as it is remembered
//!                                           ◀─  Done, Denied {…}, Denied {…}, …
//!   Status                                  ─▶
//!                                           ◀─  Status {…}
//!   Stop                                    ─▶  everything let go, the process ends
//!                                           ◀─  Done
//! ```
//!
//! One packet is one message in JSON; each request has one answer, in order. A sandbox that was attached and has no owner
//! yet is let go when the connection that attached it ends: its container was being started by a daemon that died.

use crate::state::Id;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of this protocol. A daemon that finds a helper of another stops it and starts its own.
pub const VERSION: u32 = 2;

/// No packet is longer than this many bytes.
pub const MAX_PACKET: usize = 16 << 10;

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you?
    Hello {
        /// The asker's [`VERSION`].
        version: u32,
    },
    /// Serve this sandbox, whose record is written. One descriptor: its network namespace.
    Attach {
        /// Which.
        sandbox: Id,
    },
    /// It lives as long as this process. One descriptor: its pidfd. A sandbox that is not attached yet (the helper was
    /// killed meanwhile) is attached through the process.
    Owner {
        /// Which.
        sandbox: Id,
        /// The process's number, by which a helper that is started again finds the namespace.
        pid: u32,
    },
    /// The sandbox's record was replaced or removed; its sockets stay.
    Sandbox {
        /// Which.
        id: Id,
    },
    /// The network's record was replaced or removed.
    Network {
        /// Which.
        id: Id,
    },
    /// Let go of the sandbox's namespace.
    Detach {
        /// Which.
        sandbox: Id,
    },
    /// The firewall file was written, or removed: then nothing is watched.
    Firewall {
        /// The netlink port (`nlmsg_pid`) by which the daemon changes our tables.
        netlink_port: Option<u32>,
    },
    /// What is denied? From now on this connection is told, and asks nothing more.
    Watch,
    /// How is it?
    Status,
    /// End.
    Stop,
}

impl Request {
    /// How many descriptors travel with it.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, Self::Attach { .. } | Self::Owner { .. }))
    }
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Hello`].
    Hello {
        /// The helper's [`VERSION`].
        version: u32,
        /// Its process.
        pid: u32,
        /// Where redirected connections are accepted, on 127.0.0.1 and every IPv6 address, and datagrams, on the latter.
        port: u16,
    },
    /// It is so.
    Done,
    /// To [`Request::Status`].
    Status(Status),
    /// After [`Request::Watch`], unasked.
    Denied(Denial),
    /// It is not so, and why.
    Failed(String),
}

/// Somebody tried what its egress rules do not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Who.
    pub sandbox: Id,
    /// The id of the network that it was to go by; empty for a name.
    #[serde(default)]
    pub network: String,
    /// What.
    pub what: Denied,
    /// How many more of the same were tried since the last that was told.
    #[serde(default)]
    pub again: u32,
}

/// What was denied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Denied {
    /// To ask for this name.
    Name(String),
    /// To send a packet.
    Packet {
        /// Where to, if it was an IP packet.
        address: Option<IpAddr>,
        /// The protocol's number: 6 is TCP.
        protocol: Option<u8>,
        /// The port, if the protocol has ports.
        port: Option<u16>,
        /// What was in the frame: 0x0800 is IPv4.
        ether_type: u16,
    },
}

/// Figures of a helper, since its start where they count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Sandboxes whose sockets are open.
    pub attached: usize,
    /// Sandboxes that have a record.
    pub sandboxes: usize,
    /// Networks that have a record.
    pub networks: usize,
    /// Queries that were answered from our own names.
    pub answered: u64,
    /// Queries that were asked outside.
    pub forwarded: u64,
    /// Of these, those that wait for their answer now.
    pub in_flight: usize,
    /// Packets that came to a waiting query and were not its answer.
    pub forged: u64,
    /// Clients on TCP now.
    pub tcp_clients: usize,
    /// Redirected connections now.
    pub relays: usize,
    /// Clients over UDP and ports that they talk to now.
    pub sessions: usize,
    /// Redirected datagrams that were for nobody, or could not be passed on.
    pub dropped: u64,
    /// How often the firewall was put back.
    pub replayed: u64,
    /// What egress rules denied and was not told twice.
    #[serde(default)]
    pub denied: u64,
}
