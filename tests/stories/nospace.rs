//! No space left on the data-root: said by name, and cleaning up still works.

use std::path::Path;
use testkit::{Daemon, Options, need};

#[test]
fn a_full_data_root_is_named_and_can_be_emptied() {
    need!(Root, Loop, Program("mkfs.ext4", "e2fsprogs"));
    let folder = tempfile::tempdir().unwrap();
    let (image, root) = (folder.path().join("disk"), folder.path().join("root"));
    std::fs::create_dir(&root).unwrap();
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let text = |path: &Path| path.display().to_string();
    testkit::process::must("mkfs.ext4", &["-q", "-m", "0", &text(&image)]);
    let mounted = Mounted::new(&image, &root);
    {
        let daemon =
            Daemon::with(Options { data_root: Some(root.join("data")), ..Options::default() });
        let client = daemon.gantry();
        client.run(&["run", "-d", "--name", "before", "busybox", "sleep", "1000"]).ok();
        client.run(&["create", "--name", "stopped", "busybox", "true"]).ok();
        // The container fills it; nothing of ours breaks.
        client
            .run(&["exec", "before", "dd", "if=/dev/zero", "of=/fill", "bs=64k"])
            .exits(1)
            .says("No space left");
        client.run(&["exec", "before", "sh", "-c", "while echo x >>/fill2; do :; done"]);
        for args in [
            &["run", "--rm", "busybox", "true"][..],
            &["create", "busybox"],
            &["run", "-d", "busybox", "sleep", "10"],
        ] {
            let output = client.run(args);
            if output.code != 0 {
                output.says("o space left");
            }
        }
        let archive = testkit::images::large(&daemon.path(""), "large", 4 << 20);
        let load = client.run(&["load", "-i", &text(&archive)]);
        assert_ne!(load.code, 0, "{load}");
        load.says("o space left");
        client.run(&["ps"]).ok().says("before");
        client.run(&["logs", "before"]).ok();
        client.run(&["rm", "stopped"]).ok();
        client.run(&["rmi", "full"]).ok();
        client.run(&["rm", "-f", "before"]).ok();
        // With space again, all is as before, without a restart.
        testkit::process::eventually("there is space again", testkit::process::PATIENCE, || {
            client.run(&["run", "--rm", "busybox", "true"]).code == 0
        });
    }
    drop(mounted);
}

/// A file system in a file, mounted while this lives.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, at: &'a Path) -> Self {
        testkit::process::must(
            "mount",
            &["-o", "loop", &image.display().to_string(), &at.display().to_string()],
        );
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("umount");
        command.arg("-l").arg(self.0);
        let _unmounted = testkit::process::run(command);
    }
}
