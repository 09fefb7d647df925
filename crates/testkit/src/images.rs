//! Test images: busybox and three that say more in their configuration, as one docker-archive.
//!
//! They are put together with the machine's `busybox`, `tar` and `sha256sum`, so that our own archive code is not both
//! author and judge. The same busybox gives the same bytes, hence the same image ids, on every run.

use crate::process::must;
use crate::{need, root};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Users of the images: root, daemon(1), `tester` 1000 with a home, and nobody.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    tester:x:1000:1000:Tester:/home/tester:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
/// Groups: `tester` is also in `wheel` and `audio`.
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nwheel:x:10:tester\naudio:x:29:root,tester\ntester:x:1000:\nnogroup:x:65534:\n";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// When everything in the images was made.
const EPOCH: &str = "2024-01-02T03:04:05Z";
/// Part of the cached file's name: change it when what is built changes.
const EDITION: &str = "1";

/// The archive with all test images, made when it is not there yet.
///
/// `busybox:latest`; `entry:latest` (entry point `/bin/echo entry`, command `default`); `full:latest` (user, folder,
/// variables, labels, volume, port, stop signal); `layers:latest` (a second layer with a whiteout and an opaque folder).
///
/// # Panics
/// When the machine has no static busybox.
pub fn archive() -> PathBuf {
    let busybox = need::find("busybox").expect("needs busybox (Debian's package busybox-static)");
    let digest = sha256(&busybox);
    let cache = folder();
    let file = cache.join(format!("busybox-{EDITION}-{}.tar", &digest[..12]));
    if !file.exists() {
        let work = tempfile::tempdir_in(&cache).expect("make a folder");
        build(&busybox, work.path());
        // Renamed into place: several test processes may build it at once.
        fs::rename(work.path().join("images.tar"), &file).expect("place the archive");
    }
    file
}

/// Makes an image of one layer from a tar file, as a docker-archive.
pub fn wrap(tree: &Path, name: &str, config: &Value, file: &Path) {
    wrap_in(&folder(), &[tree], name, config, file);
}

/// Makes an image of these layers, the lowest first, as a docker-archive.
pub fn stack(trees: &[&Path], name: &str, config: &Value, file: &Path) {
    wrap_in(&folder(), trees, name, config, file);
}

fn wrap_in(place: &Path, trees: &[&Path], name: &str, config: &Value, file: &Path) {
    let work = tempfile::tempdir_in(place).expect("make a folder");
    let archive = work.path().join("archive");
    fs::create_dir(&archive).expect("make a folder");
    let link = |tree: &&Path| {
        let digest = sha256(tree);
        fs::hard_link(tree, archive.join(format!("{digest}.tar"))).expect("link the layer");
        digest
    };
    let digests: Vec<String> = trees.iter().map(link).collect();
    let line = image(&archive, name, &digests, config.clone());
    write_json(&archive.join("manifest.json"), &Value::from(vec![line]));
    let new = work.path().join("image.tar");
    tar(&archive, &new);
    fs::rename(new, file).expect("place the archive");
}

