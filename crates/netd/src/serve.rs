//! The helper process: one thread, one epoll, and everything it serves.
//!
//! ```text
//!   control    the daemon's connections: attach, owner, look again
//!   sandboxes  what is attached: sockets inside namespaces, their owners' ends
//!   clients    queries over UDP and TCP, and their answers
//!   upstream   queries on their way to servers outside
//!   relays     connections to ports on IPv6 on their way into containers
//!   sessions   the same for datagrams; conntrack says where they were meant to go
//!   firewall   who changes our tables
//!   egress     names that may be asked for, and what was denied
//! ```
//!
//! Everything that a container can make this process hold is bounded, per container and in all.

mod clients;
mod conntrack;
mod control;
mod egress;
mod firewall;
mod home;
mod owner;
mod poll;
mod random;
mod records;
mod redirect;
mod relays;
mod resolv;
mod sandboxes;
mod sessions;
mod setup;
mod slab;
mod upstream;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use stdx::{Context as _, Error, Result};

use crate::state::Paths;
use clients::TcpClient;
use control::Daemon;
use egress::Egress;
use firewall::Watch;
use home::Home;
use poll::{Poll, Token};
use random::Random;
use records::Records;
use relays::Relays;
use resolv::Resolv;
use sandboxes::Sandboxes;
use sessions::Sessions;
use slab::{Key, Slab};
use upstream::Upstream;

/// Runs the helper until the daemon says `Stop`. Arguments: the folder of the records, the host's `resolv.conf`. The
/// standard input is the listening socket.
pub fn run() -> Result<()> {
    stdx::failpoint::arm_from_env().map_err(Error::invalid)?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let dir = arguments.next().ok_or_else(|| {
        Error::invalid("started by gantryd with a folder and a listening socket, not by hand")
    })?;
    let resolv = arguments.next().unwrap_or_else(|| "/etc/resolv.conf".into());
    let listener = setup::listener()?;
    setup::detach()?;
    let paths = Paths::new(dir);
    let lock = setup::lock(&paths.lock())?;
    let mut server = Server::start(paths, resolv, listener)?;
    setup::confine()?;
    let done = server.serve();
    drop(lock);
    done
}

/// Everything of the process.
struct Server {
    poll: Poll,
    home: Home,
    random: Random,
    log: Log,
    records: Records,
    resolv: Resolv,
    listener: std::os::fd::OwnedFd,
    daemons: Slab<Daemon>,
    sandboxes: Sandboxes,
    clients: Slab<TcpClient>,
    /// The client over TCP whose queries are being worked on.
    working: Option<Key>,
    upstream: Upstream,
    relays: Relays,
    sessions: Sessions,
    firewall: Watch,
    egress: Egress,
    counters: Counters,
    stop: bool,
    /// Where packets and parts of streams are read to.
    scratch: Box<[u8; SCRATCH]>,
}

/// The longest UDP datagram, and the part of a stream that is carried at once.
const SCRATCH: usize = 64 << 10;

/// What [`Status`](crate::protocol::Status) tells since the start.
#[derive(Debug, Default)]
struct Counters {
    answered: u64,
    forwarded: u64,
    forged: u64,
    dropped: u64,
}

impl Server {
    fn start(paths: Paths, resolv: PathBuf, listener: std::os::fd::OwnedFd) -> Result<Self> {
        let doing = || "start";
        let poll = Poll::new().context(doing)?;
        rustix::io::ioctl_fionbio(&listener, true).map_err(io::Error::from).context(doing)?;
        poll.add(&listener, Token::Listener, EventFlags::IN).context(doing)?;
        let resolv = Resolv::watch(resolv).context(|| "watch resolv.conf")?;
        poll.add(resolv.fd(), Token::Resolv, EventFlags::IN).context(doing)?;
        let (relays, datagrams) = Relays::listen(&paths.port()).context(|| "listen on loopback")?;
        for (listener, token) in relays.listeners() {
            poll.add(listener, token, EventFlags::IN).context(doing)?;
        }
        let sessions = Sessions::new(datagrams, relays.port());
        if let Some(socket) = sessions.fd() {
            poll.add(socket, Token::Datagrams, EventFlags::IN).context(doing)?;
        }
        let firewall = Watch::open(paths.firewall())?;
        if let Some(fd) = firewall.fd() {
            poll.add(fd, Token::Firewall, EventFlags::IN).context(doing)?;
        }
        let mut server = Self {
            poll,
            home: Home::here().context(doing)?,
            random: Random::new(),
            log: Log::default(),
            records: Records::new(paths),
            resolv,
            listener,
            daemons: Slab::new(16),
            sandboxes: Sandboxes::default(),
            clients: Slab::new(clients::MOST_TCP),
            working: None,
            upstream: Upstream::new(),
            relays,
            sessions,
            firewall,
            egress: Egress::default(),
            counters: Counters::default(),
            stop: false,
            scratch: Box::new([0; SCRATCH]),
        };
        server.recover();
        Ok(server)
    }

    /// Serves what the records say, after another helper or this machine's daemon was killed.
    fn recover(&mut self) {
        for error in self.records.load() {
            self.log.note(&error);
        }
        self.attach_recorded();
        self.firewall.check(&mut self.log);
        self.listen_to_denials();
    }

    fn serve(&mut self) -> Result<()> {
        while !self.stop {
            let timeout =
                self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
            for (token, flags) in self.poll.wait(timeout).context(|| "wait")? {
                self.event(token, flags);
            }
            self.expire(Instant::now());
            let made = self.firewall.take_made();
            if !made.is_empty() {
                self.learn_again(&made);
            }
        }
        // The socket's name stays: by now it may be the next helper's.
        Ok(())
    }

    fn event(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Listener => self.accept_daemons(),
            Token::Daemon(key) => self.hear_daemon(key),
            Token::Resolv => self.resolv.read_again(),
            Token::Firewall => self.firewall.hear(&mut self.log),
            Token::Denied => self.hear_denials(),
            Token::Udp(key) => self.read_udp(key),
            Token::TcpListener(key) => self.accept_tcp(key),
            Token::TcpClient(key) => self.serve_tcp(key, flags),
            Token::Owner(key) => self.owner_ended(key),
            Token::Upstream(key) => self.hear_upstream(key),
            Token::Redirect(family) => self.accept_redirected(family),
            Token::Relay(key, side) => self.carry(key, side, flags),
            Token::Datagrams => self.hear_redirected(),
            Token::Session(key) => self.hear_session(key),
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let all = [
            self.upstream.next_deadline(),
            self.sandboxes.next_deadline(),
            self.sessions.next_deadline(),
            self.firewall.deadline(),
        ];
        all.into_iter().flatten().min()
    }

    fn expire(&mut self, now: Instant) {
        self.expire_upstream(now);
        self.expire_tcp(now);
        self.sessions.expire(now);
        self.firewall.expire(now, &mut self.log);
    }
}

/// Notes for whoever looks for what went wrong. Few at a time: containers can cause them.
#[derive(Debug, Default)]
struct Log {
    since: Option<Instant>,
    count: u32,
}

impl Log {
    /// At most this many notes in [`WINDOW`](Self::WINDOW).
    const MOST: u32 = 20;
    const WINDOW: Duration = Duration::from_secs(60);

    fn note(&mut self, what: &dyn std::fmt::Display) {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since > Self::WINDOW) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        if self.count <= Self::MOST {
            #[allow(clippy::print_stderr, reason = "standard error is the helper's log")]
            {
                eprintln!("{what}");
            }
        }
    }
}
