//! Lists and what they are narrowed by; prune.

use super::Daemon;
use crate::convert;
use crate::edge::conn::Outcome;
use crate::filters::{Filters, Patterns, glob};
use crate::query::{parse_number, quoted};
use crate::reply;
use crate::router::Call;
use engine::{ContainerView, Engine, Status};
use image::Summary;
use std::collections::BTreeSet;
use stdx::time::Timestamp;
use stdx::{Error, Result};

const CONTAINER_FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: [&str; 7] =
    ["created", "dead", "exited", "paused", "removing", "restarting", "running"];
const HEALTHS: [&str; 4] = ["healthy", "none", "starting", "unhealthy"];

pub(crate) fn containers(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    // Refused before anything is looked up.
    let choice = Choice::new(&filters)?;
    let limit =
        call.query.number("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let every_state = call.query.flag("all") || limit.is_some() || filters.has("status");
    let mut choice = choice.look_up(&daemon.engine)?;
    let now = Timestamp::now();
    let size = call.query.flag("size");
    let wanted = daemon.engine.list_containers().filter(|view| {
        let live =
            matches!(view.state.status, Status::Running | Status::Paused | Status::Restarting);
        choice.wants(view) && (every_state || live)
    });
    let items = wanted.take(limit.unwrap_or(usize::MAX)).map(|mut view| {
        if size {
            view.size = daemon.engine.container_size(&view.record.id);
        }
        convert::container::summary(view, now, call.version)
    });
    reply::list(items, 1024)
}

/// What of a list is wanted.
struct Choice<'f> {
    filters: &'f Filters,
    names: Patterns,
    exited: Vec<i32>,
    expose: Vec<(u16, u16, String)>,
    publish: Vec<(u16, u16, String)>,
    /// Ids of containers. The list is walked from the newest on: `since` wants what comes before its container,
    /// `before` what comes after its own, and the latter is forgotten once it has been passed.
    since: Option<String>,
    before: Option<String>,
    /// The container of `since` has been passed.
    over: bool,
    images: Option<BTreeSet<String>>,
}

