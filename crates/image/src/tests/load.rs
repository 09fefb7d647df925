use super::fixtures::{Heard, Made, World, Wrap, made, wrap};
use crate::chain::sha256;
use crate::{Images, Silent};
use oci::image::{ImageConfig, RunConfig, media};
use serde_json::{Value, json};
use std::sync::Arc;

/// A tar of files and links, in this order.
fn archive(members: &[(String, Result<Vec<u8>, String>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = tar::Writer::new(&mut bytes);
    for (path, member) in members {
        match member {
            Ok(data) => {
                let mut entry = tar::Entry::new(path.as_str(), tar::Kind::File);
                entry.size = data.len() as u64;
                writer.append(&entry, &mut data.as_slice()).unwrap();
            }
            Err(target) => {
                let kind = tar::Kind::Symlink { target: target.clone().into_bytes() };
                writer
                    .append(&tar::Entry::new(path.as_str(), kind), &mut std::io::empty())
                    .unwrap();
            }
        }
    }
    writer.finish().unwrap();
    bytes
}

/// As skopeo's docker-archive and old `docker save`: layers first, links for those that are there twice.
fn docker_archive(images: &[(&Made, &[&str])]) -> Vec<u8> {
    let mut members: Vec<(String, Result<Vec<u8>, String>)> = Vec::new();
    let mut manifest = Vec::new();
    for (number, (image, tags)) in images.iter().enumerate() {
        let mut layers = Vec::new();
        for (layer, bytes) in image.layers.iter().enumerate() {
            let blob = format!("{}.tar", sha256(bytes).hex());
            if !members.iter().any(|(name, _)| *name == blob) {
                members.push((blob.clone(), Ok(bytes.clone())));
            }
            let path = format!("{number}-{layer}/layer.tar");
            members.push((path.clone(), Err(format!("../{blob}"))));
            layers.push(path);
        }
        let config = format!("{}.json", image.id().hex());
        members.push((config.clone(), Ok(image.config.clone())));
        manifest.push(json!({"Config": config, "RepoTags": tags, "Layers": layers}));
    }
    members.push(("manifest.json".into(), Ok(Value::from(manifest).to_string().into_bytes())));
    members.push(("repositories".into(), Ok(b"{}".to_vec())));
    archive(&members)
}

/// As `skopeo copy … oci-archive:`.
fn oci_archive(image: &Made, annotations: &Value) -> Vec<u8> {
    let mut members: Vec<(String, Result<Vec<u8>, String>)> = Vec::new();
    let mut blob = |media_type: &str, bytes: Vec<u8>| {
        let digest = sha256(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        members.push((format!("blobs/sha256/{}", digest.hex()), Ok(bytes)));
        descriptor
    };
    let config = blob(media::OCI_CONFIG, image.config.clone());
    let layers: Vec<Value> =
        image.layers.iter().map(|l| blob(media::OCI_LAYER_GZIP, l.clone())).collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut top = blob(media::OCI_MANIFEST, manifest.to_string().into_bytes());
    top["annotations"] = annotations.clone();
    let index = json!({"schemaVersion": 2, "manifests": [top]});
    members.push(("index.json".into(), Ok(index.to_string().into_bytes())));
    members.push(("oci-layout".into(), Ok(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())));
    archive(&members)
}

fn load(images: &Images, bytes: &[u8]) -> Vec<String> {
    let heard = Heard::default();
    images.load(&mut { bytes }, &heard).unwrap();
    heard
        .lines()
        .into_iter()
        .filter(|l| l.starts_with("Loaded") || l.starts_with("The image"))
        .collect()
}

#[test]
fn several_images_of_one_docker_archive() {
    let one = made(&[(&[("a", "1")], Wrap::Plain), (&[("b", "2")], Wrap::Plain)]);
    let two = made(&[(&[("a", "1")], Wrap::Plain), (&[("c", "3")], Wrap::Gzip)]);
    let three = made(&[]);
    let bytes =
        docker_archive(&[(&one, &["one:1", "me/one:latest"]), (&two, &["two:2"]), (&three, &[])]);
    for how in [Wrap::Plain, Wrap::Gzip, Wrap::Zstd] {
        let world = World::new();
        let lines = load(&world.images, &wrap(&bytes, how));
        let id = format!("Loaded image ID: {}", three.id());
        assert_eq!(
            lines,
            ["Loaded image: one:1", "Loaded image: me/one:latest", "Loaded image: two:2", &id]
        );
        assert_eq!(world.file("one:1", "b").as_deref(), Some("2"));
        assert_eq!(world.file("two:2", "c").as_deref(), Some("3"));
        assert_eq!(world.snapshots.names().len(), 3, "the common layer is there once");
        assert_eq!(world.images.inspect("one:1").unwrap().tags, ["one:1", "me/one:latest"]);
        world.assert_tidy();
        // Again changes nothing.
        let before = world.images.list();
        load(&world.images, &bytes);
        assert_eq!(world.images.list().len(), before.len());
        let world = world.restart();
        assert_eq!(world.file("me/one", "a").as_deref(), Some("1"));
    }
}

#[test]
fn a_name_moves_to_the_loaded_image() {
    let world = World::new();
    let (old, new) = (made(&[(&[("a", "1")], Wrap::Plain)]), made(&[(&[("a", "2")], Wrap::Plain)]));
    load(&world.images, &docker_archive(&[(&old, &["app:1"])]));
    let lines = load(&world.images, &docker_archive(&[(&new, &["app:1"])]));
    let renamed = format!(
        "The image app:1 already exists, renaming the old one with ID {} to empty string",
        old.id()
    );
    assert_eq!(lines, [renamed.as_str(), "Loaded image: app:1"]);
    assert_eq!(world.images.resolve("app:1").unwrap().id, new.id());
    assert!(world.images.inspect(old.id().as_str()).unwrap().is_dangling());
}

#[test]
fn oci_layouts() {
    let image = made(&[(&[("a", "1")], Wrap::Gzip), (&[("b", "2")], Wrap::Zstd)]);
    let named = |annotations: Value| {
        let world = World::new();
        let lines = load(&world.images, &oci_archive(&image, &annotations));
        assert_eq!(world.file(image.id().as_str(), "b").as_deref(), Some("2"));
        let loaded = world.images.resolve(image.id().as_str()).unwrap();
        assert!(loaded.manifest.is_some() && loaded.layers.iter().all(|l| l.blob.is_some()));
        lines
    };
    let unnamed = [format!("Loaded image ID: {}", image.id())];
    assert_eq!(named(json!(null)), unnamed);
    // A tag alone does not say of what.
    assert_eq!(named(json!({"org.opencontainers.image.ref.name": "latest"})), unnamed);
    assert_eq!(
        named(json!({"org.opencontainers.image.ref.name": "app:v1"})),
        ["Loaded image: app:v1"]
    );
    let both = json!({
        "io.containerd.image.name": "docker.io/library/app:v2",
        "org.opencontainers.image.ref.name": "v2",
    });
    assert_eq!(named(both), ["Loaded image: app:v2"]);
}

#[test]
fn an_oci_blob_that_is_not_its_name_is_refused() {
    let image = made(&[(&[("a", "1")], Wrap::Plain)]);
    let bytes = oci_archive(&image, &json!(null));
    // Any damaged byte of any blob: found by digest, size, or tar.
    let world = World::new();
    let step = bytes.len() / 40;
    for at in (0..bytes.len()).step_by(step) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        if let Ok(images) = world.images.load(&mut damaged.as_slice(), &Silent) {
            // Padding and times of the outer archive mean nothing.
            assert!(images.iter().all(|i| i.id == image.id()), "byte {at}");
        }
        world.assert_tidy();
    }
}

#[test]
fn images_are_assembled() {
    let world = World::new();
    let config = ImageConfig {
        architecture: types::Platform::host().architecture().to_owned(),
        os: "linux".to_owned(),
        created: Some("2024-05-06T07:08:09Z".to_owned()),
        config: RunConfig { cmd: Some(vec!["/hello".to_owned()]), ..RunConfig::default() },
        ..ImageConfig::default()
    };
    let layer = super::fixtures::tar_of(&[("hello", "program")]);
    let assemble = || {
        world.images.assemble("hello-world", config.clone(), std::slice::from_ref(&layer)).unwrap()
    };
    let image = assemble();
    assert_eq!(assemble().id, image.id, "the same parts are the same image");
    assert_eq!(world.file("hello-world:latest", "hello").as_deref(), Some("program"));
    assert_eq!(image.size(), 7);
    assert_eq!(image.created().to_string(), "2024-05-06T07:08:09Z");
    assert_eq!(world.images.count(), 1);
    world.assert_tidy();
    drop(Arc::clone(&image));
}
