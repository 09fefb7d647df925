//! Building and taking apart netlink messages.

use super::Error;

/// `NLMSG_ALIGNTO` and `NLA_ALIGNTO`.
pub(super) const ALIGN: usize = 4;
/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `NLM_F_REQUEST`.
const NLM_F_REQUEST: u16 = 1;
/// `NLM_F_ACK`.
const NLM_F_ACK: u16 = 4;
/// `NLA_F_NESTED`.
const NLA_F_NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// More than any plan of ours needs; against a runaway caller.
const BATCH_LIMIT: usize = 16 << 20;

/// Messages that are sent together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    transaction: Option<u16>,
    /// The attribute that could not be encoded; reported when the batch is sent.
    fault: Option<u16>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A netfilter transaction of `subsystem` (10 is nf_tables): all or nothing.
    pub fn transaction(subsystem: u16) -> Self {
        let mut batch = Self { transaction: Some(subsystem), ..Self::default() };
        batch.frame(BATCH_BEGIN, subsystem);
        batch
    }

    /// A transaction that was written down as the [`bytes`](Self::bytes) of one. `None` if they are none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_ne_bytes(bytes))
        };
        let kind = |at: usize| Some((word(at + 4)? & 0xffff) as u16);
        if bytes.len() > BATCH_LIMIT || kind(0)? != BATCH_BEGIN {
            return None;
        }
        let [high, low] = *bytes.get(HEADER + 2..HEADER + 4)? else { return None };
        let mut batch =
            Self { transaction: Some(u16::from_be_bytes([high, low])), ..Self::default() };
        let mut at = 0;
        while at < bytes.len() {
            let size = word(at)? as usize;
            if size < HEADER || size > bytes.len() - at || !size.is_multiple_of(ALIGN) {
                return None;
            }
            if kind(at)? == BATCH_END {
                break;
            }
            batch.starts.push(at);
            at += size;
        }
        batch.bytes = bytes[..at].to_vec();
        Some(batch)
    }

    /// The messages, as the kernel would announce them; a transaction's frame is not among them.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let frame = usize::from(self.transaction.is_some());
        self.starts.iter().skip(frame).map(|start| {
            let header = &self.bytes[*start..*start + HEADER];
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let body = self.bytes[start + HEADER..start + length as usize].to_vec();
            Message { kind, port: 0, body }
        })
    }

    /// Appends a message: its type, its flags beside `NLM_F_REQUEST`, the fixed part of its family, its attributes.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        put: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; HEADER]);
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        put(&mut Attributes { bytes: &mut self.bytes, fault: &mut self.fault });
        let length = (self.bytes.len() - start) as u32;
        if self.bytes.len() > BATCH_LIMIT {
            self.fault.get_or_insert(0);
        }
        let header = &mut self.bytes[start..start + HEADER];
        header[0..4].copy_from_slice(&length.to_ne_bytes());
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    }

    /// How many messages there are, not counting the frame of a transaction.
    pub fn len(&self) -> usize {
        self.starts.len() - usize::from(self.transaction.is_some())
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes so far, for tests of encoders.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Numbers the messages from `first` and asks for one acknowledgement, that of the last: refusals come unasked.
    /// Returns the number that will be acknowledged and the next free one.
    pub(super) fn finish(&mut self, first: u32) -> Result<(u32, u32), Error> {
        if let Some(kind) = self.fault {
            return Err(Error::Unencodable(kind));
        }
        if self.is_empty() {
            return Err(Error::Malformed("empty batch"));
        }
        let last = self.starts.len() - 1;
        let asked = self.starts[last] + 6;
        let flags = u16::from_ne_bytes([self.bytes[asked], self.bytes[asked + 1]]) | NLM_F_ACK;
        self.bytes[asked..asked + 2].copy_from_slice(&flags.to_ne_bytes());
        if let Some(subsystem) = self.transaction {
            self.frame(BATCH_END, subsystem);
        }
        let mut sequence = first;
        for start in &self.starts {
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1).max(1);
        }
        Ok((first + last as u32, sequence))
    }

    fn frame(&mut self, kind: u16, subsystem: u16) {
        // `struct nfgenmsg`: family, version, resource id in network order.
        let [high, low] = subsystem.to_be_bytes();
        self.message(kind, 0, &[0, 0, high, low], |_| {});
    }
}

/// Appends attributes to a message.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
    fault: &'a mut Option<u16>,
}

