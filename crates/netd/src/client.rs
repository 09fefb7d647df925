//! The daemon's handle to its helper: it writes the records, then tells.
//!
//! # A daemon's start
//! [`Client::new`] (nothing happens), [`sweep`](Client::sweep) (records of what no longer is), [`adopt`](Client::adopt) (the
//! helper that lives is connected to; one that died is started and finds its sandboxes through its own records), then
//! [`owner`](Client::owner) for each container that runs and has a record (a start may have been cut off between
//! `attach` and `owner`; it is a repetition for all others).
//!
//! # A container's start and end
//! [`attach`](Client::attach) when its addresses are known and its namespace exists, before its process runs;
//! [`owner`](Client::owner) when the process's number is known; [`update`](Client::update) on connect, disconnect, rename
//! and whenever its names or ports change; [`detach`](Client::detach) when it has ended or its start failed.
//!
//! # A network's life
//! [`network`](Client::network) before its first container, [`forget_network`](Client::forget_network) at its removal,
//! then [`stop_if_idle`](Client::stop_if_idle).
//!
//! # The firewall
//! [`write_firewall`](Client::write_firewall) *before* each change of the tables, with the whole of what is to be;
//! [`watch_firewall`](Client::watch_firewall) once after `adopt`.
//!
//! The process is started by the first call that needs it, and again, by a thread of this handle, whenever it dies.
//! All calls block, for tens of microseconds: a small file is replaced, and the helper answers. Whoever may not block
//! calls from a thread that may.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use stdx::{Context as _, Error, Kind, Result};
use sys::command::{Child, Program, Spawn};

use crate::packet;
use crate::protocol::{Answer, Denial, Request, Status, VERSION};
use crate::state::{self, Id, Network, Paths, Sandbox};

/// The helper answers within a millisecond; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A helper that lived less long than this is not started again at once.
const SHORT_LIFE: Duration = Duration::from_secs(2);
/// The longest pause before it is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The log of a helper that is started is emptied when it is longer than this.
const LOG_LIMIT: u64 = 1 << 20;

/// Where the helper is and what it works on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of its records and its socket: `EXEC-ROOT/netd`.
    pub dir: PathBuf,
    /// The program `gantry-netd`. It is opened when it is first needed, and executed through a read-only mount.
    pub program: PathBuf,
    /// The file that names the host's own servers: `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

impl Config {
    /// The helper of a daemon with this exec-root, and its program in the folder `programs`.
    pub fn new(exec_root: &std::path::Path, programs: &std::path::Path) -> Self {
        Self {
            dir: exec_root.join("netd"),
            program: programs.join("gantry-netd"),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }

    /// With another file of servers.
    #[must_use]
    pub fn resolv_conf(mut self, path: PathBuf) -> Self {
        self.resolv_conf = path;
        self
    }
}

/// The handle. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    paths: Paths,
    /// The folders are there.
    made: AtomicBool,
    link: Mutex<Link>,
    /// Who is told what egress rules denied.
    listener: OnceLock<Listener>,
}

