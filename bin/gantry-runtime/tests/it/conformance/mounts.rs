//! Mounts, their options and what is hidden.

use serde_json::{Value, json};

use super::only_newer;
use crate::bundle::{Bundle, is_ours};

fn mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

/// A bundle with a folder `host` that is bound at `/data` with these options, running a script.
fn bound(script: &str, options: &[&str]) -> Bundle {
    let bundle = Bundle::with(&["sh", "-c", script], |_| ());
    let host = bundle.path.join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "text").unwrap();
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    mount(
        &mut config,
        json!({ "destination": "/data", "type": "bind", "source": host, "options": options }),
    );
    std::fs::write(&path, config.to_string()).unwrap();
    bundle
}

#[test]
fn binds_are_what_their_options_say() {
    let show = "cat /data/file; echo; grep ' /data ' /proc/self/mountinfo | cut -d' ' -f6-7; touch /data/new 2>/dev/null; ls /data";
    let seen = bound(show, &["rbind", "rw"]).runs();
    assert!(seen.starts_with("text\nrw,") && seen.ends_with("file\nnew"), "{seen}");
    let seen = bound(show, &["bind", "ro", "nosuid", "nodev", "noexec"]).runs();
    assert!(seen.starts_with("text\nro,nosuid,nodev,noexec") && seen.ends_with("file"), "{seen}");
    let seen = bound(show, &["rbind", "rshared"]).runs();
    assert!(seen.contains("shared:"), "{seen}");
}

#[test]
fn a_relative_source_is_the_bundles() {
    let bundle = Bundle::with(&["cat", "/data"], |c| {
        mount(
            c,
            json!({ "destination": "/data", "type": "bind", "source": "note", "options": ["bind"] }),
        );
    });
    std::fs::write(bundle.path.join("note"), "here").unwrap();
    assert_eq!(bundle.runs(), "here");
}

