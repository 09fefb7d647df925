//! The options of a network as these drivers know them.

use crate::Kind;
use std::collections::BTreeMap;
use stdx::{Error, Result};

/// How containers share the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The host's link; `None`: one that leads nowhere.
    pub parent: Option<Parent>,
    /// Of macvlan (`MACVLAN_MODE_*`) or of ipvlan (`IPVLAN_MODE_*`).
    pub mode: u32,
    /// Of ipvlan (`IPVLAN_F_*`).
    pub flags: u16,
    /// Largest packet in bytes; `None`: the parent's.
    pub mtu: Option<u32>,
}

/// A link of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its name, such as `eth0` or `eth0.50`.
    pub name: String,
    /// The link and the tag that it is made of if it is not there.
    pub vlan: Option<(String, u16)>,
}

/// `IPVLAN_MODE_L3`; this and above have no gateway.
pub(crate) const L3: u32 = 1;
const PASSTHRU: u32 = 8;

impl Options {
    /// Reads them; what these drivers do not know is left to others, as Docker leaves it.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(kind: Kind, options: &BTreeMap<String, String>) -> Result<Self> {
        let get =
            |key: &str| options.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let parent = get("parent").map(parent).transpose()?;
        let invalid = |what: &str, value: &str, default: &str| {
            Error::invalid(format!(
                "requested {kind} {what} '{value}' is not valid, '{default}' {what} is the {kind} driver default"
            ))
        };
        let mode = match (kind, get(kind.mode_key())) {
            (Kind::Macvlan, None | Some("bridge")) => 4,
            (Kind::Macvlan, Some("private")) => 1,
            (Kind::Macvlan, Some("vepa")) => 2,
            (Kind::Macvlan, Some("passthru")) => PASSTHRU,
            (Kind::Macvlan, Some(other)) => return Err(invalid("mode", other, "bridge")),
            (Kind::Ipvlan, None | Some("l2")) => 0,
            (Kind::Ipvlan, Some("l3")) => L3,
            (Kind::Ipvlan, Some("l3s")) => 2,
            (Kind::Ipvlan, Some(other)) => return Err(invalid("mode", other, "l2")),
        };
        let flags = match (kind, get("ipvlan_flag")) {
            (Kind::Macvlan, _) | (_, None | Some("bridge")) => 0,
            (_, Some("private")) => 1,
            (_, Some("vepa")) => 2,
            (_, Some(other)) => return Err(invalid("flag", other, "bridge")),
        };
        let mtu = get("com.docker.network.driver.mtu").map(|text| {
            text.parse().ok().filter(|mtu| (68..=65535).contains(mtu)).ok_or_else(|| {
                Error::invalid(format!(
                    "failed to parse com.docker.network.driver.mtu value: {text} (68 to 65535)"
                ))
            })
        });
        Ok(Self { parent, mode, flags, mtu: mtu.transpose()? })
    }

    /// Only one container at a time may use the parent.
    pub(crate) fn is_passthru(&self, kind: Kind) -> bool {
        kind == Kind::Macvlan && self.mode == PASSTHRU
    }
}

fn parent(name: &str) -> Result<Parent> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.len() > 15 || name.contains(odd) || name == "." || name == ".." {
        return Err(Error::invalid(format!("{name:?} is no name of a link")));
    }
    if name == "lo" {
        return Err(Error::invalid("loopback interface is not a valid macvlan parent link"));
    }
    let vlan = name.split_once('.').and_then(|(link, tag)| {
        let tag = tag.parse().ok().filter(|tag| (1..=4094).contains(tag))?;
        (!link.is_empty()).then(|| (link.to_owned(), tag))
    });
    Ok(Parent { name: name.to_owned(), vlan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let read = |kind, pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Options::parse(kind, &all)
        };
        let plain = read(Kind::Macvlan, &[("parent", "eth0")]).unwrap();
        assert_eq!((plain.mode, plain.parent.unwrap().vlan), (4, None));
        let tagged =
            read(Kind::Macvlan, &[("parent", "eth0.50"), ("macvlan_mode", "vepa")]).unwrap();
        assert_eq!((tagged.mode, tagged.parent.unwrap().vlan), (2, Some(("eth0".into(), 50))));
        let l3 = read(Kind::Ipvlan, &[("ipvlan_mode", "l3s"), ("ipvlan_flag", "vepa")]).unwrap();
        assert_eq!((l3.mode, l3.flags, l3.parent), (2, 2, None));
        assert_eq!(
            read(Kind::Macvlan, &[("macvlan_mode", "foo")]).unwrap_err().to_string(),
            "requested macvlan mode 'foo' is not valid, 'bridge' mode is the macvlan driver default"
        );
        for bad in [("parent", "lo"), ("parent", "a/b"), ("com.docker.network.driver.mtu", "x")] {
            assert!(read(Kind::Macvlan, &[bad]).is_err(), "{bad:?}");
        }
    }
}