/// Who is told of denials.
struct Listener(Box<dyn Fn(Denial) + Send + Sync>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// What there is of the helper.
#[derive(Debug, Default)]
struct Link {
    program: Option<Program>,
    connection: Option<Connection>,
    /// Told again to each helper.
    netlink_port: Option<u32>,
    /// Somebody has egress rules, and the helper that was asked to tell of denials, by its process.
    denials: Option<Option<u32>>,
    /// Wakes the thread that waits for the end of the present helper, and says that its end is meant.
    watch: Option<OwnedFd>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    pid: u32,
    port: u16,
}

impl Client {
    /// The handle to the helper of `config`. Nothing is started or looked at.
    pub fn new(config: Config) -> Self {
        let paths = Paths::new(&config.dir);
        let (made, link) = (AtomicBool::new(false), Mutex::default());
        let listener = OnceLock::new();
        Self { shared: Arc::new(Shared { config, paths, made, link, listener }) }
    }

    /// Tells `listener`, on a thread of its own, what egress rules deny ([`Sandbox::egress`]), for as long as this handle
    /// lives. What was denied while nobody listened comes first, the last thousand of it. Only the first call counts.
    pub fn on_denied(&self, listener: impl Fn(Denial) + Send + Sync + 'static) {
        let _first = self.shared.listener.set(Listener(Box::new(listener)));
    }

    /// Connects to the helper that lives, or starts one if there are sandboxes to be served. Whether there is one now.
    pub fn adopt(&self) -> Result<bool> {
        let mut link = self.shared.lock();
        if !state::ids(&self.shared.paths.sandboxes())?.is_empty() {
            self.shared.ensure(&mut link)?;
            return Ok(true);
        }
        self.shared.connect(&mut link)
    }

    /// Removes the records of sandboxes and networks that are not to be kept, before [`adopt`](Self::adopt).
    pub fn sweep(
        &self,
        keep_sandbox: impl Fn(&Id) -> bool,
        keep_network: impl Fn(&Id) -> bool,
    ) -> Result<()> {
        let paths = &self.shared.paths;
        for dir in [paths.dir().to_owned(), paths.sandboxes(), paths.networks()] {
            sweep_unfinished(&dir)?;
        }
        for id in state::ids(&paths.sandboxes())?.iter().filter(|id| !keep_sandbox(id)) {
            self.detach(id)?;
        }
        for id in state::ids(&paths.networks())?.iter().filter(|id| !keep_network(id)) {
            self.forget_network(id)?;
        }
        Ok(())
    }

    /// Names of this network's containers are answered from now on; or its record changed.
    pub fn network(&self, id: &Id, network: &Network) -> Result<()> {
        self.shared.make_folders()?;
        state::write(&self.shared.paths.network(id), network)?;
        self.tell(&Request::Network { id: id.clone() })
    }

    /// The network is no more.
    pub fn forget_network(&self, id: &Id) -> Result<()> {
        if remove(&self.shared.paths.network(id))? {
            self.tell(&Request::Network { id: id.clone() })?;
        }
        Ok(())
    }

    /// Serves a sandbox: when this returns, queries in its namespace are answered, others find its names, and its ports
    /// on loopback lead to it. Starts the helper if the sandbox needs it ([`Sandbox::dns`] or
    /// [`Sandbox::forwards`]); for one that does not, nothing happens.
    ///
    /// Until [`owner`](Self::owner) it is served for as long as this daemon lives.
    pub fn attach(&self, id: &Id, sandbox: &Sandbox, netns: BorrowedFd<'_>) -> Result<()> {
        if !sandbox.dns && sandbox.forwards.is_empty() {
            return Ok(());
        }
        self.shared.make_folders()?;
        state::write(&self.shared.paths.sandbox(id), sandbox)?;
        self.hear_denials(sandbox);
        let asked = if sandbox.dns {
            self.ask(&Request::Attach { sandbox: id.clone() }, &[netns])
        } else {
            self.ask(&Request::Sandbox { id: id.clone() }, &[])
        };
        asked.map(drop).context(|| "embedded DNS")
    }

    /// The sandbox that was attached lives as long as the process `pid`, the container's first. For a sandbox without a
    /// record or a process that has ended already, nothing happens ([`detach`](Self::detach) follows anyway).
    pub fn owner(&self, id: &Id, pid: u32) -> Result<()> {
        if !self.shared.paths.sandbox(id).exists() {
            return Ok(());
        }
        let pidfd = match pidfd_of(pid) {
            Ok(pidfd) => pidfd,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return Ok(());
            }
            Err(e) => return Err(Error::io(format!("open process {pid}"), e)),
        };
        self.ask(&Request::Owner { sandbox: id.clone(), pid }, &[pidfd.as_fd()])
            .map(drop)
            .context(|| "embedded DNS")
    }

    /// The sandbox's names, addresses, servers or ports changed. It has to be attached already, unless
    /// [`Sandbox::dns`] is still not set.
    pub fn update(&self, id: &Id, sandbox: &Sandbox) -> Result<()> {
        self.hear_denials(sandbox);
        self.shared.make_folders()?;
        state::write(&self.shared.paths.sandbox(id), sandbox)?;
        self.ask(&Request::Sandbox { id: id.clone() }, &[]).map(drop)
    }

    /// The sandbox is no more: its names are unknown, its namespace is let go. Cheap for one that never was.
    pub fn detach(&self, id: &Id) -> Result<()> {
        if remove(&self.shared.paths.sandbox(id))? {
            self.tell(&Request::Detach { sandbox: id.clone() })?;
        }
        Ok(())
    }

    /// The port on 127.0.0.1 (TCP) and on every IPv6 address (TCP and UDP) that the firewall redirects to what is meant for
    /// [`Sandbox::forwards`]. Starts the helper. The port stays the same over its restarts if nobody took it meanwhile:
    /// ask again whenever the rules are written.
    pub fn redirect_port(&self) -> Result<u16> {
        let mut link = self.shared.lock();
        Ok(self.shared.ensure(&mut link)?.port)
    }

    /// Writes down what our tables are to be: the bytes of one transaction ([`sys::netlink::Batch::bytes`]) that
    /// rewrites all of them, whatever was there before. To be called before the kernel is told the same, also by parts:
    /// what is not in here is lost when the helper puts the tables back. `None`: they are about to be removed.
    pub fn write_firewall(&self, batch: Option<&[u8]>) -> Result<()> {
        let path = self.shared.paths.firewall();
        match batch {
            None => stdx::fs::remove_file(&path),
            Some(bytes) => {
                self.shared.make_folders()?;
                stdx::fs::replace(&path, bytes, 0o600, stdx::fs::Durability::Process)
            }
        }
    }

    /// Watches our tables from now on: when somebody else changes them, they are put back as
    /// [`write_firewall`](Self::write_firewall) said. Changes through the netlink socket with this port
    /// ([`sys::netlink::Socket::port`]) are the daemon's own: use one socket for all of them. A daemon that is connected has
    /// a second in which to put them back itself, and then the helper does not; one that is connected and has not called this
    /// is left to do so alone. Starts the helper.
    pub fn watch_firewall(&self, netlink_port: u32) -> Result<()> {
        let mut link = self.shared.lock();
        link.netlink_port = Some(netlink_port);
        self.shared.ask(&mut link, &Request::Firewall { netlink_port: Some(netlink_port) }, &[])?;
        Ok(())
    }

    /// The helper's figures, `None` when there is no helper.
    pub fn status(&self) -> Result<Option<Status>> {
        let mut link = self.shared.lock();
        if !self.shared.connect(&mut link)? {
            return Ok(None);
        }
        match self.shared.ask(&mut link, &Request::Status, &[])? {
            Answer::Status(status) => Ok(Some(status)),
            other => Err(unexpected(&other)),
        }
    }

    /// The helper's process, `None` when there is no helper.
    pub fn pid(&self) -> Result<Option<u32>> {
        let mut link = self.shared.lock();
        self.shared.connect(&mut link)?;
        Ok(link.connection.as_ref().map(|c| c.pid))
    }

    /// Ends the helper if no sandbox and no network has a record. Whether there is none now.
    pub fn stop_if_idle(&self) -> Result<bool> {
        let paths = &self.shared.paths;
        // Whoever needs it writes that down before asking for this lock.
        let mut link = self.shared.lock();
        let idle =
            state::ids(&paths.sandboxes())?.is_empty() && state::ids(&paths.networks())?.is_empty();
        if idle {
            self.shared.stop(&mut link)?;
        }
        Ok(idle)
    }

    /// Ends the helper, waits for its end, and does not start it again until it is needed. There being none is success.
    pub fn stop(&self) -> Result<()> {
        self.shared.stop(&mut self.shared.lock())
    }

    /// The helper that is there, or the next one, is asked to tell of denials if the sandbox may have some.
    fn hear_denials(&self, sandbox: &Sandbox) {
        if sandbox.egress.is_some() {
            self.watch_denials();
        }
    }

    /// The helper that is there, or the next one, is asked to tell of denials: somebody has egress rules.
    pub fn watch_denials(&self) {
        let mut link = self.shared.lock();
        link.denials.get_or_insert(None);
        self.shared.hear_denials(&mut link);
    }

    /// Tells a helper if there is one; what is not running needs not be told, it reads the records when it starts.
    fn tell(&self, request: &Request) -> Result<()> {
        let mut link = self.shared.lock();
        if self.shared.connect(&mut link)? {
            self.shared.ask(&mut link, request, &[])?;
        }
        Ok(())
    }

    fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Answer> {
        self.shared.ask(&mut self.shared.lock(), request, fds)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the folders of the records, once.
    fn make_folders(&self) -> Result<()> {
        if !self.made.load(Ordering::Relaxed) {
            self.paths.create()?;
            self.made.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// One request and its answer. A helper that has died meanwhile is started again and asked once more.
    fn ask(
        self: &Arc<Self>,
        link: &mut Link,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer> {
        let mut again = true;
        loop {
            let connection = self.ensure(link)?;
            match exchange(&connection.socket, request, fds) {
                Ok(Some(Answer::Failed(why))) => return Err(Error::internal(why)),
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if again => again = false,
                Ok(None) => {
                    link.connection = None;
                    return Err(Error::new(Kind::Unavailable, "gantry-netd ended"));
                }
                Err(e) => {
                    // The answer may still come; the next question must not take it for its own.
                    link.connection = None;
                    return Err(Error::io("ask gantry-netd", e));
                }
            }
            link.connection = None;
        }
    }

    /// Connects to the helper, which is started if there is none.
    fn ensure<'l>(self: &Arc<Self>, link: &'l mut Link) -> Result<&'l Connection> {
        if !self.connect(link)? {
            let mut child = Some(self.spawn(link)?);
            let greeted = packet::connect(&self.paths.socket())
                .context(|| "reach gantry-netd")
                .and_then(|socket| self.greet(link, socket, &mut child));
            if let Some(mut child) = child {
                // Nobody watches it: it is of no use, and may not stay behind.
                let _ended = child.kill().and_then(|()| child.wait());
            }
            greeted.context(|| {
                format!("start gantry-netd (its log is {})", self.paths.log().display())
            })?;
        }
        link.connection.as_ref().ok_or_else(|| Error::internal("gantry-netd is not connected"))
    }

    /// Connects to the helper if there is one.
    fn connect(self: &Arc<Self>, link: &mut Link) -> Result<bool> {
        if link.connection.is_some() {
            return Ok(true);
        }
        match packet::connect(&self.paths.socket()) {
            Ok(socket) => match self.greet(link, socket, &mut None) {
                Ok(()) => Ok(link.connection.is_some()),
                // It died between the two, or never came to life.
                Err(e) if e.kind() == Kind::Unavailable => Ok(false),
                Err(e) => Err(e),
            },
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(Error::io("reach gantry-netd", e)),
        }
    }

    /// Ends the helper, if there is one, and waits for its end.
    fn stop(self: &Arc<Self>, link: &mut Link) -> Result<()> {
        if !self.connect(link)? {
            return Ok(());
        }
        link.forget_watch();
        let Some(connection) = link.connection.take() else { return Ok(()) };
        let ended = pidfd_of(connection.pid);
        packet::send(&connection.socket, &Request::Stop, &[]).context(|| "stop gantry-netd")?;
        if let Ok(pidfd) = ended {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            if poll(&mut fds, Some(&patience)).map_err(io::Error::from)? == 0 {
                return Err(Error::new(Kind::Timeout, "gantry-netd does not end"));
            }
            // Ours or not: a child must be waited for, another's is none of our business.
            let _reaped = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
        }
        Ok(())
    }

    /// The first words on a connection. A helper of another version, or that reads another file, is stopped.
    fn greet(
        self: &Arc<Self>,
        link: &mut Link,
        socket: OwnedFd,
        child: &mut Option<Child>,
    ) -> Result<()> {
        let doing = || "greet gantry-netd";
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))
            .map_err(io::Error::from)
            .context(doing)?;
        let hello = Request::Hello { version: VERSION };
        let gone = || Error::new(Kind::Unavailable, "gantry-netd ended");
        let answer = exchange(&socket, &hello, &[]).context(doing)?.ok_or_else(gone)?;
        let Answer::Hello { version, pid, port } = answer else { return Err(unexpected(&answer)) };
        if version != VERSION || !reads(pid, &self.config.resolv_conf) {
            let _ended = exchange(&socket, &Request::Stop, &[]);
            return Ok(());
        }
        link.forget_watch();
        if let Some(netlink_port) = link.netlink_port {
            let request = Request::Firewall { netlink_port: Some(netlink_port) };
            exchange(&socket, &request, &[]).context(doing)?.ok_or_else(gone)?;
        }
        link.watch = Some(watch(self, pid, child.take()).context(|| "watch gantry-netd")?);
        link.connection = Some(Connection { socket, pid, port });
        self.hear_denials(link);
        Ok(())
    }

    /// Asks the present helper to tell of denials, once.
    fn hear_denials(self: &Arc<Self>, link: &mut Link) {
        let Some(connection) = &link.connection else { return };
        if link.denials.is_none_or(|asked| asked == Some(connection.pid)) {
            return;
        }
        let pid = connection.pid;
        link.denials = Some(Some(pid));
        let (path, shared) = (self.paths.socket(), Arc::downgrade(self));
        // It ends with the helper, and with this process. That nobody is told is no reason to stop anything.
        let listen = move || {
            let watching = packet::connect(&path).ok().filter(|socket| {
                matches!(exchange(socket, &Request::Watch, &[]), Ok(Some(Answer::Done)))
            });
            let Some(socket) = watching else {
                // The next who has rules asks again.
                if let Some(shared) = shared.upgrade() {
                    shared.lock().not_heard(pid);
                }
                return;
            };
            while let Ok(Some((Answer::Denied(denial), _))) = packet::receive::<Answer>(&socket) {
                let Some(shared) = shared.upgrade() else { return };
                if let Some(Listener(listener)) = shared.listener.get() {
                    listener(denial);
                }
            }
        };
        let thread = std::thread::Builder::new().name("netd-denials".into());
        if thread.stack_size(256 << 10).spawn(listen).is_err() {
            link.not_heard(pid);
        }
    }

    /// Starts a helper. It is reachable when this returns, and answers when it has read its records.
    fn spawn(&self, link: &mut Link) -> Result<Child> {
        let doing = || format!("start {}", self.config.program.display());
        self.make_folders()?;
        let program = match link.program.take() {
            Some(program) => program,
            None => Program::open(&self.config.program).context(doing)?,
        };
        let program = link.program.insert(program);
        // The socket is made here, so that nobody needs to wait for the moment when it is there. The helper inherits it,
        // and it ends with it.
        let listener = packet::listen(&self.paths.socket()).context(doing)?;
        let log = self.open_log().context(doing)?;
        Spawn::new(program)
            .name("gantry-netd")
            .arg(self.paths.dir())
            .arg(&self.config.resolv_conf)
            .inherit_env(stdx::failpoint::ENV)
            .stdin(listener)
            .stdout(log.try_clone().context(doing)?)
            .stderr(log)
            .spawn()
            .context(doing)
    }

    fn open_log(&self) -> io::Result<OwnedFd> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.paths.log())?;
        if file.metadata()?.len() > LOG_LIMIT {
            file.set_len(0)?;
        }
        Ok(file.into())
    }
}