impl Attributes<'_> {
    /// An attribute with these bytes.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let Ok(length) = u16::try_from(value.len() + 4) else {
            self.fault.get_or_insert(kind);
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// A byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    /// A number in the machine's order, as rtnetlink wants it.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// A number in network order, as nf_tables wants it.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A text with its NUL. A text that contains NUL is an error when the batch is sent.
    pub fn string(&mut self, kind: u16, value: &str) {
        if value.contains('\0') {
            self.fault.get_or_insert(kind);
        }
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Raw bytes without a header, as the fixed part inside `VETH_INFO_PEER`.
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// An attribute made of attributes.
    pub fn nested(&mut self, kind: u16, put: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        put(&mut Attributes { bytes: self.bytes, fault: self.fault });
        let Ok(length) = u16::try_from(self.bytes.len() - start) else {
            self.fault.get_or_insert(kind);
            return;
        };
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
    }
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type, as `RTM_NEWLINK`.
    pub kind: u16,
    /// Who asked for what it tells of ([`Socket::port`](super::Socket::port)); 0 for the kernel itself.
    pub port: u32,
    /// The fixed part of its family and the attributes.
    pub body: Vec<u8>,
}

impl Message {
    /// The attributes after a fixed part of `fixed` bytes.
    pub fn attributes(&self, fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.body.get(fixed.next_multiple_of(ALIGN)..).unwrap_or_default())
    }
}

/// Takes attributes apart. Ends at the first that does not fit what is left.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK, value))
    })
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_round_trip_with_padding_and_nesting() {
        let mut batch = Batch::new();
        batch.message(16, 0, &[1, 2, 3], |a| {
            a.string(3, "lo");
            a.nested(18, |a| {
                a.u32(1, 7);
                a.u8(2, 9);
            });
        });
        let message = Message { kind: 16, port: 0, body: batch.bytes()[HEADER..].to_vec() };
        let outer: Vec<_> = message.attributes(3).collect();
        assert_eq!(outer[0], (3, &b"lo\0"[..]));
        assert_eq!(outer[1].0, 18);
        let inner: Vec<_> = attributes(outer[1].1).collect();
        assert_eq!(inner, [(1, &7u32.to_ne_bytes()[..]), (2, &[9][..])]);
    }

    #[test]
    fn what_does_not_fit_a_length_is_refused_not_wrapped() {
        // CVE-2021-43784: a length of 65536 + n wraps to n and lets the rest be read as further attributes.
        for size in [65_532, 65_536, 70_000] {
            let mut batch = Batch::new();
            batch.message(1, 0, &[], |a| a.put(5, &vec![0; size]));
            assert!(matches!(batch.finish(1), Err(Error::Unencodable(5))), "{size}");
        }
        let mut batch = Batch::new();
        batch.message(1, 0, &[], |a| a.nested(6, |a| (0..3).for_each(|_| a.put(1, &[0; 30_000]))));
        assert!(matches!(batch.finish(1), Err(Error::Unencodable(6))));
        let mut batch = Batch::new();
        batch.message(1, 0, &[], |a| a.string(3, "a\0b"));
        assert!(matches!(batch.finish(1), Err(Error::Unencodable(3))));
        let mut batch = Batch::new();
        batch.message(1, 0, &[], |a| a.put(5, &[0; 65_531]));
        assert!(batch.finish(1).is_ok());
    }

    #[test]
    fn a_transaction_that_was_written_down_is_the_same() {
        let mut batch = Batch::transaction(10);
        batch.message(0xa00, 0x400, &[1, 0, 0, 0], |a| a.string(1, "t"));
        batch.message(0xa03, 0, &[1, 0, 0, 0], |_| {});
        let mut again = Batch::parse(batch.bytes()).unwrap();
        assert_eq!(again.messages().map(|m| m.kind).collect::<Vec<_>>(), [0xa00, 0xa03]);
        assert_eq!(again.messages().next().unwrap().attributes(4).next(), Some((1, &b"t\0"[..])));
        assert_eq!(again.finish(7).unwrap(), batch.finish(7).unwrap());
        assert_eq!(again.bytes(), batch.bytes());
        // What was sent already is the same too.
        let mut sent = Batch::parse(batch.bytes()).unwrap();
        assert_eq!(sent.finish(9).unwrap(), (11, 13));
        for length in 0..batch.bytes().len() {
            let _refused = Batch::parse(&batch.bytes()[..length]);
        }
        assert!(Batch::parse(&[]).is_none());
        assert!(Batch::parse(&batch.bytes()[20..]).is_none());
    }

    #[test]
    fn hostile_attributes_end_the_walk() {
        for bytes in [&[][..], &[4], &[3, 0, 1, 0], &[200, 0, 1, 0, 9], &[0, 0, 0, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(attributes(&[4, 0, 1, 0, 255, 255, 1, 0]).count(), 1);
    }

    #[test]
    fn only_the_last_message_asks_for_an_acknowledgement() {
        let mut batch = Batch::transaction(10);
        batch.message(0xa00, 0, &[0; 4], |_| {});
        batch.message(0xa01, 0, &[0; 4], |_| {});
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.finish(5).ok(), Some((7, 9)));
        let flags: Vec<_> = batch.starts.iter().map(|s| batch.bytes[s + 6]).collect();
        assert_eq!(flags, [1, 1, 5, 1]);
    }
}
