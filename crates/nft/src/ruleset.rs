//! What rules say.

use ipnet::IpNet;

/// One table of family `inet`, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's name.
    pub name: String,
    /// Its chains; one that another jumps to may come later in the list.
    pub chains: Vec<Chain>,
}

/// Rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the table.
    pub name: String,
    /// Where packets enter it from the kernel; `None` when only other chains lead here.
    pub base: Option<Base>,
    /// The first that matches and decides, wins.
    pub rules: Vec<Rule>,
}

/// How a chain hangs in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What the chain may do.
    pub kind: ChainKind,
    /// Which packets it sees.
    pub hook: Hook,
    /// Lower comes first. `filter` is 0, `dstnat` -100, `srcnat` 100.
    pub priority: i32,
    /// What happens to a packet that no rule decided on.
    pub policy: Policy,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Let through or drop.
    Filter,
    /// Translate addresses; it sees only the first packet of a connection.
    Nat,
}

/// Which packets a base chain sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// All that arrive, before routing.
    Prerouting,
    /// Those for the host itself.
    Input,
    /// Those that pass through.
    Forward,
    /// Those the host itself sends.
    Output,
    /// All that leave, after routing.
    Postrouting,
}

/// The end of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The packet goes on to other programs' chains.
    Accept,
    /// The packet is gone.
    Drop,
}

/// If all matches hold, the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All must hold; none always do.
    pub matches: Vec<Match>,
    /// What then happens.
    pub action: Action,
    /// For whoever reads `nft list ruleset`; at most 127 bytes.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(matches: impl Into<Vec<Match>>, action: Action) -> Self {
        Self { matches: matches.into(), action, comment: None }
    }

    /// The same rule with a comment.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }
}

/// A question about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It came in through this link.
    In(String),
    /// It came in through another link than this.
    NotIn(String),
    /// It goes out through this link.
    Out(String),
    /// It goes out through another link than this.
    NotOut(String),
    /// It is IPv4.
    Ipv4,
    /// It is IPv6.
    Ipv6,
    /// Its source is in this subnet.
    Source(IpNet),
    /// Its destination is in this subnet.
    Destination(IpNet),
    /// Its destination is not in this subnet.
    NotDestination(IpNet),
    /// Its connection is in one of these states.
    State(State),
    /// Its connection's destination was translated: somebody published this port.
    DestinationTranslated,
}

/// States of a connection, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(pub(crate) u32);

impl State {
    /// Packets in both directions have been seen.
    pub const ESTABLISHED: Self = Self(2);
    /// It belongs to an established one, as an ICMP error.
    pub const RELATED: Self = Self(4);
    /// The first packet.
    pub const NEW: Self = Self(8);
    /// No connection that could be.
    pub const INVALID: Self = Self(1);

    /// Either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It leaves our table; other programs' chains may still drop it.
    Accept,
    /// It is gone.
    Drop,
    /// The chain of this name, then back.
    Jump(String),
    /// The chain of this name, not back.
    Goto(String),
    /// Back to where this chain was jumped to from.
    Return,
    /// Its source becomes the address of the link it leaves through.
    Masquerade,
}
