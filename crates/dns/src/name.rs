//! Names in messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name on the wire (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;
/// The longest label.
const MAX_LABEL: usize = 63;

/// A name that was asked for: as it came, and as it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    wire: Vec<u8>,
    text: Option<String>,
}

impl Name {
    /// Reads the name at the start of `bytes`, which may not be compressed: the first name of a message has nothing to
    /// point to.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut labels: Vec<&[u8]> = Vec::new();
        let mut at = 0;
        loop {
            let length = usize::from(*bytes.get(at)?);
            if length == 0 {
                break;
            }
            if length > MAX_LABEL {
                return None;
            }
            labels.push(bytes.get(at + 1..at + 1 + length)?);
            at += 1 + length;
            if at >= MAX_NAME {
                return None;
            }
        }
        Some(Self { wire: bytes[..=at].to_vec(), text: text(&labels) })
    }

    /// The labels in lower case with dots between them, no dot at the end. `None` for a name that cannot be one of ours:
    /// a label contains a dot or is no text.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// As it came, letters in the case that the client chose.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The address whose name is asked for: `4.3.2.1.in-addr.arpa`, or 32 digits below `ip6.arpa`.
    pub fn reversed_address(&self) -> Option<IpAddr> {
        let text = self.text()?;
        if let Some(rest) = text.strip_suffix(".in-addr.arpa") {
            let mut octets = [0; 4];
            let mut parts = rest.split('.').rev();
            for octet in &mut octets {
                let part = parts.next()?;
                if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                *octet = part.parse().ok()?;
            }
            return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
        }
        let rest = text.strip_suffix(".ip6.arpa")?;
        let mut number = 0u128;
        let mut count = 0;
        for part in rest.split('.').rev() {
            let [digit] = *part.as_bytes() else { return None };
            count += 1;
            if count > 32 {
                return None;
            }
            number = number << 4 | u128::from(char::from(digit).to_digit(16)?);
        }
        (count == 32).then(|| Ipv6Addr::from(number).into())
    }
}

fn text(labels: &[&[u8]]) -> Option<String> {
    let mut text = String::new();
    for label in labels {
        let label = std::str::from_utf8(label).ok()?;
        if label.contains('.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// A name of ours on the wire; `None` if it is too long for one (a network's name may be).
pub(crate) fn encode(text: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(text.len() + 2);
    for label in text.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL {
            return None;
        }
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    (wire.len() <= MAX_NAME).then_some(wire)
}

/// Skips a name of somebody else's message: where what follows it begins. A pointer ends a name and is not followed.
pub(crate) fn skip(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return (at + 2 <= bytes.len()).then_some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(&encode(text).unwrap()).unwrap()
    }

    #[test]
    fn names_are_looked_up_in_lower_case_and_given_back_as_they_came() {
        let name = Name::parse(b"\x03WeB\x03nEt\0rest").unwrap();
        assert_eq!(name.text(), Some("web.net"));
        assert_eq!(name.wire(), b"\x03WeB\x03nEt\0");
        assert_eq!(Name::parse(b"\0").unwrap().text(), Some(""));
        assert_eq!(Name::parse(b"\x03a.b\0").unwrap().text(), None);
        assert_eq!(Name::parse(b"\x02\xff\xfe\0").unwrap().text(), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = [&[63u8][..], &[b'a'; 63]].concat().repeat(4);
        let pointer = [0xc0, 0x0c];
        for bytes in [&b""[..], b"\x03ab", b"\x40abc", &pointer, &[&long[..], b"\0"].concat()] {
            assert_eq!(Name::parse(bytes), None, "{bytes:?}");
        }
        assert!(encode(&"a".repeat(64)).is_none());
        assert!(encode("a..b").is_none());
        assert!(encode(&["a"; 127].join(".")).is_some());
        assert!(encode(&["a"; 128].join(".")).is_none());
    }

    #[test]
    fn reverse_names_are_addresses() {
        let address = |text: &str| name(text).reversed_address().map(|a| a.to_string());
        assert_eq!(address("2.0.18.172.in-addr.arpa").as_deref(), Some("172.18.0.2"));
        assert_eq!(address("2.0.18.172.IN-ADDR.arpa").as_deref(), Some("172.18.0.2"));
        for wrong in
            ["0.18.172.in-addr.arpa", "1.2.0.18.172.in-addr.arpa", "256.0.18.172.in-addr.arpa"]
        {
            assert_eq!(address(wrong), None, "{wrong}");
        }
        assert_eq!(address("+2.0.18.172.in-addr.arpa"), None);
        let six = format!(
            "{}.d.f.ip6.arpa",
            ["2"].into_iter().chain(["0"; 29]).collect::<Vec<_>>().join(".")
        );
        assert_eq!(address(&six).as_deref(), Some("fd00::2"));
        assert_eq!(address("2.0.ip6.arpa"), None);
        assert_eq!(address("example.com"), None);
    }
}
