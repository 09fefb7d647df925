use super::fixtures::{World, Wrap, made, made_with};
use crate::Image;
use serde_json::json;
use std::sync::Arc;
use stdx::Kind;

/// Installs an image of one file; its id depends on `text`.
pub(super) fn install(world: &World, name: &str, text: &str) -> Arc<Image> {
    let image = made(&[(&[("file", text)], Wrap::Plain)]);
    let config = serde_json::from_slice(&image.config).unwrap();
    world.images.assemble(name, config, &image.layers).unwrap()
}

#[test]
fn texts_find_images_by_dockers_rules() {
    let world = World::new();
    let app = install(&world, "me/app:v1", "1");
    let busybox = install(&world, "busybox", "2");
    let finds = |text: &str| {
        world.images.resolve(text).map(|i| i.id.clone()).map_err(|e| (e.kind(), e.to_string()))
    };
    for text in ["busybox", "busybox:latest", "library/busybox", "docker.io/library/busybox:latest"]
    {
        assert_eq!(finds(text), Ok(busybox.id.clone()), "{text}");
    }
    for text in [
        app.id.as_str(),
        app.id.hex(),
        app.id.short(),
        &app.id.as_str()[..20],
        "docker.io/me/app:v1",
    ] {
        assert_eq!(finds(text), Ok(app.id.clone()), "{text}");
    }
    let missing = |text: &str, message: &str| {
        assert_eq!(finds(text), Err((Kind::NotFound, message.to_owned())), "{text}");
    };
    missing("me/app", "No such image: me/app:latest");
    missing("x", "No such image: x:latest");
    missing("quay.io/x:y", "No such image: quay.io/x:y");
    let nobody = "0".repeat(64);
    missing(&nobody, &format!("No such image: sha256:{nobody}"));
    missing(&format!("sha256:{nobody}"), &format!("No such image: sha256:{nobody}"));
    let invalid = |text: &str, message: &str| {
        assert_eq!(finds(text), Err((Kind::InvalidArgument, message.to_owned())), "{text}");
    };
    invalid("", "invalid reference format");
    invalid("a b", "invalid reference format");
    invalid("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase");
}

#[test]
fn a_short_id_that_is_not_unique_finds_nothing() {
    let world = World::new();
    let mut first_digits = std::collections::HashMap::new();
    let shared = (0..40).find_map(|n| {
        let image = install(&world, &format!("app:{n}"), &n.to_string());
        first_digits
            .insert(image.id.hex()[..1].to_owned(), ())
            .map(|()| image.id.hex()[..1].to_owned())
    });
    let shared = shared.expect("two of 17 begin with the same digit");
    let error = world.images.resolve(&shared).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        format!("No such image: {shared}:latest (2 image ids begin with \"{shared}\")")
    );
    // A name goes before an id.
    let named = install(&world, &shared, "named");
    assert_eq!(world.images.resolve(&shared).unwrap().id, named.id);
}

#[test]
fn tags_are_put_and_moved() {
    let world = World::new();
    let one = install(&world, "one", "1");
    let two = install(&world, "two", "2");
    assert_eq!(world.images.tag("one", "quay.io/me/x").unwrap().0, "quay.io/me/x:latest");
    assert_eq!(world.images.resolve("quay.io/me/x").unwrap().id, one.id);
    world.images.tag(two.id.short(), "quay.io/me/x").unwrap();
    assert_eq!(world.images.resolve("quay.io/me/x").unwrap().id, two.id);
    assert_eq!(world.images.inspect("one").unwrap().tags, ["one:latest"]);
    let refused = |source: &str, target: &str, kind: Kind, message: &str| {
        let error = world.images.tag(source, target).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    };
    refused("none", "x", Kind::NotFound, "No such image: none:latest");
    refused(
        "one",
        "X",
        Kind::InvalidArgument,
        "invalid reference format: repository name (library/X) must be lowercase",
    );
    refused(
        "one",
        "sha256",
        Kind::InvalidArgument,
        "refusing to create an ambiguous tag using digest algorithm as name",
    );
    let digest = format!("x@sha256:{}", "0".repeat(64));
    refused(
        "one",
        &digest,
        Kind::InvalidArgument,
        "refusing to create a tag with a digest reference",
    );
    assert!(one.tagged < world.images.resolve("two").unwrap().tagged);
    let world = world.restart();
    assert_eq!(world.images.inspect("two").unwrap().tags, ["two:latest", "quay.io/me/x:latest"]);
}

#[test]
fn lists_show_the_newest_first() {
    let world = World::new();
    for year in [2021, 2023, 2022] {
        let image = made_with(&[(&[("year", &year.to_string())], Wrap::Plain)], |c| {
            c["created"] = json!(format!("{year}-01-01T00:00:00Z"));
        });
        let config = serde_json::from_slice(&image.config).unwrap();
        world.images.assemble(&format!("app:{year}"), config, &image.layers).unwrap();
    }
    let tags: Vec<String> = world.images.list().into_iter().flat_map(|s| s.tags).collect();
    assert_eq!(tags, ["app:2023", "app:2022", "app:2021"]);
}

#[test]
fn history_is_shown_as_far_as_it_fits() {
    let world = World::new();
    let show = |history: serde_json::Value| {
        let image =
            made_with(&[(&[("a", "12345")], Wrap::Plain), (&[("b", "1")], Wrap::Plain)], |c| {
                c["history"] = history;
            });
        let config = serde_json::from_slice(&image.config).unwrap();
        world.images.assemble("app", config, &image.layers).unwrap();
        let lines = world.images.history("app").unwrap();
        assert!(
            lines.first().is_none_or(|l| l.id.starts_with("sha256:") && l.tags == ["app:latest"])
        );
        assert!(lines.iter().skip(1).all(|l| l.id == "<missing>" && l.tags.is_empty()));
        lines.into_iter().map(|l| (l.created_by, l.size)).collect::<Vec<_>>()
    };
    let step = |by: &str, empty: bool| json!({"created_by": by, "empty_layer": empty});
    let line = |by: &str, size: u64| (by.to_owned(), size);
    assert_eq!(
        show(json!([step("ADD", false), step("CMD", true), step("RUN", false)])),
        [line("RUN", 1), line("CMD", 0), line("ADD", 5)]
    );
    // CVE-2024-36620: a history that has more layers than there are must not stop anybody.
    assert_eq!(
        show(json!([step("a", false), step("b", false), step("c", false)])),
        [line("c", 0), line("b", 1), line("a", 5)]
    );
    assert_eq!(show(json!(null)), []);
}
