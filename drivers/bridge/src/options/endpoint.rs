//! The options of one attachment.

use super::{Values, link_name};
use std::collections::BTreeMap;
use stdx::{Error, Result};

/// `com.docker.network.endpoint.ifname`
pub const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// `com.docker.network.endpoint.sysctls`
pub const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// What an endpoint is set to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointOptions {
    /// The name of the link in the container.
    pub name: Option<String>,
    /// Settings of the link: `net/ipv4/conf/IFNAME/log_martians` and the value.
    pub sysctls: Vec<(String, String)>,
}

impl EndpointOptions {
    /// Reads them; what this driver does not know is left to others.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that cannot be read.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let all = Values(options);
        let sysctls = all.get(SYSCTLS).map(|text| text.split(',').map(sysctl).collect());
        Ok(Self {
            name: all.get(IFNAME).map(|name| link_name(IFNAME, name)).transpose()?,
            sysctls: sysctls.transpose()?.unwrap_or_default(),
        })
    }

    /// The settings of the link of this name.
    pub fn sysctls_of(&self, interface: &str) -> impl Iterator<Item = (String, String)> {
        let of = move |key: &str| key.replacen("/IFNAME/", &format!("/{interface}/"), 1);
        self.sysctls.iter().map(move |(key, value)| (of(key), value.clone()))
    }
}

/// `net.ipv4.conf.IFNAME.log_martians=1`: settings of the link only, never of the namespace or another link.
fn sysctl(text: &str) -> Result<(String, String)> {
    let wrong = || {
        Error::invalid(format!(
            "unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' \
             must be 'ipv4', 'ipv6' or 'mpls'"
        ))
    };
    // Docker's client writes what it is given in small letters.
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let word = |w: &str| {
        !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match key.split('.').collect::<Vec<_>>()[..] {
        [
            "net",
            family @ ("ipv4" | "ipv6" | "mpls"),
            kind @ ("conf" | "neigh"),
            "IFNAME" | "ifname",
            name,
        ] if word(name) && !value.is_empty() => {
            Ok((format!("net/{family}/{kind}/IFNAME/{name}"), value.to_owned()))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_link_and_of_nothing_else() {
        let read =
            |text: &str| EndpointOptions::parse(&[(SYSCTLS.to_owned(), text.to_owned())].into());
        let options =
            read("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.mtu=1280").unwrap();
        assert_eq!(
            options.sysctls_of("eth0").collect::<Vec<_>>(),
            [
                ("net/ipv4/conf/eth0/log_martians".to_owned(), "1".to_owned()),
                ("net/ipv6/conf/eth0/mtu".to_owned(), "1280".to_owned()),
            ]
        );
        for bad in [
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.ip_forward=1",
            "kernel.conf.x.IFNAME.y=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.../../x=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.core.conf.IFNAME.a=1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let named = [(IFNAME.to_owned(), "a/b".to_owned())].into();
        assert!(EndpointOptions::parse(&named).is_err());
    }
}
