//! Desired firewall rules as values, and the netlink batches that apply them.
//!
//! ```text
//!   Ruleset ──encode (pure)──▶ one netlink transaction ──Firewall::replace──▶ kernel: the old table, then the new one
//! ```
//!
//! Tables are written whole, in one transaction: no packet ever meets a half-written table. Between two such writings
//! elements of their sets come and go, each time in one transaction of 0.05 ms. Other programs' tables are never touched. The words are those of `nft(8)`; numbers are from
//! `linux/netfilter/nf_tables.h`.

#![forbid(unsafe_code)]

mod encode;
mod foreign;
mod log;
mod ruleset;
mod set;

pub use encode::{EncodeError, encode, encode_changes, encode_renewal, keep};
pub use foreign::{Edit, Place, Seen, SeenRule};
pub use log::{Denied, Log, can_log};
pub use ruleset::{
    Action, Base, Chain, ChainKind, Family, Hook, Load, Match, Policy, Rule, Ruleset, State,
};
pub use set::{Change, Data, Element, Field, Kind, Set, Value};

use encode::{FAMILY_INET, message_kind, nfgen};
use stdx::{Error, Result};
use sys::netlink::{self, Batch, Protocol, Socket};

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFT_MSG_NEWGEN: u16 = 15;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_TABLE_NAME: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const ENOTEMPTY: i32 = 39;

/// The way to the kernel's nf_tables, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
}

impl Firewall {
    /// Opens the way.
    pub fn open() -> Result<Self> {
        let socket =
            Socket::open(Protocol::Netfilter).map_err(|e| Error::io("open nf_tables socket", e))?;
        Ok(Self { socket })
    }

    /// The number by which the kernel announces what this does ([`sys::netlink::Message::port`]).
    pub fn port(&self) -> Result<u32> {
        self.socket.port().map_err(|e| Error::io("number of the nf_tables socket", e))
    }

    /// Makes the tables be exactly these, whatever they were before. All or nothing.
    pub fn replace(&mut self, rulesets: &[Ruleset]) -> Result<()> {
        let batch =
            encode(rulesets).map_err(|e| Error::internal("firewall tables").caused_by(e))?;
        self.write(batch)
    }

    /// Sends a transaction that [`encode`] made.
    pub fn write(&mut self, batch: Batch) -> Result<()> {
        self.socket.execute(batch).map_err(|e| refused("write firewall tables", e))
    }

    /// Lets elements of sets come and go, all or nothing. `false`: what is there is not what is assumed here, so that the
    /// tables must be written whole.
    pub fn change(&mut self, changes: &[Change]) -> Result<bool> {
        let batch = encode_changes(changes);
        if batch.is_empty() {
            return Ok(true);
        }
        match self.socket.execute(batch) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.errno(), Some(ENOENT | EEXIST | EBUSY | ENOTEMPTY)) => Ok(false),
            Err(e) => Err(refused("change firewall tables", e)),
        }
    }

    /// Removes the table. That there is none is success.
    pub fn delete(&mut self, family: Family, table: &str) -> Result<()> {
        let mut batch = Batch::transaction(encode::SUBSYSTEM);
        batch.message(message_kind(NFT_MSG_DELTABLE), 0, &nfgen(family.number()), |a| {
            a.string(NFTA_TABLE_NAME, table);
        });
        match self.socket.execute(batch) {
            Err(e) if e.errno() == Some(ENOENT) => Ok(()),
            result => result.map_err(|e| refused(&format!("delete firewall table {table}"), e)),
        }
    }

    /// Whether there is a table of this name.
    pub fn has(&mut self, family: Family, table: &str) -> Result<bool> {
        let mut batch = Batch::new();
        batch.message(message_kind(NFT_MSG_GETTABLE), 0, &nfgen(family.number()), |a| {
            a.string(NFTA_TABLE_NAME, table);
        });
        match self.socket.query(&batch) {
            Ok(_) => Ok(true),
            Err(e) if e.errno() == Some(ENOENT) => Ok(false),
            Err(e) => Err(refused(&format!("look for firewall table {table}"), e)),
        }
    }

    /// The names of all tables of family `inet`, ours and others'.
    pub fn tables(&mut self) -> Result<Vec<String>> {
        let mut batch = Batch::new();
        batch.message(message_kind(NFT_MSG_GETTABLE), NLM_F_DUMP, &nfgen(FAMILY_INET), |_| {});
        let answers = self
            .socket
            .query(&batch)
            .map_err(|e| Error::internal("list firewall tables").caused_by(e))?;
        Ok(answers
            .iter()
            .filter(|m| {
                m.kind == message_kind(NFT_MSG_NEWTABLE) && m.body.first() == Some(&FAMILY_INET)
            })
            .filter_map(|m| {
                m.attributes(4).find(|(kind, _)| *kind == NFTA_TABLE_NAME).map(|(_, v)| v.to_vec())
            })
            .map(|name| {
                String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(&name)).into_owned()
            })
            .collect())
    }
}

/// Whether a message of the kernel's notification group tells of a change of a table of this name.
pub fn is_change_of(message: &netlink::Message, table: &str) -> bool {
    // The name is attribute 1 of tables, chains, rules, sets and lists of elements alike.
    message.kind >> 8 == encode::SUBSYSTEM
        && message.attributes(4).any(|(kind, name)| {
            kind == NFTA_TABLE_NAME && name.strip_suffix(&[0]).unwrap_or(name) == table.as_bytes()
        })
        && message.kind & 0xff != NFT_MSG_NEWGEN
}

/// The set whose elements came or went by a message.
pub fn changed_elements(message: &netlink::Message) -> Option<String> {
    let is_element = [NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM].map(message_kind);
    if !is_element.contains(&message.kind) {
        return None;
    }
    let (_, name) = message.attributes(4).find(|(kind, _)| *kind == NFTA_SET_ELEM_LIST_SET)?;
    Some(String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned())
}

/// Whether a message tells of chains or rules that came, went or changed: one may drop what we let through.
pub fn may_block(message: &netlink::Message) -> bool {
    // NFT_MSG_NEWCHAIN, DELCHAIN, DELRULE; a table that goes takes its chains along, each with a message.
    [3, 5, 8].iter().any(|kind| message.kind == message_kind(*kind))
}

fn refused(doing: &str, error: netlink::Error) -> Error {
    Error::internal(doing).caused_by(error)
}
