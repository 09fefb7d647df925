//! The options of a network (`docker network create -o`) as this driver knows them.

use std::collections::BTreeMap;
use stdx::{Error, Result};

/// `com.docker.network.bridge.name`
pub const NAME: &str = "com.docker.network.bridge.name";
/// `com.docker.network.bridge.enable_icc`
pub const ICC: &str = "com.docker.network.bridge.enable_icc";
/// `com.docker.network.bridge.enable_ip_masquerade`
pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// `com.docker.network.driver.mtu`
pub const MTU: &str = "com.docker.network.driver.mtu";

/// What a network of this driver is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The bridge's name; `None`: made of the network's id.
    pub name: Option<String>,
    /// Containers on the network may talk to each other.
    pub icc: bool,
    /// What leaves the host gets the host's address.
    pub masquerade: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
}

impl Options {
    /// Reads them; what this driver does not know is left to others, as Docker leaves it.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that cannot be read.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let get =
            |key: &str| options.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let flag = |key: &str, default: bool| match get(key) {
            None => Ok(default),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(Error::invalid(format!("invalid value {other:?} for {key}"))),
        };
        let mtu = match get(MTU) {
            None => 1500,
            Some(text) => text
                .parse()
                .map_err(|_| Error::invalid(format!("invalid value {text:?} for {MTU}")))?,
        };
        Ok(Self {
            name: get(NAME).map(str::to_owned),
            icc: flag(ICC, true)?,
            masquerade: flag(MASQUERADE, true)?,
            mtu,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let read = |pairs: &[(&str, &str)]| {
            Options::parse(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let default = read(&[("other", "x")]).unwrap();
        assert_eq!(
            (default.name, default.icc, default.masquerade, default.mtu),
            (None, true, true, 1500)
        );
        let set = read(&[(NAME, "br0"), (ICC, "false"), (MASQUERADE, "0"), (MTU, "9000")]).unwrap();
        assert_eq!(
            (set.name.as_deref(), set.icc, set.masquerade, set.mtu),
            (Some("br0"), false, false, 9000)
        );
        for bad in [(ICC, "no"), (MTU, "-1"), (MTU, "x")] {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
    }
}