impl Link {
    /// The helper `pid` could not be asked to tell of denials.
    fn not_heard(&mut self, pid: u32) {
        if self.denials == Some(Some(pid)) {
            self.denials = Some(None);
        }
    }

    /// The end of the present helper, if there is one, is no news any more.
    fn forget_watch(&mut self) {
        if let Some(wake) = self.watch.take() {
            let _woken = rustix::io::write(&wake, &1u64.to_ne_bytes());
        }
    }
}

/// Waits on a thread for the end of the helper `pid`, reaps it, and starts another. Returns what ends the watch.
fn watch(shared: &Arc<Shared>, pid: u32, child: Option<Child>) -> io::Result<OwnedFd> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let pidfd = pidfd_of(pid)?;
    let (shared, theirs) = (Arc::downgrade(shared), wake.try_clone()?);
    std::thread::Builder::new().name("netd-watch".into()).stack_size(128 << 10).spawn(
        move || {
            let born = Instant::now();
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&theirs, PollFlags::IN)];
            while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
            let meant = fds[1].revents().contains(PollFlags::IN);
            if let Some(mut child) = child {
                // One that still lives is waited for by whoever asked it to end.
                let _status = child.try_wait();
            }
            if !meant {
                start_again(&shared, &theirs, pid, born.elapsed() < SHORT_LIFE);
            }
        },
    )?;
    Ok(wake)
}

