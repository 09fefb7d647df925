//! Debian's podman with this runtime.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::bundle::{Bundle, OURS, is_ours};

/// A podman with a store of its own, no network and no service of the host's.
pub(crate) struct Podman {
    pub(crate) folder: PathBuf,
}

impl Podman {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("gantry-podman-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .unwrap();
        let text = "[containers]\nlog_driver=\"k8s-file\"\nnetns=\"none\"\n[engine]\nevents_logger=\"none\"\n";
        std::fs::write(folder.join("containers.conf"), text).unwrap();
        let place = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            "[storage]\ndriver=\"vfs\"\nrunroot=\"{}\"\ngraphroot=\"{}\"\n",
            place("run"),
            place("root")
        );
        std::fs::write(folder.join("storage.conf"), text).unwrap();
        Self { folder }
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.run_with(&[], words)
    }

    /// With more in its environment.
    #[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
    pub(crate) fn run_with(&self, env: &[(&str, &str)], words: &[&str]) -> Output {
        let path = |name: &str| self.folder.join(name);
        let file = std::fs::File::create(path("out")).unwrap();
        let errors = std::fs::File::create(path("err")).unwrap();
        let status = std::process::Command::new("podman")
            .envs(env.iter().copied())
            .env("CONTAINERS_CONF", path("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", path("storage.conf"))
            .arg("--root")
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"))
            .arg("--tmpdir")
            .arg(path("tmp"))
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", OURS])
            .args(words)
            .stdin(std::process::Stdio::null())
            // conmon keeps what it was started with.
            .stdout(file)
            .stderr(errors)
            .status()
            .unwrap();
        let read = |name: &str| std::fs::read(path(name)).unwrap();
        Output { status, stdout: read("out"), stderr: read("err") }
    }

    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _gone = self.run(&["rm", "-f", "-t", "0", "-a"]);
        wait_for_users(&self.folder);
        // podman leaves its store mounted on itself.
        for name in ["root/vfs", "root/overlay", "root"] {
            let _none =
                rustix::mount::unmount(self.folder.join(name), rustix::mount::UnmountFlags::DETACH);
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Waits until no process has the folder on its command line: after each container's end its conmon starts a `podman
/// container cleanup`, which nobody waits for and which writes there.
fn wait_for_users(folder: &Path) {
    // With what is in it: another folder may have a name that begins as its own.
    let folder = format!("{}/", folder.display()).into_bytes();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(user) = user_of(&folder) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{user:?} is still there");
        // One that has ended meanwhile cannot be opened.
        if let Ok(pidfd) = pidfd_open(user, PidfdFlags::empty()) {
            let left = Timespec { tv_sec: left.as_secs() as i64 + 1, tv_nsec: 0 };
            let _ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)).unwrap();
        }
    }
}

/// A process with this on its command line. One that has ended has none.
fn user_of(folder: &[u8]) -> Option<Pid> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let entry = entry.unwrap();
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        line.windows(folder.len()).any(|part| part == folder).then_some(pid)
    })
}

#[test]
fn podman_runs_containers_with_it() {
    testkit::need!(
        Root,
        Program("podman", "podman"),
        Program("conmon", "conmon"),
        Program("busybox", "busybox-static")
    );
    if !is_ours() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    let rootfs = bundle.path.join("rootfs");
    let root = rootfs.to_str().unwrap();
    let podman = Podman::new();
    let seen = podman.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--rootfs",
        root,
        "sh",
        "-c",
        "echo hello; id -u; hostname",
    ]);
    assert!(seen.starts_with("hello\n0\n"), "{seen}");
    let output =
        podman.run(&["run", "--rm", "--network", "none", "--rootfs", root, "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let output = podman.run(&["run", "--rm", "--network", "none", "--rootfs", root, "nosuch"]);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    podman.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "none",
        "--memory",
        "64m",
        "--pids-limit",
        "20",
        "--cap-drop",
        "all",
        "--read-only",
        "--rootfs",
        root,
        "sleep",
        "100",
    ]);
    assert_eq!(
        podman.ok(&[
            "exec",
            "-e",
            "A=5",
            "one",
            "sh",
            "-c",
            "echo $A; grep CapEff /proc/self/status"
        ]),
        "5\nCapEff:\t0000000000000000"
    );
    assert_eq!(podman.run(&["exec", "one", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(podman.run(&["exec", "one", "nosuch"]).status.code(), Some(127));
    let status =
        |podman: &Podman| podman.ok(&["inspect", "-f", "{{.State.Status}} {{.OCIRuntime}}", "one"]);
    assert_eq!(status(&podman), format!("running {OURS}"));
    podman.ok(&["pause", "one"]);
    assert!(status(&podman).starts_with("paused"));
    podman.ok(&["unpause", "one"]);
    podman.ok(&["stop", "-t", "0", "one"]);
    assert!(status(&podman).starts_with("exited"));
    podman.ok(&["rm", "-f", "one"]);
    assert_eq!(podman.ok(&["ps", "-aq"]), "");
    assert!(Path::new(root).join("bin/busybox").exists());
}