impl<'f> Choice<'f> {
    fn new(filters: &'f Filters) -> Result<Self> {
        filters.only(&CONTAINER_FILTERS)?;
        if let Some(bad) = filters.values("status").find(|status| !STATES.contains(status)) {
            return Err(Error::invalid(format!("invalid filter 'status={bad}'")));
        }
        if let Some(bad) = filters.values("health").find(|health| !HEALTHS.contains(health)) {
            return Err(Error::invalid(format!("unrecognized filter value for health: {bad}")));
        }
        filters.flag("is-task")?;
        let code = |text: &str| {
            let number = parse_number(text).ok().and_then(|n| i32::try_from(n).ok());
            number.ok_or_else(|| {
                Error::invalid(format!(
                    "invalid filter 'exited={text}': strconv.Atoi: parsing {}: invalid syntax",
                    quoted(text)
                ))
            })
        };
        let ports = |name: &'static str| {
            let parse = move |text| {
                port_range(text).map_err(|why| {
                    Error::invalid(format!("error while looking up for {name} {text}: {why}"))
                })
            };
            filters.values(name).map(parse).collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            names: Patterns::new(filters, "name"),
            exited: filters.values("exited").map(code).collect::<Result<_>>()?,
            expose: ports("expose")?,
            publish: ports("publish")?,
            since: None,
            before: None,
            over: false,
            images: None,
            filters,
        })
    }

    /// Looks up the containers and images that are named. A container must exist; no image by a name means no container.
    fn look_up(mut self, engine: &Engine) -> Result<Self> {
        let id_of = |name: Option<&str>| -> Result<Option<String>> {
            name.map(|name| Ok(engine.inspect_container(name, false)?.record.id.clone()))
                .transpose()
        };
        self.since = id_of(self.filters.values("since").next())?;
        self.before = id_of(self.filters.values("before").next())?;
        if self.filters.has("ancestor") {
            let ids = self.filters.values("ancestor");
            self.images = Some(
                ids.filter_map(|name| Some(engine.images().resolve(name).ok()?.id.to_string()))
                    .collect(),
            );
        }
        Ok(self)
    }

    /// Called once for each container, in the order of the list.
    fn wants(&mut self, view: &ContainerView) -> bool {
        self.over |= self.since.as_ref() == Some(&view.record.id);
        let early = self.before.is_some();
        if self.before.as_ref() == Some(&view.record.id) {
            self.before = None;
        }
        !self.over && !early && self.matches(view)
    }

    fn matches(&self, view: &ContainerView) -> bool {
        let filters = self.filters;
        let record = &view.record;
        let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
            !filters.has(name) || filters.values(name).any(matches)
        };
        any("id", &|id| record.id.starts_with(id))
            && (self.names.is_empty()
                || self.names.matches(&record.name)
                || self.names.matches(&format!("/{}", record.name)))
            && any("status", &|status| view.state.status.to_string() == status)
            && any("health", &|wanted| {
                view.state.health.as_ref().map_or("none", |h| h.status.word()) == wanted
            })
            && any("is-task", &|task| matches!(task, "0" | "false"))
            && any("isolation", &|isolation| matches!(isolation, "" | "default"))
            && (self.exited.is_empty() || self.exited(view))
            && self.images.as_ref().is_none_or(|ids| ids.contains(&record.image_id))
            && filters.labels(&record.config.labels)
            && any("network", &|wanted| {
                view.network.endpoints.iter().any(|(name, endpoint)| {
                    name == wanted || !wanted.is_empty() && endpoint.network_id.starts_with(wanted)
                })
            })
            && any("volume", &|wanted| {
                record.mounts.iter().any(|mount| {
                    mount.name.as_deref() == Some(wanted)
                        || mount.destination == wanted
                        || mount.source.as_os_str() == wanted
                })
            })
            && (self.expose.is_empty() && self.publish.is_empty() || self.has_port(view))
    }

    /// Whether one of its ports is among those that are wanted, published or exposed.
    fn has_port(&self, view: &ContainerView) -> bool {
        let among = |wanted: &[(u16, u16, String)], port: u16, kind: &str| {
            wanted.iter().any(|(first, last, of)| (*first..=*last).contains(&port) && of == kind)
        };
        let exposed = |port: &String| {
            port_range(port).is_ok_and(|(number, _, kind)| among(&self.expose, number, &kind))
        };
        let ports = &view.network.ports;
        has_ports(view) && view.record.config.exposed_ports.iter().any(exposed)
            || ports.iter().any(|p| {
                p.each().any(|(port, container)| {
                    among(&self.publish, port, &p.protocol)
                        || among(&self.expose, container, &p.protocol)
                })
            })
    }

    fn exited(&self, view: &ContainerView) -> bool {
        !matches!(view.state.status, Status::Running | Status::Paused | Status::Restarting)
            && !view.state.started.is_zero()
            && self.exited.contains(&view.state.code)
    }
}

/// Whether the container has a network stack of its own on which ports count: Docker knows no others.
fn has_ports(view: &ContainerView) -> bool {
    matches!(view.state.status, Status::Running | Status::Paused)
        && view.network.endpoints.keys().any(|name| !matches!(name.as_str(), "none" | "host"))
}

/// `80`, `80/udp`, `8000-8010/tcp`
fn port_range(text: &str) -> Result<(u16, u16, String), String> {
    let (ports, kind) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| {
        text.parse::<u16>().map_err(|_| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            format!("strconv.ParseUint: parsing {}: {why}", quoted(text))
        })
    };
    Ok((number(first)?, number(last)?, kind.to_ascii_lowercase()))
}

pub(crate) async fn prune_containers(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let keep = |view: &ContainerView| {
        !filters.labels(&view.record.config.labels)
            || until.is_some_and(|until| view.record.created > until)
    };
    let (ids, bytes) = daemon.engine.prune_containers(keep).await?;
    let report = api::ContainerPruneReport {
        containers_deleted: Some(ids).filter(|ids| !ids.is_empty()),
        space_reclaimed: bytes,
    };
    reply::ok(&report)
}

