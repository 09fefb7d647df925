//! Bundles of busybox for one container each.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The program of this package.
pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_gantry-runtime");

/// The variable that names another runtime to be tested.
pub(crate) const OTHER: &str = "GANTRY_RUNTIME_UNDER_TEST";

/// The runtime that is tested.
pub(crate) fn runtime() -> String {
    std::env::var(OTHER).unwrap_or_else(|_| OURS.to_owned())
}

/// Whether it is our own.
pub(crate) fn is_ours() -> bool {
    runtime() == OURS
}

/// A bundle of busybox, a root for the runtime's state and one container's id.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
}

const PROGRAMS: [&str; 27] = [
    "sh", "cat", "sleep", "true", "echo", "id", "tty", "readlink", "grep", "ls", "mount", "touch",
    "stat", "hostname", "mkdir", "cut", "tr", "head", "uname", "kill", "awk", "chroot", "nice",
    "ionice", "date", "find", "dd",
];

impl Bundle {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::with(args, |_| ())
    }

    pub(crate) fn with(args: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id =
            format!("gantry-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(&id);
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            std::fs::create_dir_all(path.join("rootfs").join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", path.join("rootfs/bin/busybox"))
            .expect("busybox-static is installed");
        for name in PROGRAMS {
            std::os::unix::fs::symlink("busybox", path.join("rootfs/bin").join(name)).unwrap();
        }
        let mut config = json!({
            "ociVersion": "1.2.0",
            "root": { "path": "rootfs" },
            "process": { "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/bin"], "cwd": "/" },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
                { "destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"] },
            ],
            "annotations": { "a": "b" },
            "linux": {
                "cgroupsPath": format!("/{id}"),
                "namespaces": [{ "type": "mount" }, { "type": "pid" }, { "type": "network" }, { "type": "uts" }, { "type": "ipc" }],
            },
        });
        change(&mut config);
        std::fs::write(path.join("config.json"), config.to_string()).unwrap();
        Self { path, id }
    }

    /// Changes its configuration once more.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
    }

    #[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(runtime());
        command.arg("--root").arg(self.path.join("state")).arg("--log").arg(self.path.join("log"));
        command.args(["--log-format", "json"]).args(words).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error as the log has it.
    #[track_caller]
    pub(crate) fn error(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let code = if words[0] == "exec" { 255 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        let log = std::fs::read_to_string(self.path.join("log")).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "error");
        last["msg"].as_str().unwrap().to_owned()
    }

    pub(crate) fn bundle(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub(crate) fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn becomes(&self, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status() != status {
            assert!(Instant::now() < deadline, "it is {} and not {status}", self.status());
            std::thread::yield_now();
        }
    }

    /// With its output in a file: a created container outlives the command that made it, and would hold a pipe open.
    #[track_caller]
    pub(crate) fn create(&self) {
        let output = std::fs::File::create(self.path.join("output")).unwrap();
        let errors = output.try_clone().unwrap();
        let mut command = self.command(&["create", "--bundle", self.bundle(), &self.id]);
        let status = command.stdout(output).stderr(errors).status().unwrap();
        assert!(status.success(), "{}", self.output());
    }

    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.path.join("output")).unwrap()
    }
}

impl Bundle {
    /// What a container that runs `sh -c script` says.
    #[track_caller]
    pub(crate) fn says(script: &str, change: impl FnOnce(&mut Value)) -> String {
        let bundle = Self::with(&["sh", "-c", script], change);
        bundle.runs()
    }

    /// Runs it to its good end; what it says.
    #[track_caller]
    pub(crate) fn runs(&self) -> String {
        self.ok(&["run", "-b", self.bundle(), &self.id]).trim_end().to_owned()
    }

    /// Why it cannot be run.
    #[track_caller]
    pub(crate) fn refused(change: impl FnOnce(&mut Value)) -> String {
        let bundle = Self::with(&["true"], change);
        bundle.error(&["run", "-b", bundle.bundle(), &bundle.id])
    }

    /// Starts one that sleeps.
    #[track_caller]
    pub(crate) fn sleeping(change: impl FnOnce(&mut Value)) -> Self {
        let bundle = Self::with(&["sleep", "100"], change);
        bundle.create();
        bundle.ok(&["start", &bundle.id]);
        bundle
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    pub(crate) fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _gone = self.run(&["delete", "--force", &self.id]);
        // runc makes the container's directories with the modes of the umask and leaves what a test has made there.
        std::fs::remove_dir_all(&self.path).unwrap();
        if !std::thread::panicking() {
            assert!(cgroups(&self.id).is_empty(), "a cgroup was left: {:?}", cgroups(&self.id));
        }
    }
}

/// What is left of a container's groups.
pub(crate) fn cgroups(id: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|e| e.unwrap().path());
    hierarchies
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .map(|h| h.join(id))
        .filter(|p| p.exists())
        .collect()
}
