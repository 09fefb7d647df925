//! Queries taken apart, answers put together.

use crate::TTL;
use crate::name::{self, Name};
use std::net::IpAddr;

/// Bytes of a message's header.
pub const HEADER: usize = 12;
/// `IN`, the Internet's class; others are not ours.
pub const CLASS_IN: u16 = 1;
/// An IPv4 address.
pub const TYPE_A: u16 = 1;
/// A name.
pub const TYPE_PTR: u16 = 12;
/// An IPv6 address.
pub const TYPE_AAAA: u16 = 28;
/// EDNS's record that is none.
const TYPE_OPT: u16 = 41;

/// What every client takes over UDP without EDNS.
const PLAIN_SIZE: usize = 512;
/// What we say that we take over UDP: fits every path (the value of DNS flag day 2020).
const OUR_SIZE: u16 = 1232;
/// What a message over TCP may have, by its two-byte length.
const TCP_SIZE: usize = 0xffff;

/// Response codes that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// It is so.
    NoError = 0,
    /// That was no question.
    FormErr = 1,
    /// Nobody could be asked, or nobody answered.
    ServFail = 2,
    /// Only questions are answered, no updates and the like.
    NotImp = 4,
    /// Too many questions at once.
    Refused = 5,
}

/// How a query came, which says how long the answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As long as the client says by EDNS, 512 bytes otherwise.
    Udp,
    /// Any length.
    Tcp,
}

/// What is no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It gets no answer: too short for a header, or itself an answer (two servers that answer each other never end).
    Ignore,
    /// It gets this code.
    Fail(Rcode),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Chosen by the client, repeated in the answer.
    pub id: u16,
    /// What is asked about.
    pub name: Name,
    /// The type of record that is wanted.
    pub kind: u16,
    /// Its class.
    pub class: u16,
    /// The client's bits that are repeated: recursion desired, checking disabled.
    flags: u16,
    /// The client knows EDNS and takes UDP answers of this size.
    pub udp_size: Option<u16>,
}