pub(crate) async fn prune_images(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&["dangling", "label", "label!", "until"])?;
    let dangling = filters.flag("dangling")?.unwrap_or(true);
    let until = filters.until()?;
    let keep = |summary: &Summary| {
        !filters.labels(&summary.image.config.config.labels)
            || until.is_some_and(|until| summary.image.created() > until)
    };
    let (removed, bytes) = daemon.engine.prune_images(dangling, keep).await?;
    let removed: Vec<api::ImageDelete> = removed.into_iter().map(convert::image::removed).collect();
    reply::ok(&api::ImagePruneReport {
        images_deleted: Some(removed).filter(|removed| !removed.is_empty()),
        space_reclaimed: bytes,
    })
}

const IMAGE_FILTERS: [&str; 7] =
    ["dangling", "label", "label!", "before", "since", "reference", "until"];

pub(crate) fn images(daemon: &Daemon, call: &Call) -> Result<Outcome> {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.only(&IMAGE_FILTERS)?;
    let dangling = filters.flag("dangling")?;
    let until = filters.until()?;
    let images = daemon.engine.images();
    let made = |name: Option<&str>| match name {
        Some(name) => images.resolve(name).map(|image| Some(image.created())),
        None => Ok(None),
    };
    let (since, before) =
        (made(filters.values("since").next())?, made(filters.values("before").next())?);
    let mut all = images.list();
    all.sort_by_key(|summary| std::cmp::Reverse(summary.image.created()));
    let shared = call.query.flag("shared-size").then(|| convert::image::shared(&all));
    let mut items = Vec::new();
    for (at, mut summary) in all.into_iter().enumerate() {
        let created = summary.image.created();
        let wanted = dangling.is_none_or(|dangling| summary.is_dangling() == dangling)
            && since.is_none_or(|since| created > since)
            && before.is_none_or(|before| created < before)
            && until.is_none_or(|until| created < until)
            && filters.labels(&summary.image.config.config.labels);
        if wanted && named(&mut summary, &filters) {
            let shared = shared.as_ref().map(|bytes| bytes[at]);
            items.push(convert::image::summary(&summary, shared, call.version));
        }
    }
    reply::ok(&items)
}

/// Leaves the names that `reference` wants; whether any is left.
fn named(summary: &mut Summary, filters: &Filters) -> bool {
    if !filters.has("reference") {
        return true;
    }
    summary.tags.retain(|name| filters.values("reference").any(|pattern| refers(pattern, name)));
    summary.digests.retain(|name| filters.values("reference").any(|pattern| refers(pattern, name)));
    !(summary.tags.is_empty() && summary.digests.is_empty())
}

/// Whether a pattern covers a familiar name, with or without its tag or digest.
fn refers(pattern: &str, name: &str) -> bool {
    let bare = match name.split_once('@') {
        Some((bare, _)) => bare,
        None => match name.rsplit_once(':') {
            Some((bare, tag)) if !tag.contains('/') => bare,
            _ => name,
        },
    };
    glob(pattern, name) || glob(pattern, bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        assert!(refers("busybox", "busybox:latest") && refers("busybox:*", "busybox:latest"));
        assert!(refers("*:1", "a:1") && !refers("*:1", "a/b:1") && refers("*/b", "a/b:1"));
        assert!(refers("reg:5000/a", "reg:5000/a:1") && refers("a", "a@sha256:00"));
        assert!(!refers("busy", "busybox:latest"));
    }

    #[test]
    fn ports() {
        assert_eq!(port_range("80").unwrap(), (80, 80, "tcp".to_owned()));
        assert_eq!(port_range("8000-8010/UDP").unwrap(), (8000, 8010, "udp".to_owned()));
        assert_eq!(
            port_range("x").expect_err("x"),
            "strconv.ParseUint: parsing \"x\": invalid syntax"
        );
    }
}
