use super::fixtures::{Registry, World, Wrap, made};
use super::names::install;
use super::pull::pull;
use crate::{Removed, Usage};
use snapshot::{Key, Snapshotter as _};
use std::sync::Arc;
use stdx::Kind;
use types::{ContainerId, Digest};

/// As `docker rmi` prints.
fn lines(removed: &[Removed]) -> Vec<String> {
    let line = |r: &Removed| match r {
        Removed::Untagged { reference, .. } => format!("Untagged: {reference}"),
        Removed::Image(id) => format!("Deleted: {id}"),
        Removed::Layer(id) => format!("Layer: {id}"),
    };
    removed.iter().map(line).collect()
}

fn used(image: &Digest, running: bool) -> Usage {
    Usage { container: ContainerId::from_bytes(&[0xcc; 32]), image: image.clone(), running }
}

fn refused(world: &World, text: &str, force: bool, uses: &[Usage], message: &str) {
    let error = world.images.remove(text, force, uses).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Conflict, message));
}

#[test]
fn the_last_name_takes_the_image_with_it() {
    let world = World::new();
    let image = install(&world, "app", "1");
    world.images.tag("app", "other:2").unwrap();
    assert_eq!(lines(&world.images.remove("app", false, &[]).unwrap()), ["Untagged: app:latest"]);
    assert_eq!(
        lines(&world.images.remove("other:2", false, &[]).unwrap()),
        [
            "Untagged: other:2".to_owned(),
            format!("Deleted: {}", image.id),
            format!("Layer: {}", image.layers[0].chain_id)
        ]
    );
    assert!(world.snapshots.names().is_empty());
    assert_eq!((world.images.count(), world.blobs()), (0, 0));
    let error = world.images.remove("app", false, &[]).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::NotFound, "No such image: app:latest")
    );
    drop(image);
    let world = world.restart();
    assert_eq!(world.images.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_go_with_the_last_tag_of_their_repository() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[(&[("a", "1")], Wrap::Gzip)]);
    let manifest = registry.image("app", &image);
    pull(&world, &registry, "app").await.unwrap();
    let deleted = [
        "Untagged: app:latest".to_owned(),
        format!("Untagged: app@{}", manifest.digest),
        format!("Deleted: {}", image.id()),
        format!("Layer: {}", image.diff_ids[0]),
    ];
    assert_eq!(lines(&world.images.remove("app", false, &[]).unwrap()), deleted);
    pull(&world, &registry, "app").await.unwrap();
    assert_eq!(lines(&world.images.remove(image.id().short(), false, &[]).unwrap()), deleted);
    pull(&world, &registry, "app").await.unwrap();
    world.images.tag("app", "app:2").unwrap();
    assert_eq!(
        lines(&world.images.remove("app:latest", false, &[]).unwrap()),
        ["Untagged: app:latest"]
    );
    assert_eq!(
        lines(&world.images.remove(&format!("app@{}", manifest.digest), false, &[]).unwrap()),
        [format!("Untagged: app@{}", manifest.digest)]
    );
    assert_eq!(world.images.inspect("app:2").unwrap().digests, Vec::<String>::new());
}

#[test]
fn several_names_protect_an_id() {
    let world = World::new();
    let image = install(&world, "app", "1");
    world.images.tag("app", "other").unwrap();
    let short = image.id.short();
    refused(
        &world,
        short,
        false,
        &[],
        &format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        ),
    );
    let removed = lines(&world.images.remove(short, true, &[]).unwrap());
    assert_eq!(removed[..2], ["Untagged: app:latest", "Untagged: other:latest"]);
    assert_eq!(removed.len(), 4);
}

#[test]
fn containers_protect_their_image() {
    let world = World::new();
    let image = install(&world, "app", "1");
    let short = image.id.short();
    let (stopped, running) = (used(&image.id, false), used(&image.id, true));
    let user = "cccccccccccc";
    for usage in [&stopped, &running] {
        refused(
            &world,
            "app",
            false,
            std::slice::from_ref(usage),
            &format!(
                "conflict: unable to remove repository reference \"app\" (must force) - container {user} is using its referenced image {short}"
            ),
        );
    }
    refused(
        &world,
        short,
        false,
        std::slice::from_ref(&stopped),
        &format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
        ),
    );
    for force in [false, true] {
        refused(
            &world,
            short,
            force,
            std::slice::from_ref(&running),
            &format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
            ),
        );
    }
    // A container of another image is no obstacle; nor is one when another name remains.
    world.images.tag("app", "second").unwrap();
    assert_eq!(
        lines(&world.images.remove("second", false, std::slice::from_ref(&running)).unwrap()),
        ["Untagged: second:latest"]
    );
    // By force the name goes, and the image stays for as long as it is needed.
    assert_eq!(
        lines(&world.images.remove("app", true, std::slice::from_ref(&running)).unwrap()),
        ["Untagged: app:latest"]
    );
    assert!(world.images.inspect(short).unwrap().is_dangling());
    // Stopped and by force the image goes. Its layers stay while the container stands on them.
    let key = Key::new("container").unwrap();
    world.snapshots.prepare(&key, image.snapshot().as_ref()).unwrap();
    assert_eq!(
        lines(&world.images.remove(short, true, &[stopped]).unwrap()),
        [format!("Deleted: {}", image.id)]
    );
    assert_eq!(world.images.collect().unwrap(), 0);
    world.snapshots.remove_active(&key).unwrap();
    assert_eq!(world.images.collect().unwrap(), 1);
    assert!(world.snapshots.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_stay_while_another_image_has_them() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let base = made(&[(&[("a", "1")], Wrap::Gzip)]);
    let above = made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", "2")], Wrap::Gzip)]);
    registry.image("base", &base);
    registry.image("above", &above);
    pull(&world, &registry, "base").await.unwrap();
    pull(&world, &registry, "above").await.unwrap();
    let removed = lines(&world.images.remove("above", false, &[]).unwrap());
    assert_eq!(removed.iter().filter(|l| l.starts_with("Layer")).count(), 1);
    assert_eq!(world.file("base", "a").as_deref(), Some("1"));
    pull(&world, &registry, "above").await.unwrap();
    let removed = lines(&world.images.remove("base", false, &[]).unwrap());
    assert_eq!(removed.iter().filter(|l| l.starts_with("Layer")).count(), 0);
    assert_eq!(world.file("above", "a").as_deref(), Some("1"));
    world.images.remove("above", false, &[]).unwrap();
    assert!(world.snapshots.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_and_removing_at_once_never_breaks_an_image() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", "2")], Wrap::Gzip)]);
    registry.image("app", &image);
    let images = Arc::clone(&world.images);
    let remover = tokio::task::spawn_blocking(move || {
        let mut removed = 0;
        for _ in 0..3000 {
            match images.remove("app", true, &[]) {
                Ok(_) => removed += 1,
                Err(e) => assert_eq!(e.kind(), Kind::NotFound, "{e}"),
            }
            std::thread::yield_now();
        }
        removed
    });
    let mut pulls = 0;
    while !remover.is_finished() {
        pull(&world, &registry, "app").await.unwrap();
        pulls += 1;
    }
    assert!(remover.await.unwrap() > 0 && pulls > 1);
    pull(&world, &registry, "app").await.unwrap();
    assert_eq!(world.file("app", "b").as_deref(), Some("2"));
    world.assert_tidy();
    // What the index says is what the store says.
    let world = world.restart();
    assert_eq!(world.file("app", "a").as_deref(), Some("1"));
    assert_eq!(world.images.collect().unwrap(), 0);
}