/// Starts another helper, at once or after a pause, until it works or nobody wants it any more.
fn start_again(shared: &Weak<Shared>, wake: &OwnedFd, pid: u32, mut wait: bool) {
    let mut pause = Duration::from_millis(200);
    loop {
        if wait {
            let mut fds = [PollFd::new(wake, PollFlags::IN)];
            let pause = Timespec {
                tv_sec: pause.as_secs() as i64,
                tv_nsec: i64::from(pause.subsec_nanos()),
            };
            if poll(&mut fds, Some(&pause)).is_ok_and(|ready| ready > 0) {
                return;
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        let mut link = shared.lock();
        if link.connection.as_ref().is_some_and(|c| c.pid != pid) {
            return;
        }
        link.connection = None;
        // What keeps it from starting is told to whoever asks next.
        if shared.ensure(&mut link).is_ok() {
            return;
        }
        wait = true;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn exchange(
    socket: &OwnedFd,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> io::Result<Option<Answer>> {
    match packet::send(socket, request, fds) {
        Err(e)
            if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
        {
            return Ok(None);
        }
        sent => sent?,
    }
    let answer = packet::receive::<Answer>(socket).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => e,
    })?;
    Ok(answer.map(|(answer, _)| answer))
}

fn unexpected(answer: &Answer) -> Error {
    match answer {
        Answer::Failed(why) => Error::internal(why.clone()),
        other => Error::internal(format!("gantry-netd answers {other:?}")),
    }
}

/// Whether the process that wrote an unfinished file, `.NAME.PID.tmp`, may still be writing it: we, or the helper.
fn is_being_written(name: &str) -> bool {
    let writer = name.trim_end_matches(".tmp").rsplit('.').next().unwrap_or_default();
    writer.parse::<u32>().is_ok_and(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists())
}

/// Removes what somebody was writing when he was killed.
fn sweep_unfinished(dir: &std::path::Path) -> Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(format!("list {}", dir.display()), e)),
    };
    for entry in entries {
        let path = entry.context(|| format!("list {}", dir.display()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if name.starts_with('.') && name.ends_with(".tmp") && !is_being_written(&name) {
            stdx::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes a record; whether there was one.
fn remove(path: &std::path::Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(format!("remove {}", path.display()), e)),
    }
}

fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the helper was started with this file of servers, or what it was started with cannot be known.
fn reads(pid: u32, resolv_conf: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return true };
    // Its name, the folder, the file.
    line.split(|byte| *byte == 0)
        .nth(2)
        .is_none_or(|file| file == resolv_conf.as_os_str().as_bytes())
}