/// An archive of one image whose layer is `size` bytes that do not compress.
pub fn large(folder: &Path, name: &str, size: usize) -> PathBuf {
    let tree = folder.join(format!("{name}-tree"));
    fs::create_dir_all(&tree).expect("make a folder");
    let mut random = crate::seed::Random::new(1);
    let bytes: Vec<u8> = (0..size / 8).flat_map(|_| random.number().to_le_bytes()).collect();
    fs::write(tree.join("large"), bytes).expect("write a large file");
    let layer = folder.join(format!("{name}-layer.tar"));
    tar(&tree, &layer);
    let file = folder.join(format!("{name}.tar"));
    // Linked and renamed within one file system: that of the caller's folder.
    wrap_in(folder, &[&layer], name, &json!({"Env": [PATH]}), &file);
    file
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Where built images are kept.
pub fn folder() -> PathBuf {
    let path = root().join("target/images");
    fs::create_dir_all(&path).expect("make target/images");
    path
}

/// The digest of a file, as lower-case hexadecimal.
pub fn sha256(path: &Path) -> String {
    must("sha256sum", &[&path.display().to_string()])
        .text()
        .split_whitespace()
        .next()
        .expect("a digest")
        .to_owned()
}

fn build(busybox: &Path, work: &Path) {
    let rootfs = work.join("rootfs");
    fill(busybox, &rootfs);
    let archive = work.join("archive");
    fs::create_dir_all(&archive).expect("make a folder");
    let base = layer(&archive, &rootfs);
    let second = work.join("second");
    fs::create_dir_all(second.join("etc/conf")).expect("make a folder");
    fs::write(second.join("etc/.wh.gone"), "").expect("write a whiteout");
    fs::write(second.join("etc/conf/.wh..wh..opq"), "").expect("write an opaque mark");
    fs::write(second.join("etc/conf/new"), "new\n").expect("write a file");
    let second = layer(&archive, &second);

    let one = std::slice::from_ref(&base);
    let full = json!({
        "User": "tester", "WorkingDir": "/work", "Env": [PATH, "FOO=image", "EMPTY="],
        "Labels": {"org.example.name": "full", "tier": "test"}, "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGUSR1", "Cmd": ["sh", "-c", "echo full"],
    });
    let manifest: Vec<Value> = vec![
        image(&archive, "busybox", one, json!({"Env": [PATH], "Cmd": ["sh"]})),
        image(
            &archive,
            "entry",
            one,
            json!({"Env": [PATH], "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["default"]}),
        ),
        image(&archive, "full", one, full),
        image(&archive, "layers", &[base.clone(), second], json!({"Env": [PATH], "Cmd": ["sh"]})),
    ];
    write_json(&archive.join("manifest.json"), &Value::from(manifest));
    tar(&archive, &work.join("images.tar"));
}

fn fill(busybox: &Path, rootfs: &Path) {
    for folder in [
        "bin",
        "etc/conf",
        "root",
        "home/tester",
        "tmp",
        "dev",
        "proc",
        "sys",
        "var/run",
        "usr/bin",
        "work",
        "data",
    ] {
        fs::create_dir_all(rootfs.join(folder)).expect("make a folder");
    }
    fs::copy(busybox, rootfs.join("bin/busybox")).expect("copy busybox");
    for applet in
        must(&busybox.display().to_string(), &["--list"]).stdout.lines().filter(|a| *a != "busybox")
    {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    let write = |name: &str, text: &str| fs::write(rootfs.join(name), text).expect("write a file");
    write("etc/passwd", PASSWD);
    write("etc/group", GROUP);
    write("etc/gone", "only in the first layer\n");
    write("etc/conf/old", "only in the first layer\n");
    write("data/seed", "from the image\n");
    let mode = |name: &str, mode| {
        fs::set_permissions(rootfs.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    mode("tmp", 0o1777);
    mode("root", 0o700);
    mode("bin/busybox", 0o755);
    must("chown", &["-R", "1000:1000", &rootfs.join("home/tester").display().to_string()]);
    must("chown", &["-R", "1000:1000", &rootfs.join("data").display().to_string()]);
}

/// Packs a layer into the archive; its digest.
fn layer(archive: &Path, tree: &Path) -> String {
    let new = archive.join("layer.new");
    tar(tree, &new);
    let digest = sha256(&new);
    fs::rename(new, archive.join(format!("{digest}.tar"))).expect("place a layer");
    digest
}

/// Writes an image's configuration; its line of the manifest.
fn image(archive: &Path, name: &str, layers: &[String], config: Value) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|digest| format!("sha256:{digest}")).collect();
    let history: Vec<Value> = layers
        .iter()
        .enumerate()
        .map(|(n, _)| json!({"created": EPOCH, "created_by": format!("layer {n} of {name}")}))
        .chain([json!({"created": EPOCH, "created_by": "CMD", "empty_layer": true})])
        .collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let document = json!({
        "architecture": architecture, "os": "linux", "created": EPOCH, "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    let new = archive.join("config.new");
    write_json(&new, &document);
    let file = format!("{}.json", sha256(&new));
    fs::rename(new, archive.join(&file)).expect("place a configuration");
    let layers: Vec<String> = layers.iter().map(|digest| format!("{digest}.tar")).collect();
    json!({"Config": file, "RepoTags": [format!("{name}:latest")], "Layers": layers})
}

/// Packs a folder the same way each time.
pub fn tar(folder: &Path, file: &Path) {
    let (folder, file) = (folder.display().to_string(), file.display().to_string());
    must(
        "tar",
        &[
            "--numeric-owner",
            "--sort=name",
            "--mtime=@1704164645",
            "--format=pax",
            "--pax-option=delete=atime,delete=ctime",
            "-C",
            &folder,
            "-cf",
            &file,
            ".",
        ],
    );
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("write a document");
}
