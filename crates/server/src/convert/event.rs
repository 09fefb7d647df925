//! Events.

use crate::filters::Filters;
use engine::Event;

/// Whether a client wants this event. Filters that do not exist are overlooked, here alone, as by `dockerd`.
pub(crate) fn wanted(event: &Event, filters: &Filters) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let of_kind = |kind: &str, names: &[&str]| {
        !filters.has(kind)
            || event.kind == kind
                && filters.values(kind).any(|wanted| {
                    event.id == wanted || event.id.starts_with(wanted) || names.contains(&wanted)
                })
    };
    // An image matches by itself and by the containers that were made of it, with and without its tag.
    let of_image = || {
        let name = attribute(if event.kind == "image" { "name" } else { "image" });
        let untagged = name
            .rsplit_once(':')
            .map_or(name, |(repo, tag)| if tag.contains('/') { name } else { repo });
        filters.values("image").any(|wanted| [event.id.as_str(), name, untagged].contains(&wanted))
    };
    let action = || {
        // `exec_create: sh -c …` and `health_status: healthy` also match without what they tell.
        let short = event.action.split(':').next().unwrap_or_default();
        filters.values("event").any(|wanted| wanted == event.action || wanted == short)
    };
    (!filters.has("event") || action())
        && (!filters.has("type") || filters.values("type").any(|wanted| wanted == event.kind))
        && (!filters.has("scope") || filters.values("scope").any(|wanted| wanted == "local"))
        && of_kind("container", &[attribute("name")])
        && of_kind("daemon", &[attribute("name")])
        && of_kind("volume", &[])
        && of_kind("network", &[attribute("name")])
        && ["config", "node", "plugin", "secret", "service"].iter().all(|kind| of_kind(kind, &[]))
        && (!filters.has("image") || of_image())
        && filters.labels(&event.attributes)
}

/// One event on the wire.
pub(crate) fn to_wire(event: &Event) -> api::Event {
    // Clients of before API 1.22 know these three only.
    let old = matches!(event.kind, "container" | "image");
    let when = |yes: bool, text: &str| if yes { text.to_owned() } else { String::new() };
    let from = event.attributes.get("image").map_or("", String::as_str);
    api::Event {
        status: when(old, &event.action),
        id: when(old, &event.id),
        from: when(event.kind == "container", from),
        kind: event.kind.to_owned(),
        action: event.action.clone(),
        actor: api::Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.time.unix_seconds(),
        time_nano: i64::try_from(event.time.unix_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use stdx::time::Timestamp;

    fn event(kind: &'static str, action: &str) -> Event {
        let attributes = [("image", "reg:5000/busybox:1"), ("name", "web"), ("app", "x")];
        Event {
            kind,
            action: action.to_owned(),
            id: "c5a9367c11eb".to_owned(),
            attributes: attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            time: Timestamp::from_unix(5, 7),
        }
    }

    #[test]
    fn filters_choose() {
        let check = |event: &Event, filters: &str, expected: bool| {
            assert_eq!(wanted(event, &Filters::parse(filters).unwrap()), expected, "{filters}");
        };
        let start = event("container", "start");
        check(&start, "", true);
        check(&start, r#"{"container":["web"]}"#, true);
        check(&start, r#"{"container":["c5a9"]}"#, true);
        check(&start, r#"{"container":["other"]}"#, false);
        check(&start, r#"{"type":["image"]}"#, false);
        check(&start, r#"{"type":["image","container"],"event":["die","start"]}"#, true);
        check(&start, r#"{"image":["reg:5000/busybox"]}"#, true);
        check(&start, r#"{"image":["busybox"]}"#, false);
        check(&start, r#"{"label":["app=x"]}"#, true);
        check(&start, r#"{"label":["app=y"]}"#, false);
        check(&start, r#"{"network":["web"]}"#, false);
        check(&start, r#"{"service":["web"]}"#, false);
        check(&event("container", "exec_create: sh"), r#"{"event":["exec_create"]}"#, true);
        check(&event("network", "connect"), r#"{"network":["web"]}"#, true);
    }

    #[test]
    fn the_old_fields_are_for_containers_and_images() {
        let line = serde_json::to_string(&to_wire(&event("container", "start"))).unwrap();
        assert_eq!(
            line,
            r#"{"status":"start","id":"c5a9367c11eb","from":"reg:5000/busybox:1","Type":"container","Action":"start","Actor":{"ID":"c5a9367c11eb","Attributes":{"app":"x","image":"reg:5000/busybox:1","name":"web"}},"scope":"local","time":5,"timeNano":5000000007}"#
        );
        let mut network = event("network", "connect");
        network.attributes = BTreeMap::new();
        let line = serde_json::to_string(&to_wire(&network)).unwrap();
        assert!(line.starts_with(r#"{"Type":"network","Action":"connect","#), "{line}");
    }
}
