//! Queries that are passed on, and whether what comes back answers them.

use crate::message::{CLASS_IN, HEADER, TYPE_A, TYPE_AAAA, question};
use crate::name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A query on its way out: the client's bytes under an id of its own.
#[derive(Debug, Clone)]
pub struct Relayed {
    bytes: Vec<u8>,
    client: u16,
    id: u16,
}

/// What a server said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// This is the answer, to be passed on.
    Answer,
    /// The server failed or refuses: another may know better.
    Failure,
    /// This is no answer to this query. Somebody guesses.
    Foreign,
}

impl Relayed {
    /// Passes on `query`, which [`Query::parse`](crate::Query::parse) understood, under the unguessable `id`.
    pub fn new(query: &[u8], id: u16) -> Self {
        let mut bytes = query.to_vec();
        let client = u16::from_be_bytes([bytes[0], bytes[1]]);
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        Self { bytes, client, id }
    }

    /// What is sent to a server.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `reply` is the answer to this query: same id, same question. Where it came from is the caller's concern.
    pub fn judge(&self, reply: &[u8]) -> Reply {
        let Some(header) = reply.first_chunk::<HEADER>() else { return Reply::Foreign };
        let is_answer = header[2] & 0x80 != 0 && header[2] & 0x78 == self.bytes[2] & 0x78;
        if header[..2] != self.id.to_be_bytes() || !is_answer {
            return Reply::Foreign;
        }
        let failed = matches!(header[3] & 0x0f, 2 | 5);
        if header[4..6] == [0, 0] {
            // Some servers leave the question out when they fail; an answer without a question is none.
            return if header[3] & 0x0f == 0 { Reply::Foreign } else { Reply::Failure };
        }
        let same = match (question(reply), question(&self.bytes)) {
            (Some((name, kind, class, _)), Some((asked, asked_kind, asked_class, _))) => {
                kind == asked_kind
                    && class == asked_class
                    && name.wire().eq_ignore_ascii_case(asked.wire())
            }
            _ => false,
        };
        match (same, failed) {
            (false, _) => Reply::Foreign,
            (true, true) => Reply::Failure,
            (true, false) => Reply::Answer,
        }
    }

    /// The answer for the client: its own id, and no longer than `limit`. What is longer is cut to the question and says
    /// so, and the client asks again over TCP.
    pub fn for_client(&self, reply: &mut Vec<u8>, limit: usize) {
        reply[..2].copy_from_slice(&self.client.to_be_bytes());
        if reply.len() > limit {
            let end = question(reply).map_or(HEADER, |(_, _, _, end)| end);
            reply.truncate(end);
            reply[2] |= 0x02; // TC
            reply[6..HEADER].fill(0);
            if end == HEADER {
                reply[4..6].fill(0);
            }
        }
    }
}

/// The addresses in an answer and for how many seconds they hold. Aliases are passed over: whoever answers says what they
/// stand for. Ends at what is not whole.
pub fn addresses(answer: &[u8]) -> Vec<(IpAddr, u32)> {
    let mut found = Vec::new();
    let Some((_, _, _, mut at)) = question(answer) else { return found };
    let count = u16::from_be_bytes([answer[6], answer[7]]);
    for _record in 0..count {
        let Some(start) = name::skip(answer, at) else { break };
        let Some(&[k0, k1, c0, c1, t0, t1, t2, t3, l0, l1]) =
            answer.get(start..).and_then(|rest| rest.first_chunk::<10>())
        else {
            break;
        };
        let end = start + 10 + usize::from(u16::from_be_bytes([l0, l1]));
        let Some(data) = answer.get(start + 10..end) else { break };
        at = end;
        if u16::from_be_bytes([c0, c1]) != CLASS_IN {
            continue;
        }
        let address: Option<IpAddr> = match u16::from_be_bytes([k0, k1]) {
            TYPE_A => <[u8; 4]>::try_from(data).ok().map(|a| Ipv4Addr::from(a).into()),
            TYPE_AAAA => <[u8; 16]>::try_from(data).ok().map(|a| Ipv6Addr::from(a).into()),
            _ => None,
        };
        found.extend(address.map(|address| (address, u32::from_be_bytes([t0, t1, t2, t3]))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `a.b` and an answer: `a.b` is an alias of `c`, which has two addresses.
    fn answer() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, 4, 0, 0, 0, 0];
        bytes.extend(b"\x01a\x01b\0\0\x01\0\x01");
        bytes.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x03\x01c\0");
        bytes.extend(b"\x01c\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07");
        bytes.extend(b"\x01c\0\0\x1c\0\x01\0\0\0\x05\0\x10");
        bytes.extend("2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        // Another class, and a length that is not an address's.
        bytes.extend(b"\x01c\0\0\x01\0\x03\0\0\0\x3c\0\x04\x01\x02\x03\x04");
        bytes
    }

    #[test]
    fn addresses_behind_an_alias() {
        let found: Vec<_> =
            addresses(&answer()).into_iter().map(|(a, ttl)| (a.to_string(), ttl)).collect();
        assert_eq!(found, [("192.0.2.7".to_owned(), 60), ("2001:db8::7".to_owned(), 5)]);
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let whole = answer();
        for length in 0..whole.len() {
            assert!(addresses(&whole[..length]).len() <= 2);
        }
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 0xff;
            let _whatever = addresses(&changed);
        }
        assert!(addresses(&[]).is_empty());
    }
}