impl Query {
    /// Reads a query. All its records must be whole, whatever they are.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed::Ignore)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let flags = word(2);
        if flags & 0x8000 != 0 {
            return Err(Malformed::Ignore);
        }
        if flags & 0x7800 != 0 {
            return Err(Malformed::Fail(Rcode::NotImp));
        }
        if word(4) != 1 {
            return Err(Malformed::Fail(Rcode::FormErr));
        }
        let others = usize::from(word(6)) + usize::from(word(8)) + usize::from(word(10));
        question(bytes)
            .and_then(|(name, kind, class, end)| {
                let udp_size = edns(bytes, end, others)?;
                Some(Self { id: word(0), name, kind, class, flags: flags & 0x0110, udp_size })
            })
            .ok_or(Malformed::Fail(Rcode::FormErr))
    }

    /// The question alone, with the size that the client takes over UDP: nothing else that it said.
    pub fn alone(&self) -> Vec<u8> {
        let mut message = self.start(Rcode::NoError);
        message[2..4].copy_from_slice(&self.flags.to_be_bytes());
        self.finish(&mut message, 0);
        if let Some(size) = self.udp_size {
            let at = message.len() - OPT_SIZE + 3;
            message[at..at + 2].copy_from_slice(&size.to_be_bytes());
        }
        message
    }

    /// How long an answer may be.
    pub fn limit(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => TCP_SIZE,
            Transport::Udp => self.udp_size.map_or(PLAIN_SIZE, |s| usize::from(s).max(PLAIN_SIZE)),
        }
    }

    /// An answer without records.
    pub fn empty(&self, rcode: Rcode) -> Vec<u8> {
        let mut message = self.start(rcode);
        self.finish(&mut message, 0);
        message
    }

    /// The addresses of the name that are of the family asked for. What does not fit is left out, and said so.
    pub(crate) fn addresses(&self, addresses: &[IpAddr], transport: Transport) -> Vec<u8> {
        let records = addresses.iter().map(|address| match address {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        });
        self.records(records, transport)
    }

    /// The name of an address; `None` for a name that no message can hold.
    pub(crate) fn pointer(&self, name: &str, transport: Transport) -> Option<Vec<u8>> {
        Some(self.records(std::iter::once(name::encode(name)?), transport))
    }

    fn records(&self, data: impl Iterator<Item = Vec<u8>>, transport: Transport) -> Vec<u8> {
        let limit = self.limit(transport) - if self.udp_size.is_some() { OPT_SIZE } else { 0 };
        let mut message = self.start(Rcode::NoError);
        let mut count = 0u16;
        for data in data {
            if message.len() + 12 + data.len() > limit {
                message[2] |= 0x02; // TC
                break;
            }
            // The name is the question's, which begins after the header.
            message.extend_from_slice(&[0xc0, HEADER as u8]);
            message.extend_from_slice(&self.kind.to_be_bytes());
            message.extend_from_slice(&CLASS_IN.to_be_bytes());
            message.extend_from_slice(&TTL.to_be_bytes());
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(&data);
            count += 1;
        }
        self.finish(&mut message, count);
        message
    }

    /// Header and question.
    fn start(&self, rcode: Rcode) -> Vec<u8> {
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(&self.id.to_be_bytes());
        // An answer; recursion is available unless it just was not.
        let available = if rcode == Rcode::NoError { 0x80 } else { 0 };
        let flags = 0x8000 | self.flags | available | rcode as u16;
        message.extend_from_slice(&flags.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(self.name.wire());
        message.extend_from_slice(&self.kind.to_be_bytes());
        message.extend_from_slice(&self.class.to_be_bytes());
        message
    }

    fn finish(&self, message: &mut Vec<u8>, answers: u16) {
        message[6..8].copy_from_slice(&answers.to_be_bytes());
        if self.udp_size.is_some() {
            message[11] = 1;
            message.push(0);
            message.extend_from_slice(&TYPE_OPT.to_be_bytes());
            message.extend_from_slice(&OUR_SIZE.to_be_bytes());
            message.extend_from_slice(&[0; 6]);
        }
    }
}

/// Bytes of an OPT record without options.
const OPT_SIZE: usize = 11;

/// An answer to what is no query that could be understood: its header alone. `None` if it has none.
pub fn failure(bytes: &[u8], rcode: Rcode) -> Option<Vec<u8>> {
    let header = bytes.first_chunk::<HEADER>()?;
    let mut message = vec![0; HEADER];
    message[..2].copy_from_slice(&header[..2]);
    message[2] = 0x80 | header[2] & 0x79;
    message[3] = rcode as u8;
    Some(message)
}

/// The first question of a message, and where what follows it begins.
pub(crate) fn question(bytes: &[u8]) -> Option<(Name, u16, u16, usize)> {
    let name = Name::parse(bytes.get(HEADER..)?)?;
    let end = HEADER + name.wire().len() + 4;
    let [k0, k1, c0, c1] = *bytes.get(end - 4..end)?.first_chunk::<4>()?;
    Some((name, u16::from_be_bytes([k0, k1]), u16::from_be_bytes([c0, c1]), end))
}

/// Looks through `count` records for EDNS's; `None` when they are not whole.
fn edns(bytes: &[u8], mut at: usize, count: usize) -> Option<Option<u16>> {
    let mut size = None;
    for _record in 0..count {
        at = name::skip(bytes, at)?;
        let fixed = bytes.get(at..at + 10)?;
        if u16::from_be_bytes([fixed[0], fixed[1]]) == TYPE_OPT {
            size = Some(u16::from_be_bytes([fixed[2], fixed[3]]));
        }
        at += 10 + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        if at > bytes.len() {
            return None;
        }
    }
    Some(size)
}

#[cfg(test)]
mod tests;
