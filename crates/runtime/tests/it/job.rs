//! A scratch directory with a busybox root file system, and the description of one container in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use oci::runtime::{Capabilities, Linux, Mount, Namespace, NamespaceKind, Process, Spec, User};
use serde_json::{Value, json};

/// What came of a container or of a process added to it.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct Outcome {
    pub(crate) error: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) execs: Vec<Self>,
    /// Mounts that the helper sees beneath its own tmpfs.
    #[serde(default)]
    pub(crate) mounts_beneath: usize,
    children: bool,
    descriptors: [usize; 2],
}

impl Outcome {
    /// The output of a program that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!((self.error.as_deref(), self.code), (None, 0), "{self:?}");
        self.stdout.trim_end()
    }

    /// The error of a container that must not have come to be.
    #[track_caller]
    pub(crate) fn failed(&self) -> &str {
        self.error.as_deref().unwrap_or_else(|| panic!("it ran: {self:?}"))
    }
}

/// One container about to be run.
pub(crate) struct Job {
    pub(crate) spec: Spec,
    scratch: PathBuf,
    extra: Value,
}

/// Capabilities of Docker's default set.
pub(crate) const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

impl Job {
    /// A container like Docker's default one that runs `sh -c script`.
    pub(crate) fn shell(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    /// A container like Docker's default one.
    pub(crate) fn new(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch =
            std::env::temp_dir().join(format!("runtime-it-{}-{number}", std::process::id()));
        for name in ["upper", "work"] {
            std::fs::create_dir_all(scratch.join(name)).unwrap();
        }
        Self { spec: docker_like(args), scratch, extra: json!({}) }
    }

    /// Where the container's own files go: what is put there is in its root.
    pub(crate) fn upper(&self) -> PathBuf {
        self.scratch.join("upper")
    }

    /// A place of this test's own on the host.
    pub(crate) fn host(&self, name: &str) -> PathBuf {
        let path = self.scratch.join("host").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A file in the container's root.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.upper().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// A symbolic link in the container's root.
    pub(crate) fn link(self, path: &str, target: impl AsRef<Path>) -> Self {
        let path = self.upper().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub(crate) fn process(self, change: impl FnOnce(&mut Process)) -> Self {
        self.with(|spec| change(spec.process.as_mut().unwrap()))
    }

    pub(crate) fn linux(self, change: impl FnOnce(&mut Linux)) -> Self {
        self.with(|spec| change(spec.linux.as_mut().unwrap()))
    }

    pub(crate) fn user(self, text: &str) -> Self {
        let username = Some(text.to_owned());
        self.process(|p| p.user = User { username, ..User::default() })
    }

    pub(crate) fn mount(self, mount: Mount) -> Self {
        self.with(|spec| spec.mounts.push(mount))
    }

    /// Another field of the helper's job.
    pub(crate) fn set(mut self, key: &str, value: impl serde::Serialize) -> Self {
        self.extra[key] = serde_json::to_value(value).unwrap();
        self
    }

    /// Runs it in an overlay over busybox, and looks for leaks.
    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        self.run_keeping(|| ()).0
    }

    /// As [`run`](Self::run), and looks at the host before the scratch directory goes.
    #[track_caller]
    pub(crate) fn run_keeping<T>(self, look: impl FnOnce() -> T) -> (Outcome, T) {
        let mut job = json!({
            "lower": [busybox()],
            "upper": self.upper(),
            "work": self.scratch.join("work"),
            "spec": self.spec,
        });
        for (key, value) in self.extra.as_object().unwrap() {
            job[key] = value.clone();
        }
        let outcome = helper(&job);
        assert!(!outcome.children, "a child was left unreaped: {outcome:?}");
        assert_eq!(
            outcome.descriptors[0], outcome.descriptors[1],
            "descriptors were leaked: {outcome:?}"
        );
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.scratch.to_str().unwrap()), "a mount was left on the host");
        (outcome, look())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.scratch)
            && !std::thread::panicking()
        {
            panic!("remove {}: {e}", self.scratch.display());
        }
    }
}

/// A process as `docker exec` would have it.
pub(crate) fn added(args: &[&str]) -> Process {
    docker_like(args).process.unwrap()
}

pub(crate) fn mount(
    destination: &str,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.to_owned()),
        source: Some(source.into()),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Mount::default()
    }
}

fn docker_like(args: &[&str]) -> Spec {
    let names: Vec<String> = DEFAULT.iter().map(|n| (*n).to_owned()).collect();
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let kinds = [
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
    ];
    Spec {
        oci_version: "1.2.0".to_owned(),
        hostname: Some("box".to_owned()),
        process: Some(Process {
            args: strings(args),
            env: strings(&["PATH=/usr/local/bin:/usr/bin:/bin"]),
            cwd: "/".to_owned(),
            user: User { username: Some(String::new()), ..User::default() },
            capabilities: Some(Capabilities {
                bounding: names.clone(),
                effective: names.clone(),
                permitted: names,
                ..Capabilities::default()
            }),
            ..Process::default()
        }),
        mounts: vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
            ),
        ],
        linux: Some(Linux {
            namespaces: kinds.into_iter().map(|kind| Namespace { kind, path: None }).collect(),
            masked_paths: strings(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/interrupts",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/sys/devices/virtual/powercap",
                "/sys/firmware",
            ]),
            readonly_paths: strings(&[
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ]),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// The root file system below all tests' own: busybox with a link for each of its programs.
pub(crate) fn busybox() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let program = Path::new("/bin/busybox");
        assert!(program.exists(), "these tests need /bin/busybox (package busybox-static)");
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtime-busybox");
        let building = base.with_extension(std::process::id().to_string());
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home"] {
            std::fs::create_dir_all(building.join(name)).unwrap();
        }
        std::fs::copy(program, building.join("bin/busybox")).unwrap();
        let list = command(program).arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(list).unwrap().lines().filter(|a| *a != "busybox") {
            std::os::unix::fs::symlink("busybox", building.join("bin").join(applet)).unwrap();
        }
        std::fs::write(
            building.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/home:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(
            building.join("etc/group"),
            "root:x:0:\nweb:x:34:\nstaff:x:50:web\naudio:x:63:\n",
        )
        .unwrap();
        // Whoever comes second finds it there, from this run or an earlier one.
        if std::fs::rename(&building, &base).is_err() {
            std::fs::remove_dir_all(&building).unwrap();
        }
        base
    })
}

fn helper(job: &Value) -> Outcome {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples/container");
    assert!(path.exists(), "{} is missing: cargo build -p runtime --examples", path.display());
    let mut child = command(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {:?} {stderr}", String::from_utf8_lossy(&output.stdout)))
}

#[allow(clippy::disallowed_methods, reason = "tests start programs as anybody does")]
fn command(path: &Path) -> std::process::Command {
    std::process::Command::new(path)
}
