//! Other programs' firewalls that would drop what ours lets through.

use crate::host::Host;
use crate::{Config, Inner};
use stdx::Result;

impl Inner {
    /// Makes foreign forward chains let the bridges' packets through; none: takes that back.
    pub(crate) fn foreign(&self, _host: &mut Host, _bridges: &[String]) -> Result<()> {
        Ok(())
    }
}

/// Takes back what was put into foreign chains.
pub(crate) fn remove(_config: &Config, _host: &mut Host) -> Result<()> {
    Ok(())
}

/// A warning where rules of iptables-legacy may drop our packets: they are not to be reached over netlink.
pub(crate) fn legacy() -> Option<String> {
    let tables = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let filter = |path: &str| tables(path).lines().any(|table| table == "filter");
    let command = match (filter("/proc/net/ip_tables_names"), filter("/proc/net/ip6_tables_names"))
    {
        (false, false) => return None,
        (true, _) => "iptables-legacy",
        (false, true) => "ip6tables-legacy",
    };
    Some(format!(
        "rules of iptables-legacy are loaded; if they drop forwarded packets, published ports and containers' way out do \
         not work. To let them through: {command} -I FORWARD -i BRIDGE -j ACCEPT; {command} -I FORWARD -o BRIDGE -j ACCEPT"
    ))
}
