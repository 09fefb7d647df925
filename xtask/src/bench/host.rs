//! Private hosts, daemons in them, and their clients.

use super::proc;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The first process of a host: it reaps orphans and ends when the pipe to it is closed, and everything with it.
const FIRST: &str =
    "exec 3<&0; ip link set lo up || exit 1; echo ready; cat <&3 >/dev/null & wait $!";

/// Network, mount and process namespaces of their own. Dropping it ends every process in them.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its first process, as the machine numbers it.
    first: u32,
    outer: Child,
    alive: Option<ChildStdin>,
}

impl Host {
    /// A host with a loopback device and nothing else.
    pub(crate) fn start() -> Result<Self> {
        let mut outer = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--pid", "--fork"])
            .args(["--mount-proc", "--kill-child", "sh", "-c", FIRST])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run unshare (package util-linux)")?;
        let alive = outer.stdin.take();
        let mut ready = [0; 1];
        let mut stdout = outer.stdout.take().context("a pipe was asked for")?;
        stdout.read_exact(&mut ready).context("make a private host")?;
        let first = *proc::children(outer.id()).first().context("unshare has no child")?;
        Ok(Self { first, outer, alive })
    }

    /// A program inside.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string(), "--net", "--mount", "--pid", "--"])
            .arg(program);
        command
    }

    fn end(&mut self) {
        // The first process ends, and the kernel ends all others of its namespace.
        drop(self.alive.take());
        let _ended = self.outer.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

/// A daemon in a host of its own. Dropping it ends it, its containers and whatever it started.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// `gantryd` or `dockerd`.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// Its process, as the machine numbers it.
    pub(crate) pid: u32,
    folder: PathBuf,
    cgroup: String,
    daemon: Child,
    host: Host,
}

impl Daemon {
    /// Starts ours.
    pub(crate) fn gantry(base: &Path) -> Result<Self> {
        let folder = base.join("gantryd");
        // The rule of gantryd: FNV-1a over the exec-root.
        let hash = folder
            .join("exec")
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let cgroup = format!("gantry-{:06x}", hash & 0xff_ffff);
        Self::start("gantryd", folder, cgroup, &super::programs(), &[])
    }

    /// Starts the reference.
    pub(crate) fn docker(base: &Path, programs: &Path) -> Result<Self> {
        let cgroup = format!("gantry-bench-{}", std::process::id());
        let flags = ["--cgroup-parent".to_owned(), format!("/{cgroup}")];
        Self::start("dockerd", base.join("dockerd"), cgroup, programs, &flags)
    }

    fn start(
        name: &'static str,
        folder: PathBuf,
        cgroup: String,
        programs: &Path,
        flags: &[String],
    ) -> Result<Self> {
        let _old = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        std::fs::write(folder.join("daemon.json"), "{}").context("write an empty configuration")?;
        let log = std::fs::File::create(folder.join("log")).context("make a log")?;
        let host = Host::start()?;
        let socket = folder.join("api.sock");
        let mut command = host.command(programs.join(name));
        command
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--config-file")
            .arg(folder.join("daemon.json"))
            .args(flags)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("a log")?)
            .stderr(log);
        let mut daemon = command.spawn().context("run nsenter (package util-linux)")?;
        let answers = wait_for(name, || {
            let ended = matches!(daemon.try_wait(), Ok(Some(_)));
            (ended || UnixStream::connect(&socket).is_ok()).then_some(!ended)
        })?;
        if !answers {
            let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            bail!("{name} ended: {}", lines[lines.len().saturating_sub(5)..].join("\n"));
        }
        let pid = *proc::children(daemon.id()).first().context("nsenter has no child")?;
        Ok(Self { name, socket, pid, folder, cgroup, daemon, host })
    }

    pub(crate) fn is_gantry(&self) -> bool {
        self.name == "gantryd"
    }

    /// Where its data is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// It, its helpers and its supervisors; not what runs in containers.
    pub(crate) fn processes(&self) -> Vec<proc::Process> {
        let mut all = proc::in_namespace_of(self.host.first);
        all.retain(|p| !matches!(p.name.as_str(), "sh" | "cat" | "docker-registry"));
        all
    }

    /// Where it lives.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM first: the reference then takes its containers and their cgroups along.
        let _asked = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !matches!(self.daemon.try_wait(), Ok(Some(_)) | Err(_)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.host.end();
        let _ended = self.daemon.wait();
        remove_groups(&self.cgroup);
    }
}

/// Removes the cgroups of an instance whose processes are gone.
pub(crate) fn remove_groups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
    let all: Vec<PathBuf> = hierarchies.chain([root.to_owned()]).map(|h| h.join(name)).collect();
    let deadline = Instant::now() + Duration::from_secs(3);
    while all.iter().any(|p| p.is_dir()) && Instant::now() < deadline {
        all.iter().for_each(|p| remove_below(p));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove_below(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_below(&entry.path());
        }
    }
    // Busy for a moment after a kill; the caller tries again.
    let _gone = std::fs::remove_dir(folder);
}

/// Waits until something is there, for at most a minute.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} did not come within a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client program and the daemon that it talks to.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// `docker + gantryd`.
    pub(crate) name: String,
    program: PathBuf,
    socket: PathBuf,
    home: PathBuf,
}

impl Client {
    pub(crate) fn new(program: &Path, daemon: &Daemon, folder: &Path) -> Result<Self> {
        let home = folder.join("home");
        std::fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let own = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: format!("{own} + {}", daemon.name),
            program: program.to_owned(),
            socket: daemon.socket.clone(),
            home,
        })
    }

    /// A command of it, with output to nowhere.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()))
            .args(args)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Milliseconds from its start to its end. A failure is an error.
    pub(crate) fn time(&self, args: &[&str]) -> Result<f64> {
        let mut command = self.command(args);
        let start = Instant::now();
        let output = command.output().with_context(|| format!("run {}", self.program.display()))?;
        let took = start.elapsed();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{}: {} failed: {}", self.name, args.join(" "), text.trim());
        }
        Ok(took.as_secs_f64() * 1e3)
    }

    /// Does something that is not measured.
    pub(crate) fn quiet(&self, args: &[&str]) -> Result<()> {
        self.time(args).map(drop)
    }
}
