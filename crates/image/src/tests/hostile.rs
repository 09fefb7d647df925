//! Registries and archives that lie.

use super::fixtures::{Made, Registry, World, Wrap, made, made_with, tar_of, wrap};
use super::pull::pull;
use crate::Silent;
use oci::image::{Descriptor, media};
use serde_json::json;
use std::sync::Arc;
use stdx::Kind;

/// Pulls what `build` put there; it must fail like this and leave nothing.
async fn refuse(kind: Kind, text: &str, build: impl FnOnce(&Registry) -> Descriptor) {
    let world = World::new();
    let registry = Arc::new(Registry::default());
    let top = build(&registry);
    registry.tag("app", &top);
    let error = pull(&world, &registry, "app").await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains(text) && error.kind() == kind, "{error:?}");
    assert_eq!(world.images.count(), 0);
    assert_eq!(world.blobs(), 0, "{shown}");
    world.assert_tidy();
    world.images.collect().unwrap();
    assert!(world.snapshots.names().is_empty(), "{shown}");
}

fn two_layers() -> Made {
    made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", "2")], Wrap::Gzip)])
}

fn plain(registry: &Registry, image: &Made) -> Descriptor {
    registry.manifest(image, media::OCI_MANIFEST, |_| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_must_be_what_their_digests_say() {
    let image = two_layers();
    let digest = crate::sha256(&image.layers[1]);
    let other = wrap(&tar_of(&[("evil", "3")]), Wrap::Gzip);
    refuse(Kind::DataLoss, digest.as_str(), |r| {
        let manifest = plain(r, &image);
        r.forge(&digest, other.clone());
        manifest
    })
    .await;
    // One bit, in the part of the archive that no file shows: tar's padding, uncompressed.
    let image = made(&[(&[("a", "1")], Wrap::Plain)]);
    let digest = crate::sha256(&image.layers[0]);
    refuse(Kind::DataLoss, "arrived as", |r| {
        let manifest = plain(r, &image);
        let mut bytes = image.layers[0].clone();
        *bytes.last_mut().unwrap() ^= 1;
        r.forge(&digest, bytes);
        manifest
    })
    .await;
    // The blob is right, what it unpacks to is not.
    let lie = made_with(&[(&[("a", "1")], Wrap::Gzip)], |c| {
        c["rootfs"]["diff_ids"][0] = json!(crate::sha256(b"something else"));
    });
    refuse(Kind::DataLoss, "invalid diffID for layer 0: expected", |r| plain(r, &lie)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_must_be_true() {
    let image = two_layers();
    for size in [json!(1), json!(10_000_000)] {
        refuse(Kind::DataLoss, "bytes instead of", |r| {
            r.manifest(&image, media::OCI_MANIFEST, |m| m["layers"][1]["size"] = size)
        })
        .await;
    }
    refuse(Kind::DataLoss, "bytes instead of", |r| {
        r.manifest(&image, media::OCI_MANIFEST, |m| m["config"]["size"] = json!(5))
    })
    .await;
    refuse(Kind::DataLoss, "is over", |r| {
        r.manifest(&image, media::OCI_MANIFEST, |m| m["config"]["size"] = json!(1_u64 << 40))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_must_fit() {
    let image = two_layers();
    refuse(Kind::DataLoss, "arrived as", |r| {
        let manifest = plain(r, &image);
        r.forge(&image.id(), String::from_utf8(image.config.clone()).unwrap().replace("sh", "XX"));
        manifest
    })
    .await;
    let fewer = made_with(&[(&[("a", "1")], Wrap::Gzip)], |c| c["rootfs"]["diff_ids"] = json!([]));
    refuse(Kind::DataLoss, "layers length mismatch: expected 0, got 1", |r| plain(r, &fewer)).await;
    let windows = made_with(&[], |c| c["os"] = json!("windows"));
    refuse(Kind::NotImplemented, "image operating system \"windows\" cannot be used", |r| {
        plain(r, &windows)
    })
    .await;
    for (bytes, text) in [
        ("[]", "no JSON object"),
        ("{", "damaged"),
        ("{\"rootfs\":{\"type\":\"x\"}}", "type \"x\""),
    ] {
        let garbage = Made { config: bytes.as_bytes().to_vec(), layers: vec![], diff_ids: vec![] };
        refuse(Kind::DataLoss, text, |r| plain(r, &garbage)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_must_be_one_thing() {
    let image = two_layers();
    refuse(Kind::DataLoss, "both \"manifests\" and \"layers\"", |r| {
        r.manifest(&image, media::OCI_MANIFEST, |m| m["manifests"] = json!([]))
    })
    .await;
    refuse(Kind::DataLoss, "arrived as", |r| {
        let manifest = plain(r, &image);
        Descriptor { media_type: media::OCI_INDEX.into(), ..manifest }
    })
    .await;
    refuse(Kind::NotImplemented, "this is no container image", |r| {
        r.manifest(&image, media::OCI_MANIFEST, |m| {
            m["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
        })
    })
    .await;
    refuse(Kind::NotImplemented, "layer of media type", |r| {
        r.manifest(&image, media::OCI_MANIFEST, |m| {
            m["layers"][0]["mediaType"] = json!("text/x-thing");
        })
    })
    .await;
    for garbage in ["", "<html>", "{\"schemaVersion\":2}"] {
        refuse(Kind::DataLoss, "manifest is damaged", |r| r.put(media::OCI_MANIFEST, garbage))
            .await;
    }
    // An index in an index in an index, for ever.
    refuse(Kind::DataLoss, "nested too deeply", |r| {
        let mut inner = plain(r, &image);
        for _ in 0..5 {
            inner = r.index("x", &[(&types::Platform::host().to_string(), &inner)]);
        }
        inner
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_try_to_leave_are_refused() {
    let canary = tempfile::tempdir().unwrap();
    let outside = canary.path().join("canary");
    std::fs::write(&outside, "safe").unwrap();
    for path in ["../../../../../../tmp/x", "a/../../x"] {
        let image = made(&[(&[(path, "evil")], Wrap::Gzip)]);
        // Either refused or kept inside: never outside.
        let world = World::new();
        let registry = Arc::new(Registry::default());
        registry.image("app", &image);
        drop(pull(&world, &registry, "app").await);
        assert!(!world.root.path().join("x").exists());
        assert!(!world.root.path().join("snapshots/x").exists());
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "safe");
}

/// A docker-archive from its members; what cannot be text is given as bytes.
fn load(members: &[(tar::Entry, Vec<u8>)]) -> (World, stdx::Result<Vec<Arc<crate::Image>>>) {
    let mut bytes = Vec::new();
    let mut writer = tar::Writer::new(&mut bytes);
    for (entry, data) in members {
        let mut entry = entry.clone();
        entry.size = data.len() as u64;
        writer.append(&entry, &mut data.as_slice()).unwrap();
    }
    writer.finish().unwrap();
    let world = World::new();
    let loaded = world.images.load(&mut bytes.as_slice(), &Silent);
    (world, loaded)
}

fn file(path: &str, bytes: impl Into<Vec<u8>>) -> (tar::Entry, Vec<u8>) {
    (tar::Entry::new(path, tar::Kind::File), bytes.into())
}

fn refuse_load(text: &str, members: &[(tar::Entry, Vec<u8>)]) {
    let (world, loaded) = load(members);
    let error = loaded.unwrap_err();
    assert!(error.to_string().contains(text), "{error:?}, not {text}");
    assert_eq!(world.images.count(), 0);
    world.images.collect().unwrap();
    assert!(world.snapshots.names().is_empty());
    world.assert_tidy();
}

#[test]
fn loading_refuses_names_that_lead_elsewhere() {
    let image = made(&[(&[("a", "1")], Wrap::Plain)]);
    let layer = image.layers[0].clone();
    let config = || file("config.json", image.config.clone());
    let manifest = |config: &str, layer: &str, tag: &str| {
        let text = json!([{"Config": config, "Layers": [layer], "RepoTags": [tag]}]).to_string();
        file("manifest.json", text)
    };
    let link = |path: &str, target: &str| {
        let kind = tar::Kind::Symlink { target: target.as_bytes().to_vec() };
        (tar::Entry::new(path, kind), Vec::new())
    };
    let good = || file("layer.tar", layer.clone());
    let (_, loaded) = load(&[config(), good(), manifest("config.json", "layer.tar", "a:b")]);
    loaded.unwrap();

    refuse_load(
        "leads out of it",
        &[config(), good(), manifest("config.json", "../../etc/passwd", "a:b")],
    );
    refuse_load(
        "leads out of it",
        &[config(), good(), manifest("/etc/passwd", "layer.tar", "a:b")],
    );
    refuse_load(
        "is not in it",
        &[config(), good(), manifest("sha256:../../etc", "layer.tar", "a:b")].map(|(mut e, d)| {
            // The digest as a path would be plain text in a map: it is just not there.
            if e.path == b"manifest.json" {
                let text = String::from_utf8(d).unwrap().replace("sha256:../../etc", "sha256:etc");
                return (e, text.into_bytes());
            }
            e.mode = 0o600;
            (e, d)
        }),
    );
    refuse_load(
        "leads out of it",
        &[config(), link("layer.tar", "/etc/passwd"), manifest("config.json", "layer.tar", "a:b")],
    );
    refuse_load(
        "leads out of it",
        &[config(), link("layer.tar", "../../x"), manifest("config.json", "layer.tar", "a:b")],
    );
    refuse_load(
        "link to itself",
        &[config(), link("layer.tar", "layer.tar"), manifest("config.json", "layer.tar", "a:b")],
    );
    refuse_load(
        "leads out of it",
        &[file("../evil", "x"), config(), good(), manifest("config.json", "layer.tar", "a:b")],
    );
    refuse_load("leads out of it", &[file("/srv/canary", "x")]);
    refuse_load("is not in it", &[config(), manifest("config.json", "layer.tar", "a:b")]);
    refuse_load(
        "repository name (library/A) must be lowercase",
        &[config(), good(), manifest("config.json", "layer.tar", "A:b")],
    );
    refuse_load(
        "invalid reference format",
        &[config(), good(), manifest("config.json", "layer.tar", "a:b/../c")],
    );
    let device = tar::Entry::new("dev", tar::Kind::CharDevice { major: 1, minor: 3 });
    refuse_load("is no file", &[(device, Vec::new())]);
    refuse_load("neither manifest.json nor index.json", &[good()]);
    refuse_load("manifest.json", &[file("manifest.json", "[{]")]);
    refuse_load(
        "invalid diffID for layer 0",
        &[
            config(),
            file("layer.tar", tar_of(&[("a", "2")])),
            manifest("config.json", "layer.tar", "a:b"),
        ],
    );
    refuse_load(
        "layers length mismatch: expected 1, got 0",
        &[
            config(),
            file("manifest.json", json!([{"Config": "config.json", "Layers": null}]).to_string()),
        ],
    );
}

#[test]
fn loading_refuses_what_is_no_archive() {
    let world = World::new();
    for bytes in [&b"not a tar"[..], &[0xff; 2000], &[0x1f, 0x8b, 1, 2, 3], b"\xfd7zXZ\0rest of it"]
    {
        let error = world.images.load(&mut { bytes }, &Silent).unwrap_err();
        assert!(
            matches!(error.kind(), Kind::InvalidArgument | Kind::Internal | Kind::NotImplemented),
            "{error:?}"
        );
        world.assert_tidy();
    }
}

#[test]
fn loading_ends_bombs() {
    // 70 MiB of zeros in a few kilobytes.
    let mut entry = tar::Entry::new("bomb", tar::Kind::File);
    entry.size = 70 << 20;
    let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut writer = tar::Writer::new(&mut packed);
    writer.append(&entry, &mut std::io::Read::take(std::io::repeat(0), entry.size)).unwrap();
    writer.finish().unwrap();
    let bomb = packed.finish().unwrap();
    let world = World::new();
    let error = world.images.load(&mut bomb.as_slice(), &Silent).unwrap_err();
    assert!(error.to_string().contains("expands more than"), "{error}");
    world.assert_tidy();
}
