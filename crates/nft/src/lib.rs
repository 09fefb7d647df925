//! Desired firewall rules as values, and the netlink batches that apply them.
//!
//! ```text
//!   Ruleset ──encode (pure)──▶ one netlink transaction ──Firewall::replace──▶ kernel: the old table, then the new one
//! ```
//!
//! There is one table of ours. It is always written whole, in one transaction: no packet ever meets a half-written
//! table. Other programs' tables are never touched. The words are those of `nft(8)`; numbers are from
//! `linux/netfilter/nf_tables.h`.

#![forbid(unsafe_code)]

mod encode;
mod ruleset;

pub use encode::{EncodeError, encode};
pub use ruleset::{Action, Base, Chain, ChainKind, Hook, Match, Policy, Rule, Ruleset, State};

use encode::{FAMILY_INET, message_kind, nfgen};
use stdx::{Error, Result};
use sys::netlink::{self, Batch, Protocol, Socket};

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFTA_TABLE_NAME: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const ENOENT: i32 = 2;

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

    /// Makes the table `ruleset.name` be exactly this, whatever it was before. All or nothing.
    pub fn replace(&mut self, ruleset: &Ruleset) -> Result<()> {
        let batch = encode(ruleset).map_err(|e| {
            Error::internal(format!("firewall table {}", ruleset.name)).caused_by(e)
        })?;
        self.socket.execute(batch).map_err(|e| refused("write", &ruleset.name, e))
    }

    /// Removes the table. That there is none is success.
    pub fn delete(&mut self, table: &str) -> Result<()> {
        let mut batch = Batch::transaction(encode::SUBSYSTEM);
        batch.message(message_kind(NFT_MSG_DELTABLE), 0, &nfgen(FAMILY_INET), |a| {
            a.string(NFTA_TABLE_NAME, table);
        });
        match self.socket.execute(batch) {
            Err(e) if e.errno() == Some(ENOENT) => Ok(()),
            result => result.map_err(|e| refused("delete", table, e)),
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

fn refused(doing: &str, table: &str, error: netlink::Error) -> Error {
    Error::internal(format!("{doing} firewall table {table}")).caused_by(error)
}
