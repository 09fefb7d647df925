//! Queries that are passed on, and whether what comes back answers them.

use crate::message::{HEADER, question};

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
