//! Where a container may go ([`types::egress`]): said as an annotation, because Docker's API has no field for it.

use stdx::{Error, Result};
use store::records::container::HostConfig;
use types::Egress;

/// The annotation, the label of clients that know no annotations, and the option of networks.
pub const EGRESS: &str = "gantry.egress";

/// Checks what a new container is to be held to.
///
/// # Errors
/// `InvalidArgument` for what is no rule, and for networks of which it has none of its own.
pub fn check(host: &HostConfig) -> Result<()> {
    let Some(text) = host.annotations.get(EGRESS) else { return Ok(()) };
    text.parse::<Egress>()?;
    let refused = |why: &str| {
        Err(Error::invalid(format!(
            "conflicting options: egress rules and the network mode \"{}\": {why}",
            host.network_mode
        )))
    };
    if host.network_mode == "host" {
        return refused("the container's packets are the host's own");
    }
    if crate::join::of_container(&host.network_mode).is_some() {
        return refused("set them on the container whose network it is, they hold for both");
    }
    Ok(())
}

/// What a container is held to; `None`: it may go everywhere. What cannot be read, which [`check`] has let nobody say,
/// allows nothing.
pub fn of(host: &HostConfig) -> Option<Egress> {
    host.annotations.get(EGRESS).map(|text| text.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_network_of_its_own_has_no_rules() {
        let host = |mode: &str, rules: &str| HostConfig {
            network_mode: mode.into(),
            annotations: [(EGRESS.to_owned(), rules.to_owned())].into(),
            ..HostConfig::default()
        };
        for (mode, rules, good) in [
            ("default", "none", true),
            ("none", "allow:example.org", true),
            ("back", "allow:example.org:443,10.0.0.0/8", true),
            ("host", "none", false),
            ("container:ab", "none", false),
            ("default", "everything", false),
            ("default", "", false),
        ] {
            assert_eq!(check(&host(mode, rules)).is_ok(), good, "{mode} {rules}");
        }
        assert!(of(&HostConfig::default()).is_none());
        assert!(of(&host("", "rubbish")).unwrap().rules().is_empty());
    }
}
