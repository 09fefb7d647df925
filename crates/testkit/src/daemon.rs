//! A private `gantryd`.

use crate::process::{PATIENCE, eventually, send, tail, wait_end};
use crate::{Cli, Client, Host, images};
use rustix::process::Signal;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How a daemon is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Flags beside those for its places.
    pub flags: Vec<String>,
    /// Its environment, as `GANTRY_FAILPOINTS`.
    pub env: Vec<(String, String)>,
    /// Where its data-root is; `None`: in the test's own folder.
    pub data_root: Option<PathBuf>,
    /// Start without the test images.
    pub bare: bool,
    /// Another daemon than the one in `target/bin`, with its helpers beside it.
    pub program: Option<PathBuf>,
}

/// A `gantryd` in a [`Host`] of its own, with the images of [`images::all`].
#[derive(Debug)]
pub struct Daemon {
    running: Option<Running>,
    options: Options,
    /// Dropped after the daemon's process, before the folder.
    host: Host,
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    nsenter: Child,
    pid: i32,
}

impl Daemon {
    /// Starts a daemon that has the test images.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts a daemon with these options.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(options: Options) -> Self {
        let folder =
            tempfile::Builder::new().prefix("gantry-test-").tempdir().expect("make a folder");
        std::fs::create_dir(folder.path().join("home")).expect("make a folder");
        let mut daemon = Self { running: None, options, host: Host::start(), folder };
        daemon.up();
        if !daemon.options.bare {
            daemon.load(&images::archive());
        }
        daemon
    }

    /// Starts it again after it ended, with the same options and its old data.
    pub fn up(&mut self) {
        let env = self.options.env.clone();
        self.up_with(&env);
    }

    /// Starts it again with this environment instead of the options'.
    pub fn up_with(&mut self, env: &[(String, String)]) {
        assert!(self.running.is_none(), "the daemon runs already");
        self.launch(env);
        let socket = self.socket();
        // An emulated machine on a busy one takes its time.
        eventually("the daemon answers", Duration::from_secs(90), || {
            if let Some(running) = &mut self.running
                && let Ok(Some(status)) = running.nsenter.try_wait()
            {
                self.running = None;
                panic!("gantryd ended at its start: {status}\n{}", self.log());
            }
            UnixStream::connect(&socket).is_ok()
        });
    }

    /// Starts it and does not wait until it answers.
    pub fn launch(&mut self, env: &[(String, String)]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("open the log");
        let program = self.options.program.clone();
        let program = program.unwrap_or_else(|| crate::program("gantryd"));
        let mut command = self.host.command(program);
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--pidfile")
            .arg(self.path("gantryd.pid"))
            .arg("--config-file")
            .arg(self.config_file())
            .args(&self.options.flags)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        let mut nsenter = command.spawn().expect("start nsenter (package util-linux)");
        // nsenter forks; its child is the daemon. A daemon that is already gone again is noticed by the caller.
        let mut pid = None;
        eventually("the daemon is forked", Duration::from_secs(5), || {
            pid = self.host.inner(&nsenter);
            pid.is_some() || matches!(nsenter.try_wait(), Ok(Some(_)))
        });
        self.running = Some(Running { nsenter, pid: pid.unwrap_or(0) });
    }

    /// Its process, as the machine numbers it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().expect("the daemon runs").pid
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|r| matches!(r.nsenter.try_wait(), Ok(None)))
    }

    /// Ends it as a crash does.
    pub fn kill9(&mut self) {
        if let Some(running) = &self.running {
            send(running.pid, Signal::KILL);
        }
        self.wait_end(PATIENCE);
    }

    /// Ends it as an init system does.
    pub fn stop(&mut self) {
        if let Some(running) = &self.running {
            send(running.pid, Signal::TERM);
        }
        self.wait_end(PATIENCE);
    }

    /// Stops and starts it.
    pub fn restart(&mut self) {
        self.stop();
        self.up();
    }

    /// Waits for an end that something else causes.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_end(&mut self, patience: Duration) {
        assert!(self.ends_within(patience), "the daemon did not end\n{}", self.log());
    }

    /// Waits for an end that something else may cause.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let Some(mut running) = self.running.take() else { return true };
        let nsenter = i32::try_from(running.nsenter.id()).expect("a pid is an i32");
        if !wait_end(nsenter, patience) {
            self.running = Some(running);
            return false;
        }
        let _reaped = running.nsenter.wait();
        true
    }

    /// A client of it.
    pub fn client(&self, cli: Cli) -> Client {
        Client::new(cli, &self.socket(), &self.path("home"))
    }

    /// Our own client of it.
    pub fn gantry(&self) -> Client {
        self.client(Cli::Gantry)
    }

    /// Loads an archive of images.
    pub fn load(&self, archive: &Path) {
        self.gantry().run(&["load", "-q", "-i", &archive.display().to_string()]).ok();
    }

    /// The home of its clients.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The host it lives in.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.path("gantryd.sock")
    }

    /// What it keeps over a power cut.
    pub fn data_root(&self) -> PathBuf {
        self.options.data_root.clone().unwrap_or_else(|| self.path("data"))
    }

    /// What it keeps over its own end.
    pub fn exec_root(&self) -> PathBuf {
        self.path("exec")
    }

    /// Its configuration file; empty unless a test writes it.
    pub fn config_file(&self) -> PathBuf {
        let path = self.path("daemon.json");
        if !path.exists() {
            std::fs::write(&path, "").expect("write the configuration");
        }
        path
    }

    /// A place for the test's own files, gone with the daemon.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it has said, the last of it.
    pub fn log(&self) -> String {
        format!("── {}\n{}\n──", self.log_path().display(), tail(&self.log_path(), 60))
    }

    /// The file it logs to.
    pub fn log_path(&self) -> PathBuf {
        self.path("gantryd.log")
    }

    /// The name of the cgroup that all its containers are below.
    pub fn cgroup(&self) -> String {
        // The rule of gantryd: FNV-1a over the exec-root, so that two instances never share a name.
        use std::os::unix::ffi::OsStrExt as _;
        let hash = self
            .exec_root()
            .as_os_str()
            .as_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("gantry-{:06x}", hash & 0xff_ffff)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
            eprintln!("── processes\n{:?}\n──", self.host.processes());
        }
        if let Some(running) = &self.running {
            send(running.pid, Signal::KILL);
        }
        let _gone = self.ends_within(Duration::from_secs(5));
        self.host.end();
        crate::leaks::remove_cgroups(&self.cgroup());
    }
}
