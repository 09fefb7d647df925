//! Where containers may go: `none`, or `allow:` and what is allowed.
//!
//! ```text
//! EGRESS   none | allow:RULE[,RULE…]
//! RULE     NAME[:PORTS]                 example.org, example.org:443, *.example.org:443/udp, * (every name)
//!          ADDRESS[/BITS][:PORTS]       192.0.2.1, 10.0.0.0/8:443, 2001:db8::/32
//!          [ADDRESS[/BITS]]:PORTS       [2001:db8::/32]:443
//! PORTS    PORT[-PORT][/tcp|/udp]       without a protocol: tcp, as with --publish; without PORTS: everything
//! ```
//!
//! A name stands for the addresses that the container's resolver gives for it. `*.example.org` is every name below
//! `example.org`, not that name itself. A range of ports of a name has at most 100.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// More rules than anybody writes by hand, few enough for a set in the kernel.
const MOST: usize = 1000;
/// Each is an element in the kernel, for each address of the name.
const MOST_PORTS: u16 = 100;
/// The longest name (RFC 1035) without the dot at its end.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Where a container, or a network's containers, may go. Nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    rules: Vec<Rule>,
}

/// Something that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where to.
    pub target: Target,
    /// Which ports there; `None`: all of every protocol.
    pub ports: Option<Ports>,
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This name, in lower case.
    Name(String),
    /// Every name that ends with a dot and this; empty: every name.
    Below(String),
    /// These addresses.
    Net(IpNet),
}

/// Ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// As in an IP packet: 6 is TCP, 17 is UDP.
    pub protocol: u8,
    /// The first.
    pub first: u16,
    /// The last, not below the first.
    pub last: u16,
}

/// What is no rule, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid egress rule \"{text}\": {why}")]
pub struct InvalidEgress {
    text: String,
    why: &'static str,
}

impl Egress {
    /// What several values of the option say together.
    ///
    /// # Errors
    /// For what is no rule, for `none` beside anything else, for no rule at all.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidEgress> {
        let (mut rules, mut none, mut all) = (Vec::new(), false, Vec::new());
        for value in values {
            all.push(value);
            let value = value.trim();
            if value == "none" {
                none = true;
                continue;
            }
            let Some(list) = value.strip_prefix("allow:") else {
                return Err(invalid(value, "it is \"none\" or begins with \"allow:\""));
            };
            for rule in list.split(',') {
                // `allow:a,allow:b` is what several of them joined by a comma look like.
                let rule = rule.trim();
                if rule == "none" {
                    return Err(invalid(value, "\"none\" stands alone"));
                }
                rules.push(rule.strip_prefix("allow:").unwrap_or(rule).parse()?);
            }
        }
        let whole = all.join(",");
        match (none, rules.is_empty()) {
            (true, false) => Err(invalid(&whole, "\"none\" stands alone")),
            (false, true) => Err(invalid(&whole, "it allows nothing; \"none\" says so")),
            _ if rules.len() > MOST => Err(invalid(&whole, "more than 1000 rules")),
            _ => Ok(Self { rules }),
        }
    }

    /// What is allowed; nothing at all for `none`.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that allow this name, which is in lower case and has no dot at its end.
    pub fn of_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.target.is_name(name))
    }

    /// Whether the name may be asked for.
    pub fn allows_name(&self, name: &str) -> bool {
        self.of_name(name).next().is_some()
    }
}

impl Target {
    fn is_name(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Below(end) if end.is_empty() => !name.is_empty(),
            Self::Below(end) => name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')),
            Self::Net(_) => false,
        }
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, rule) in self.rules.iter().enumerate() {
            write!(f, "{}{rule}", if number == 0 { "allow:" } else { "," })?;
        }
        if self.rules.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl FromStr for Egress {
    type Err = InvalidEgress;

    fn from_str(text: &str) -> Result<Self, InvalidEgress> {
        Self::of([text])
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.ports) {
            (Target::Name(name), _) => f.write_str(name)?,
            (Target::Below(end), _) if end.is_empty() => f.write_str("*")?,
            (Target::Below(end), _) => write!(f, "*.{end}")?,
            (Target::Net(net @ IpNet::V6(_)), Some(_)) => write!(f, "[{net}]")?,
            (Target::Net(net), _) => write!(f, "{net}")?,
        }
        let Some(ports) = self.ports else { return Ok(()) };
        write!(f, ":{}", ports.first)?;
        if ports.last != ports.first {
            write!(f, "-{}", ports.last)?;
        }
        f.write_str(if ports.protocol == UDP { "/udp" } else { "/tcp" })
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

impl FromStr for Rule {
    type Err = InvalidEgress;

    fn from_str(text: &str) -> Result<Self, InvalidEgress> {
        let refuse = |why| invalid(text, why);
        let (target, ports) = split(text).map_err(refuse)?;
        let ports = ports.map(parse_ports).transpose().map_err(refuse)?;
        let target = parse_target(target).map_err(refuse)?;
        let is_wide = ports.is_some_and(|ports| ports.last - ports.first >= MOST_PORTS);
        if is_wide && !matches!(target, Target::Net(_)) {
            return Err(refuse("a name's range has at most 100 ports"));
        }
        Ok(Self { target, ports })
    }
}

/// Target and ports of a rule.
fn split(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (target, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        if net(target).is_none_or(|net| net.addr().is_ipv4()) {
            return Err("brackets are for IPv6 addresses");
        }
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((target, Some(ports))),
            None if rest.is_empty() => Ok((target, None)),
            None => Err("after the bracket comes a colon and a port"),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((target, ports)) => Ok((target, Some(ports))),
        None => Ok((text, None)),
    }
}

fn parse_target(text: &str) -> Result<Target, &'static str> {
    if let Some(net) = net(text) {
        if net != net.trunc() {
            return Err("the address has bits beyond its prefix");
        }
        return Ok(Target::Net(net));
    }
    if text == "*" {
        return Ok(Target::Below(String::new()));
    }
    if text.contains(['/', ':']) || text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("it is neither an address nor a name");
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
        return Err("it is neither an address nor a name");
    }
    let name = name.to_ascii_lowercase();
    Ok(if below { Target::Below(name) } else { Target::Name(name) })
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn parse_ports(text: &str) -> Result<Ports, &'static str> {
    let (numbers, protocol) = match text.split_once('/') {
        None => (text, TCP),
        Some((numbers, "tcp")) => (numbers, TCP),
        Some((numbers, "udp")) => (numbers, UDP),
        Some(_) => return Err("the protocol is tcp or udp"),
    };
    let port = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|port| is_number && *port != 0);
        port.ok_or("a port is a number from 1 to 65535")
    };
    let (first, last) = match numbers.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(numbers)?, port(numbers)?),
    };
    if first > last {
        return Err("the first port is above the last");
    }
    Ok(Ports { protocol, first, last })
}

