//! How the host's own input rules decide about published ports. Pure.
//!
//! A packet that is translated on arrival never meets them: that is why published ports are open whatever `ufw` says. So
//! where they are asked, what comes from elsewhere is not translated on arrival. It goes to the host like any other, meets
//! every rule of everybody's about input, and last of all ours:
//!
//! ```text
//!   ip, ip6    input      came by a bridge of ours, by loopback or through the door ──accept
//!                         first of a connection, to a published port ──▶ again: a copy through the door; drop
//!   inet       prerouting came by a bridge of ours or through the door ──▶ ports
//! ```
//!
//! The copy is the packet as it was, but for one hop less to live. It comes in through the [`Door`], is translated and
//! forwarded, and from then on the kernel knows the connection: its other packets are translated on arrival as ever. What
//! the host's rules drop never gets this far, so it makes no difference what they are written in.

use super::{Forward, Target, World, base};
use network::Family;
use nft::{
    Action, Chain, ChainKind, Data, Element, Field, Hook, Kind, Load, Match, Rule, Ruleset, Set,
    State, Value,
};
use std::net::IpAddr;

/// After everybody else's, before the kernel remembers the connection.
const LAST: i32 = i32::MAX - 1;
/// The set of published ports.
pub(crate) const ASKED: &str = "asked";

/// Through which packets come in a second time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The number of the link that copies are sent to.
    pub link: u32,
    /// A neighbour there, of either family.
    pub to: [IpAddr; 2],
    /// The link that they come in by.
    pub enters: String,
}

pub(super) fn desired(world: &World) -> Vec<Ruleset> {
    let Some(door) = &world.door else { return Vec::new() };
    let families = [(Family::V4, nft::Family::Ip), (Family::V6, nft::Family::Ip6)];
    let wanted = families.into_iter().filter(|(family, _)| !world.silent.contains(family));
    wanted.map(|(family, table)| one(world, door, family, table)).collect()
}

fn one(world: &World, door: &Door, family: Family, table: nft::Family) -> Ruleset {
    let (destination, to, address) = match family {
        Family::V4 => (Load::BridgedDestination4, door.to[0], Kind::V4),
        Family::V6 => (Load::BridgedDestination6, door.to[1], Kind::V6),
    };
    let published = Match::known([destination, Load::Protocol, Load::DestinationPort], ASKED);
    let input = vec![
        Rule::new([Match::known([Load::In], "inside")], Action::Accept),
        Rule::new([Match::State(State::NEW), published], Action::Goto("again".into())),
    ];
    let again = vec![
        Rule::new([], Action::Copy { to, link: door.link }),
        Rule::new([], Action::Drop)
            .comment("the host's rules let it in: its copy goes to the container"),
    ];
    let inside = [door.enters.as_str(), "lo"].into_iter();
    let inside = inside.chain(world.networks.iter().map(|network| network.bridge.as_str()));
    let link = |name: &str| Element { key: vec![Field::Link(name.into())], value: Value::None };
    let set = |name: &str, key: Vec<Kind>, ranges, elements| Set {
        name: name.into(),
        key,
        data: Data::None,
        ranges,
        elements,
    };
    let asked = world.forwards.iter().filter_map(asked);
    let asked = asked.filter(|(of, _)| *of == table).map(|(_, element)| element).collect();
    Ruleset {
        name: world.table.clone(),
        family: table,
        sets: vec![
            set("inside", vec![Kind::Link], false, inside.map(link).collect()),
            set(ASKED, vec![address, Kind::Protocol, Kind::Port], true, asked),
        ],
        chains: vec![
            base("input", ChainKind::Filter, Hook::Input, LAST, input),
            Chain { name: "again".into(), base: None, rules: again },
        ],
    }
}

/// The element of a forward that others may use; `None` for what is the host's own alone, or the container's.
pub(crate) fn asked(forward: &Forward) -> Option<(nft::Family, Element)> {
    if forward.address.is_loopback() || matches!(forward.target, Target::Open(_)) {
        return None;
    }
    let (family, any) = match forward.address {
        IpAddr::V4(_) => (nft::Family::Ip, Field::Any4),
        IpAddr::V6(_) => (nft::Family::Ip6, Field::Any6),
    };
    let address =
        if forward.address.is_unspecified() { any } else { Field::Address(forward.address) };
    let protocol = Field::Protocol(super::elements::number(forward.protocol));
    let ports = Field::Ports(forward.ports.0, forward.ports.1);
    Some((family, Element { key: vec![address, protocol, ports], value: Value::None }))
}
