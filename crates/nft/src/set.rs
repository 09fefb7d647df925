//! Sets and maps, and changes of what is in them.

use crate::ruleset::{Action, Family};
use std::net::IpAddr;
use std::time::Duration;

/// Keys, and with data a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name in the table.
    pub name: String,
    /// What a key consists of.
    pub key: Vec<Kind>,
    /// What a key leads to.
    pub data: Data,
    /// Keys may have ranges ([`Field::Ports`], [`Field::Any4`]); they consist of two fields or more then.
    pub ranges: bool,
    /// What is in it.
    pub elements: Vec<Element>,
}

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A link's name.
    Link,
    /// An Ethernet address.
    Mac,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// What is in an IP packet: 6 is TCP.
    Protocol,
    /// A port.
    Port,
    /// What is in an Ethernet frame: 0x0800 is IPv4.
    EtherType,
}

impl Kind {
    /// How many bytes it has.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Link | Self::V6 => 16,
            Self::Mac => 6,
            Self::V4 => 4,
            Self::Protocol => 1,
            Self::Port | Self::EtherType => 2,
        }
    }
}

/// What a set's keys lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing: they are in it or not.
    None,
    /// What happens to the packet.
    Verdict,
    /// Where the packet goes: an address, and perhaps a port.
    Fields(Vec<Kind>),
    /// Nothing; keys go by themselves after a time, and rules may put them there ([`Action::Remember`]).
    Fleeting {
        /// How many there can be.
        most: u32,
    },
}

/// A key and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// One field for each of the set's.
    pub key: Vec<Field>,
    /// Of the set's data.
    pub value: Value,
}

/// A part of a key or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A link's name.
    Link(String),
    /// An Ethernet address.
    Mac([u8; 6]),
    /// An address.
    Address(IpAddr),
    /// All IPv4 addresses.
    Any4,
    /// All IPv6 addresses.
    Any6,
    /// Addresses from the first to the last, of one family.
    Addresses(IpAddr, IpAddr),
    /// What is in an IP packet.
    Protocol(u8),
    /// A port.
    Port(u16),
    /// Ports from the first to the last.
    Ports(u16, u16),
    /// What is in an Ethernet frame.
    EtherType(u16),
}

impl Field {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Link(_) => Kind::Link,
            Self::Mac(_) => Kind::Mac,
            Self::Address(IpAddr::V4(_)) | Self::Addresses(IpAddr::V4(_), _) | Self::Any4 => {
                Kind::V4
            }
            Self::Address(IpAddr::V6(_)) | Self::Addresses(IpAddr::V6(_), _) | Self::Any6 => {
                Kind::V6
            }
            Self::Protocol(_) => Kind::Protocol,
            Self::Port(_) | Self::Ports(..) => Kind::Port,
            Self::EtherType(_) => Kind::EtherType,
        }
    }
}

/// What a key leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// Nothing, and the key goes after this time.
    For(Duration),
    /// One of the actions that decide: accept, drop, jump, goto, return.
    Verdict(Action),
    /// Fields.
    Fields(Vec<Field>),
}

/// Elements of one set that come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The set.
    pub set: String,
    /// What comes.
    pub add: Vec<Element>,
    /// What goes; it is there.
    pub remove: Vec<Element>,
}