fn invalid(text: &str, why: &'static str) -> InvalidEgress {
    InvalidEgress { text: text.chars().take(100).collect(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_said_back() {
        for (text, canonical) in [
            ("none", "none"),
            ("allow:example.org", "allow:example.org"),
            ("allow:Example.ORG.:443", "allow:example.org:443/tcp"),
            ("allow:*.example.org:53/udp,*:80", "allow:*.example.org:53/udp,*:80/tcp"),
            ("allow:db:5432,allow:cache_1", "allow:db:5432/tcp,cache_1"),
            ("allow: a , b", "allow:a,b"),
            ("allow:10.0.0.0/8", "allow:10.0.0.0/8"),
            ("allow:192.0.2.1:8000-8080/tcp", "allow:192.0.2.1/32:8000-8080/tcp"),
            ("allow:10.0.0.0/8:53/udp", "allow:10.0.0.0/8:53/udp"),
            ("allow:2001:db8::/32", "allow:2001:db8::/32"),
            ("allow:[2001:db8::]", "allow:2001:db8::/128"),
            ("allow:[2001:db8::/32]:443", "allow:[2001:db8::/32]:443/tcp"),
            ("allow:::1", "allow:::1/128"),
        ] {
            let read: Egress = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(read.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse(), Ok(read), "{canonical}");
        }
        let both = Egress::of(["allow:a", "allow:b:1,c"]).unwrap();
        assert_eq!(both.to_string(), "allow:a,b:1/tcp,c");
        assert!(Egress::of(["none", "none"]).unwrap().rules().is_empty());
    }

    #[test]
    fn what_is_no_rule_is_told_why() {
        for (text, why) in [
            ("", "begins with"),
            ("deny:a", "begins with"),
            ("example.org", "begins with"),
            ("allow:", "neither an address nor a name"),
            ("allow:a,,b", "neither an address nor a name"),
            ("allow:a,none:", "a port is a number"),
            ("allow:a b", "neither an address nor a name"),
            ("allow:a.*.b", "neither an address nor a name"),
            ("allow:*a", "neither an address nor a name"),
            ("allow:-.é", "neither an address nor a name"),
            ("allow:1.2.3", "neither an address nor a name"),
            ("allow:1.2.3.400", "neither an address nor a name"),
            ("allow:10.0.0.0/33", "neither an address nor a name"),
            ("allow:10.0.0.1/8", "bits beyond its prefix"),
            ("allow:a:0", "a port is a number"),
            ("allow:a:65536", "a port is a number"),
            ("allow:a:+80", "a port is a number"),
            ("allow:a:https", "a port is a number"),
            ("allow:a:", "a port is a number"),
            ("allow:a:90-80", "above the last"),
            ("allow:a,none", "stands alone"),
            ("allow:a:1-101", "at most 100 ports"),
            ("allow:a:80/icmp", "tcp or udp"),
            ("allow:[10.0.0.0/8]:80", "for IPv6"),
            ("allow:[a]:80", "for IPv6"),
            ("allow:[::1", "not closed"),
            ("allow:[::1]80", "a colon and a port"),
        ] {
            let error = text.parse::<Egress>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Egress::of(["none", "allow:a"]).unwrap_err().to_string().contains("stands alone"));
        assert!(Egress::of([]).is_err());
        let long = format!("allow:{}", vec!["a"; 1001].join(","));
        assert!(long.parse::<Egress>().unwrap_err().to_string().contains("1000"));
        assert!(format!("allow:{}", "a".repeat(64)).parse::<Egress>().is_err());
    }

    #[test]
    fn names() {
        let rules: Egress = "allow:api.example.org,*.cdn.example.org:443".parse().unwrap();
        for (name, allowed) in [
            ("api.example.org", true),
            ("example.org", false),
            ("a.api.example.org", false),
            ("cdn.example.org", false),
            ("a.cdn.example.org", true),
            ("a.b.cdn.example.org", true),
            ("evilcdn.example.org", false),
            ("api.example.org.evil.test", false),
            ("", false),
        ] {
            assert_eq!(rules.allows_name(name), allowed, "{name}");
        }
        assert_eq!(rules.of_name("a.cdn.example.org").next().unwrap().ports.unwrap().first, 443);
        assert!("allow:*".parse::<Egress>().unwrap().allows_name("anything"));
        assert!(!"allow:0.0.0.0/0".parse::<Egress>().unwrap().allows_name("anything"));
    }
}