#[test]
fn a_tmpfs_has_options_and_a_size() {
    let seen = Bundle::says("grep ' /t ' /proc/self/mountinfo; stat -c %a /t", |c| {
        let options = ["nosuid", "noexec", "size=64k", "mode=1750"];
        mount(
            c,
            json!({ "destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": options }),
        );
    });
    assert!(
        seen.contains("nosuid") && seen.contains("noexec") && seen.contains("size=64k"),
        "{seen}"
    );
    assert!(seen.ends_with("1750"), "{seen}");
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    let bundle = Bundle::with(
        &[
            "sh",
            "-c",
            "cat /t/sub/file; stat -c %a:%u /t/sub /t/sub/file; readlink /t/link; touch /t/new; ls /t",
        ],
        |c| {
            let options = ["tmpcopyup"];
            mount(
                c,
                json!({ "destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": options }),
            );
        },
    );
    use std::os::unix::fs::PermissionsExt as _;
    let t = bundle.path.join("rootfs/t");
    std::fs::create_dir_all(t.join("sub")).unwrap();
    std::fs::write(t.join("sub/file"), "copied\n").unwrap();
    std::os::unix::fs::lchown(t.join("sub/file"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(t.join("sub"), std::fs::Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(t.join("sub/file"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("sub/file", t.join("link")).unwrap();
    assert_eq!(bundle.runs(), "copied\n711:0\n644:7\nsub/file\nlink\nnew\nsub");
    assert!(!t.join("new").exists());
}

#[test]
fn a_root_file_system_can_be_read_only() {
    let script = "touch /x 2>&1; touch /dev/y && echo tmpfs";
    let seen = Bundle::says(script, |c| c["root"]["readonly"] = json!(true));
    assert!(seen.contains("Read-only file system") && seen.ends_with("tmpfs"), "{seen}");
}

#[test]
fn the_roots_propagation_is_what_was_asked_for() {
    let show = "grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo";
    let seen = Bundle::says(show, |c| c["linux"]["rootfsPropagation"] = json!("shared"));
    assert!(seen.contains("shared:") || !is_ours(), "{seen}");
    let seen = Bundle::says(show, |c| c["linux"]["rootfsPropagation"] = json!("private"));
    assert!(!seen.contains("shared:"), "{seen}");
}

#[test]
fn paths_are_masked_and_made_read_only() {
    let script = "cat /proc/keys; ls /masked; cat /file; echo -; touch /kept/x 2>&1";
    let bundle = Bundle::with(&["sh", "-c", script], |c| {
        c["linux"]["maskedPaths"] = json!(["/proc/keys", "/masked", "/file", "/not/there"]);
        c["linux"]["readonlyPaths"] = json!(["/kept", "/not/there"]);
    });
    for folder in ["masked", "kept"] {
        std::fs::create_dir(bundle.path.join("rootfs").join(folder)).unwrap();
    }
    std::fs::write(bundle.path.join("rootfs/masked/secret"), "s").unwrap();
    std::fs::write(bundle.path.join("rootfs/file"), "s").unwrap();
    let output = bundle.run(&["run", "-b", bundle.bundle(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("-\n") && text.contains("Read-only file system"), "{text}");
}

#[test]
fn devices_are_there() {
    let script = "stat -c '%n %F %t:%T %a' /dev/null /dev/full /dev/mine; readlink /dev/fd; readlink /dev/ptmx; echo x > /dev/full";
    let bundle = Bundle::with(&["sh", "-c", script], |c| {
        c["linux"]["devices"] = json!([{ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4 }]);
    });
    let output = bundle.run(&["run", "-b", bundle.bundle(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text.trim_end(),
        "/dev/null character special file 1:3 666\n/dev/full character special file 1:7 666\n\
         /dev/mine character special file 1:5 640\n/proc/self/fd\npts/ptmx"
    );
    assert!(!output.status.success());
}

#[test]
fn recursive_options_reach_what_is_beneath() {
    if !only_newer("rro") {
        return;
    }
    let bundle = bound("touch /data/inner/x 2>&1; true", &["rbind", "rro"]);
    let inner = bundle.path.join("host/inner");
    std::fs::create_dir(&inner).unwrap();
    // A mount of the host beneath the source, in a mount namespace of the runtime's own.
    let script = format!(
        "mount -t tmpfs x {} && exec {} --root {}/state run -b {} {}",
        inner.display(),
        crate::bundle::runtime(),
        bundle.bundle(),
        bundle.bundle(),
        bundle.id
    );
    let mut command = bundle.command(&[]);
    command = {
        let _unused = command;
        #[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
        std::process::Command::new("unshare")
    };
    let output = command.args(["-m", "sh", "-c", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Read-only file system"), "{output:?}");
}

#[test]
fn ids_of_a_mount_are_mapped() {
    if !only_newer("id-mapped mounts") {
        return;
    }
    let show = "stat -c %u:%g /data/file; touch /data/new; stat -c %u:%g /data/new";
    let bundle = bound(show, &[]);
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::os::unix::fs::lchown(bundle.path.join("host"), Some(1000), Some(1001)).unwrap();
    let mount = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    mount["options"] = json!(["rbind"]);
    mount["uidMappings"] = json!([{ "containerID": 0, "hostID": 5000, "size": 10 }, { "containerID": 1000, "hostID": 0, "size": 1 }]);
    mount["gidMappings"] = json!([{ "containerID": 0, "hostID": 6000, "size": 10 }, { "containerID": 1001, "hostID": 0, "size": 1 }]);
    std::fs::write(&path, config.to_string()).unwrap();
    assert_eq!(bundle.runs(), "5000:6000\n0:0");
    use std::os::unix::fs::MetadataExt as _;
    let made = std::fs::metadata(bundle.path.join("host/new")).unwrap();
    // Root of the container is 1000 to this mount's file system.
    assert_eq!((made.uid(), made.gid()), (1000, 1001));
    let mount = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    mount["gidMappings"] = json!([]);
    std::fs::write(&path, config.to_string()).unwrap();
    let error = bundle.error(&["run", "-b", bundle.bundle(), &bundle.id]);
    assert!(error.contains("gidMappings must not be empty"), "{error}");
}

#[test]
fn the_containers_own_ids_can_be_a_mounts() {
    if !only_newer("id-mapped mounts") {
        return;
    }
    let bundle = bound("stat -c %u:%g /data/file; touch /data/new", &["rbind", "ridmap"]);
    let path = bundle.path.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["linux"]["uidMappings"] =
        json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["gidMappings"] =
        json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    std::fs::create_dir(bundle.path.join("rootfs/data")).unwrap();
    std::fs::write(&path, config.to_string()).unwrap();
    // Files of root outside are files of root inside, and stay root's.
    assert_eq!(bundle.runs(), "0:0");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(bundle.path.join("host/new")).unwrap().uid(), 0);
}
