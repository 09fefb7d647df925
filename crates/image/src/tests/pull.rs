use super::fixtures::{Heard, Registry, World, Wrap, made, made_with, tar_of};
use crate::{PullRequest, Pulled, Silent};
use content::Fetcher;
use oci::image::media;
use serde_json::json;
use snapshot::Snapshotter as _;
use std::sync::Arc;
use std::time::Duration;
use stdx::{Kind, Result};
use tokio::sync::Semaphore;

pub(super) fn request(reference: &str) -> PullRequest {
    PullRequest { reference: reference.parse().unwrap(), platform: None }
}

pub(super) async fn pull(
    world: &World,
    registry: &Arc<Registry>,
    reference: &str,
) -> Result<Pulled> {
    let fetcher = Arc::clone(registry) as Arc<dyn Fetcher>;
    let request = request(reference);
    let pull = world.images.pull(fetcher, &request, &Silent);
    tokio::time::timeout(Duration::from_secs(20), pull).await.expect("pull hangs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_is_whole() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[
        (&[("bin/sh", "shell"), ("etc/a", "low")], Wrap::Gzip),
        (&[("etc/a", "middle"), ("big", &"x".repeat(300_000))], Wrap::Zstd),
        (&[("etc/b", "top")], Wrap::Plain),
    ]);
    let manifest = registry.image("quay.io/me/app:v1", &image);
    let heard = Heard::default();
    let fetcher = Arc::clone(&registry) as Arc<dyn Fetcher>;
    let pulled = world.images.pull(fetcher, &request("quay.io/me/app:v1"), &heard).await.unwrap();

    assert_eq!(pulled.image.id, image.id());
    assert_eq!((&pulled.digest, pulled.newer), (&manifest.digest, true));
    assert_eq!(world.file("quay.io/me/app:v1", "bin/sh").as_deref(), Some("shell"));
    assert_eq!(world.file("quay.io/me/app:v1", "etc/a").as_deref(), Some("middle"));
    assert_eq!(world.file("quay.io/me/app:v1", "etc/b").as_deref(), Some("top"));
    let summary = world.images.inspect("quay.io/me/app:v1").unwrap();
    assert_eq!(summary.tags, ["quay.io/me/app:v1"]);
    assert_eq!(summary.digests, [format!("quay.io/me/app@{}", manifest.digest)]);
    let sizes: Vec<u64> = summary.image.layers.iter().map(|l| l.size).collect();
    assert_eq!(sizes, [8, 300_006, 3]);
    assert_eq!(world.images.raw_config(&summary.image).unwrap(), image.config);
    world.assert_tidy();

    let lines = heard.lines();
    assert_eq!(lines[0], "v1: Pulling from me/app");
    let end = [
        format!("Digest: {}", manifest.digest),
        "Status: Downloaded newer image for quay.io/me/app:v1".to_owned(),
    ];
    assert_eq!(lines[lines.len() - 2..], end);
    for layer in &image.layers {
        assert_eq!(
            heard.of(crate::sha256(layer).short()),
            ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
        );
    }

    let world = world.restart();
    assert_eq!(world.file("quay.io/me/app:v1", "etc/b").as_deref(), Some("top"));
    assert_eq!(world.images.inspect("quay.io/me/app:v1").unwrap().digests, summary.digests);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_not_fetched_again() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let base = made(&[(&[("a", "1")], Wrap::Gzip)]);
    let above = made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", "2")], Wrap::Gzip)]);
    registry.image("base", &base);
    registry.image("above", &above);
    assert!(pull(&world, &registry, "base").await.unwrap().newer);
    assert!(!pull(&world, &registry, "base").await.unwrap().newer);
    let heard = Heard::default();
    let fetcher = Arc::clone(&registry) as Arc<dyn Fetcher>;
    let pulled = world.images.pull(fetcher, &request("above"), &heard).await.unwrap();
    assert_eq!(heard.of(crate::sha256(&above.layers[0]).short()), ["Already exists"]);
    for layer in &above.layers {
        assert_eq!(registry.count(&crate::sha256(layer)), 1);
    }
    assert_eq!(registry.count(&base.id()), 1);
    assert_eq!(pulled.image.layers[0].size, 1);
    assert_eq!(world.snapshots.names().len(), 2);
    // A tag that moves takes its name along; the old image stays, dangling.
    registry.image("base", &above);
    let moved = pull(&world, &registry, "base").await.unwrap();
    assert!(moved.newer);
    assert_eq!(moved.image.id, above.id());
    assert!(world.images.inspect(base.id().as_str()).unwrap().is_dangling());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_fetch_each_layer_once() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let one = made(&[(&[("a", &"a".repeat(50_000))], Wrap::Plain), (&[("b", "2")], Wrap::Gzip)]);
    let two = made(&[(&[("a", &"a".repeat(50_000))], Wrap::Plain), (&[("c", "3")], Wrap::Gzip)]);
    registry.image("one", &one);
    registry.image("two", &two);
    let gate = Arc::new(Semaphore::new(0));
    *registry.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let all = ["one", "one", "two", "one", "two"];
    let pulls = futures_util::future::join_all(all.map(|name| pull(&world, &registry, name)));
    let open = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.add_permits(100_000);
    };
    let (pulled, ()) = tokio::join!(pulls, open);
    for result in pulled {
        result.unwrap();
    }
    for layer in one.layers.iter().chain(&two.layers) {
        assert_eq!(registry.count(&crate::sha256(layer)), 1);
    }
    assert_eq!(world.snapshots.names().len(), 3);
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_leaves_nothing_and_harms_no_other() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[(&[("a", &"a".repeat(50_000))], Wrap::Plain), (&[("b", "2")], Wrap::Plain)]);
    registry.image("app", &image);
    let gate = Arc::new(Semaphore::new(20));
    *registry.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let short = Duration::from_millis(100);
    assert!(tokio::time::timeout(short, pull(&world, &registry, "app")).await.is_err());
    world.assert_tidy();
    assert_eq!(world.images.count(), 0);

    // One of two that share a download goes; the other gets its image.
    let cancelled = tokio::time::timeout(short, pull(&world, &registry, "app"));
    let other = pull(&world, &registry, "app");
    let open = async {
        tokio::time::sleep(short * 2).await;
        gate.add_permits(100_000);
    };
    let (cancelled, other, ()) = tokio::join!(cancelled, other, open);
    assert!(cancelled.is_err());
    assert_eq!(other.unwrap().image.id, image.id());
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_platform_is_taken_from_an_index() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = |arch: &str| {
        made_with(&[(&[("arch", arch)], Wrap::Gzip)], |config| config["architecture"] = json!(arch))
    };
    let manifest = |arch| registry.manifest(&image(arch), media::OCI_MANIFEST, |_| {});
    let (amd64, arm64) = (manifest("amd64"), manifest("arm64"));
    let index = registry.index("multi", &[("linux/arm64", &arm64), ("linux/amd64", &amd64)]);
    let fetcher = || Arc::clone(&registry) as Arc<dyn Fetcher>;
    for arch in ["amd64", "arm64"] {
        let request = PullRequest { platform: Some(arch.parse().unwrap()), ..request("multi") };
        let pulled = world.images.pull(fetcher(), &request, &Silent).await.unwrap();
        assert_eq!(world.file("multi", "arch").as_deref(), Some(arch));
        assert_eq!(pulled.digest, index.digest);
        assert_eq!(pulled.image.config.architecture, arch);
    }
    let request =
        PullRequest { platform: Some("linux/s390x".parse().unwrap()), ..request("multi") };
    let error = world.images.pull(fetcher(), &request, &Silent).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::NotFound, "no matching manifest for linux/s390x in the manifest list entries")
    );
    // By the index's digest the tag does not matter.
    let by_digest = format!("multi:other@{}", index.digest);
    pull(&world, &registry, &by_digest).await.unwrap();
    assert!(world.images.resolve(&format!("multi@{}", index.digest)).is_ok());
    assert!(world.images.resolve("multi:other").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_manifests_are_images_too() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[(&[("a", "1")], Wrap::Gzip)]);
    let manifest = registry.manifest(&image, media::DOCKER_MANIFEST, |m| {
        m["config"]["mediaType"] = json!(media::DOCKER_CONFIG);
        m["layers"][0]["mediaType"] = json!(media::DOCKER_LAYER_GZIP);
    });
    registry.tag("app", &manifest);
    pull(&world, &registry, "app").await.unwrap();
    assert_eq!(world.file("app", "a").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_one() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    registry.image("scratch-like", &made(&[]));
    let pulled = pull(&world, &registry, "scratch-like").await.unwrap();
    assert_eq!((pulled.image.snapshot(), pulled.image.size()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_that_cannot_rebase_unpack_in_order() {
    let world = World::new();
    world.snapshots.is_serial.store(true, std::sync::atomic::Ordering::Relaxed);
    let world = world.restart();
    let registry = Arc::new(Registry::default());
    let image = made(&[
        (&[("a", "1")], Wrap::Gzip),
        (&[("b", "2")], Wrap::Gzip),
        (&[("c", "3")], Wrap::Gzip),
    ]);
    registry.image("app", &image);
    pull(&world, &registry, "app").await.unwrap();
    for (path, text) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(world.file("app", path).as_deref(), Some(text));
    }
    world.assert_tidy();
}

#[tokio::test(flavor = "multi_thread")]
async fn implied_directories_look_like_those_below() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let mut image = made(&[(&[("x", "")], Wrap::Plain), (&[("tmp/file", "1")], Wrap::Plain)]);
    let mut base = Vec::new();
    let mut writer = tar::Writer::new(&mut base);
    let mut entry = tar::Entry::new("tmp/", tar::Kind::Directory);
    entry.mode = 0o1777;
    writer.append(&entry, &mut std::io::empty()).unwrap();
    writer.finish().unwrap();
    let above = tar_of(&[("tmp/file", "1")]);
    image.config = String::from_utf8(image.config)
        .unwrap()
        .replace(image.diff_ids[0].as_str(), crate::sha256(&base).as_str())
        .into_bytes();
    image.layers = vec![base, above];
    registry.image("app", &image);
    let pulled = pull(&world, &registry, "app").await.unwrap();
    let top = world.snapshots.committed(&pulled.image.snapshot().unwrap());
    assert_eq!(std::fs::metadata(top.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_noticed_at_open_and_healed_by_pulling() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", "2")], Wrap::Gzip)]);
    registry.image("app", &image);
    let pulled = pull(&world, &registry, "app").await.unwrap();
    // The topmost layer is lost.
    world.snapshots.remove_committed(&pulled.image.snapshot().unwrap()).unwrap();
    drop(pulled);
    let world = world.restart();
    assert_eq!(world.images.resolve("app").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(world.images.collect().unwrap(), 0, "what is left of it is kept");
    pull(&world, &registry, "app").await.unwrap();
    assert_eq!(world.file("app", "b").as_deref(), Some("2"));
    assert_eq!(registry.count(&crate::sha256(&image.layers[0])), 1);
    // The configuration is lost.
    content::Manager::remove(&world.content, &image.id()).unwrap();
    let world = world.restart();
    assert_eq!(world.images.count(), 0);
    pull(&world, &registry, "app").await.unwrap();
    assert_eq!(world.images.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_pull_left_is_collected() {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let image = made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", &"b".repeat(9000))], Wrap::Plain)]);
    registry.image("app", &image);
    registry.image("kept", &made(&[(&[("k", "k")], Wrap::Gzip)]));
    pull(&world, &registry, "kept").await.unwrap();
    registry.cut.lock().unwrap().insert(crate::sha256(&image.layers[1]), 5000);
    let error = pull(&world, &registry, "app").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Unavailable, "the transfer was cut")
    );
    world.assert_tidy();
    assert_eq!(world.images.count(), 1);
    let left = world.snapshots.names().len();
    assert_eq!(world.images.collect().unwrap(), left - 1);
    assert_eq!(world.blobs(), 2, "configuration and manifest of the other image");
    assert_eq!(world.file("kept", "k").as_deref(), Some("k"));
    // And the registry recovers.
    registry.cut.lock().unwrap().clear();
    pull(&world, &registry, "app").await.unwrap();
}
