//! Legacy links: which containers are meant when one is created, the names that this gives them, and taking one away.

use crate::Engine;
use crate::networks::{BRIDGE, container_port};
use crate::registry::Registry;
use container::{Container, Endpoints, join, links};
use network::EndpointId;
use stdx::{Error, Kind, Result};
use store::records::container::{ContainerRecord, HostConfig, LinkRecord};

impl Engine {
    /// Whom a new container is to be linked to. On a network of users it is not: there a link is one more name.
    pub(super) fn find_links(&self, host: &HostConfig) -> Result<Vec<LinkRecord>> {
        if !matches!(host.network_mode.as_str(), "" | "default" | "bridge" | "none") {
            return Ok(Vec::new());
        }
        let mut links: Vec<LinkRecord> = Vec::new();
        for asked in &host.links {
            let (name, alias) = parse(asked)?;
            let record = self.linked(name)?;
            // Docker says so in its log only: the first of an alias stays.
            if alias.is_empty() || links.iter().any(|link| link.alias == alias) {
                tracing::warn!("link {asked} is ignored: its alias is taken or empty");
                continue;
            }
            links.push(LinkRecord {
                container: record.id.clone(),
                name: record.name.clone(),
                alias: alias.to_owned(),
            });
        }
        Ok(links)
    }

    /// The container with the network of the one that is named.
    fn linked(&self, name: &str) -> Result<std::sync::Arc<ContainerRecord>> {
        let found = |name: &str, could: &str| {
            if name.is_empty() {
                return Err(Error::invalid(format!(
                    "{could} not get container for : invalid name or ID supplied: \"\""
                )));
            }
            let found = self.inner.containers.find(name);
            found.map(|container| container.now().record).map_err(|e| {
                Error::new(
                    e.kind(),
                    format!("{could} not get container for {name}: {}", e.message()),
                )
            })
        };
        let mut record = found(name, "could")?;
        while let Some(peer) = join::of_container(&record.host.network_mode).map(str::to_owned) {
            record = found(&peer, "Could")?;
        }
        if record.host.network_mode == "host" {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined \
                 behavior",
            ));
        }
        Ok(record)
    }

    /// Takes the link away that `name` names: `web/db`.
    pub(super) async fn remove_link(&self, name: &str) -> Result<()> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let link = bare.split_once('/').and_then(|(parent, alias)| {
            let parent = self.inner.containers.find(parent).ok()?;
            let has = parent.now().record.links.iter().any(|link| link.alias == alias);
            has.then(|| (parent, alias.to_owned()))
        });
        let Some((parent, alias)) = link else {
            self.inner.containers.find(name)?;
            let text = "Conflict, cannot remove the default link name of the container";
            return Err(Error::new(Kind::Internal, text));
        };
        parent.unlink(alias).await
    }
}

/// `name:alias`, `name`, or as `inspect` shows it, `/name:/web/alias`.
fn parse(text: &str) -> Result<(&str, &str)> {
    let mut parts = text.split(':');
    let (name, alias) = match (parts.next(), parts.next(), parts.next()) {
        (Some(""), None, _) => return Err(Error::invalid("empty string specified for links")),
        (Some(name), None, _) => (name, name),
        (Some(name), Some(alias), None) => match name.strip_prefix('/') {
            Some(bare) => (bare, alias.rsplit('/').next().unwrap_or_default()),
            None => (name, alias),
        },
        _ => return Err(Error::invalid(format!("bad format for links: {text}"))),
    };
    // It becomes part of a line of the hosts file and of names in the environment.
    if alias.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '=' | '#')) {
        return Err(Error::invalid(format!("bad format for links: {text:?}: invalid alias")));
    }
    Ok((name, alias))
}

/// All names of a container as the API shows them: its own, and those that its links give it.
pub(super) fn names(registry: &Registry, record: &ContainerRecord) -> Vec<String> {
    let mut names = vec![format!("/{}", record.name)];
    for parent in registry.linked_to(&record.id) {
        let parent = parent.now().record;
        let to = parent.links.iter().filter(|link| link.container == record.id);
        names.extend(to.map(|link| links::full_name(&parent, link)));
    }
    names.sort();
    names
}

/// Who may ask whom on the default network, of those that run; `joined` is about to.
pub(crate) fn links(
    registry: &Registry,
    joined: Option<(&ContainerRecord, &Endpoints)>,
) -> Vec<network::Link> {
    let endpoint = |id: &str, endpoints: &Endpoints| {
        let endpoints = match joined {
            Some((record, endpoints)) if record.id == id => endpoints,
            _ => endpoints,
        };
        endpoints.get(BRIDGE)?.id.parse::<EndpointId>().ok()
    };
    let mut all = Vec::new();
    for container in registry.all() {
        let now = container.now();
        for link in &now.record.links {
            let Ok(other) = registry.find(&link.container).map(|c| c.now()) else { continue };
            let from = endpoint(&now.record.id, &now.endpoints);
            let to = endpoint(&other.record.id, &other.endpoints);
            let (Some(from), Some(to)) = (from, to) else { continue };
            let exposed = other.record.config.exposed_ports.iter();
            let port = |text: &String| container_port(text).ok().map(|(port, kind)| (kind, port));
            all.push(network::Link { from, to, ports: exposed.filter_map(port).collect() });
        }
    }
    all
}

/// A container's links as `inspect` shows them: `/db:/web/alias`.
pub(super) fn shown(registry: &Registry, record: &ContainerRecord) -> Vec<String> {
    let show = |link: &LinkRecord| {
        let now = registry.find(&link.container).map(|c: Container| c.now().record.name.clone());
        let name = now.unwrap_or_else(|_| link.name.clone());
        format!("/{name}:{}", links::full_name(record, link))
    };
    record.links.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_docker_reads_them() {
        let read = |text: &'static str| parse(text).map_err(|e| e.to_string());
        assert_eq!(read("db"), Ok(("db", "db")));
        assert_eq!(read("db:"), Ok(("db", "")));
        assert_eq!(read(":x"), Ok(("", "x")));
        assert_eq!(read("db:x/y"), Ok(("db", "x/y")));
        assert_eq!(read("/db:/web/alias"), Ok(("db", "alias")));
        assert_eq!(read(""), Err("empty string specified for links".into()));
        assert_eq!(read("a:b:c"), Err("bad format for links: a:b:c".into()));
        for bad in ["a:b c", "a:b\n1.2.3.4\tc", "a:b=c", "a:b#c", "a b"] {
            assert!(read(bad).unwrap_err().starts_with("bad format for links"), "{bad}");
        }
    }
}
