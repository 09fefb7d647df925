//! The watch over our firewall tables.
//!
//! The kernel announces every change of rules with the netlink port of who asked for it. What came through a port of the
//! daemon's, or our own, is meant. Anything else that touches a table of ours is somebody's `flush ruleset`, a firewall
//! that was reloaded, or a hand that slipped: a moment later, when whoever it is has finished, all our tables are written
//! anew, whole, as the daemon's file says. A daemon that is there does so itself, and is given the time to; one that has not
//! said its port cannot be told from others, and is left to guard its tables alone. Whoever keeps changing them is answered
//! ever more slowly, not fought.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use stdx::{Context as _, Error, Result};
use sys::netlink::{self, Batch, Message, Protocol, Socket};

use super::Log;
use super::slab::Key;

/// `NFNLGRP_NFTABLES` is group 7.
const GROUPS: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = SUBSYSTEM << 8;
const NFT_MSG_GETTABLE: u16 = SUBSYSTEM << 8 | 1;
/// `NFT_MSG_NEWGEN`: the end of a transaction's announcements. Its first attribute is no table.
const NFT_MSG_NEWGEN: u16 = SUBSYSTEM << 8 | 15;
const NLM_F_DUMP: u16 = 0x300;
/// The table's name, in messages of every kind.
const TABLE: u16 = 1;

/// How long after a change the tables are put back: a reload is many transactions.
const PAUSE: Duration = Duration::from_millis(250);
/// The same while there is a daemon, which puts them back itself as a rule.
const DAEMONS_TURN: Duration = Duration::from_secs(1);
/// The longest pause, for whoever changes them again and again.
const LONGEST: Duration = Duration::from_secs(30);
/// Who changes them again within this time is doing it again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often that may happen at full speed.
const PATIENCE: u32 = 4;

/// A table: family and name.
pub(crate) type Table = (u8, Vec<u8>);

/// The watch.
#[derive(Debug)]
pub(crate) struct Watch {
    path: PathBuf,
    /// Where changes are announced; `None` on a kernel without nf_tables.
    notices: Option<Socket>,
    /// Through which the tables are put back.
    own: Option<Socket>,
    /// The daemon's ports, as far as they are known, by its connections.
    daemons: Vec<(Key, Option<u32>)>,
    /// Tables that somebody touched, by his port: it may turn out to be a daemon's. 0 is the kernel's own.
    touched: BTreeMap<u32, BTreeSet<Table>>,
    /// A table was not there: the daemon may be about to make it, since it writes the file first.
    missed: bool,
    deadline: Option<Instant>,
    last: Option<Instant>,
    in_a_row: u32,
    replayed: u64,
    /// Tables were made anew: what was added to their sets is gone.
    made: BTreeSet<Table>,
}

impl Watch {
    /// Watches for changes of what the file at `path` says.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let open = || -> io::Result<(Socket, Socket)> {
            let notices = Socket::subscribe(Protocol::Netfilter, GROUPS)?;
            notices.set_nonblocking()?;
            // A flushed set of ten thousand ports is announced element by element.
            let _large = rustix::net::sockopt::set_socket_recv_buffer_size_force(&notices, 4 << 20);
            Ok((notices, Socket::open(Protocol::Netfilter)?))
        };
        let (notices, own) = match open() {
            Ok((notices, own)) => (Some(notices), Some(own)),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => (None, None),
            Err(e)
                if e.raw_os_error() == Some(rustix::io::Errno::PROTONOSUPPORT.raw_os_error()) =>
            {
                (None, None)
            }
            Err(e) => return Err(e).context(|| "watch the firewall"),
        };
        Ok(Self {
            path,
            notices,
            own,
            daemons: Vec::new(),
            touched: BTreeMap::new(),
            missed: false,
            deadline: None,
            last: None,
            in_a_row: 0,
            replayed: 0,
            made: BTreeSet::new(),
        })
    }

    /// Readable when rules changed.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.notices.as_ref().map(|socket| socket.as_fd())
    }

    pub(crate) fn replayed(&self) -> u64 {
        self.replayed
    }

    /// There is a daemon at this connection, which changes tables through this port if it is known.
    pub(crate) fn set_daemon(&mut self, daemon: Key, port: Option<u32>) {
        self.forget_daemon(daemon);
        self.daemons.push((daemon, port));
        // What it changed before it said so was meant.
        port.and_then(|port| self.touched.remove(&port));
    }

    /// The daemon is gone; its port may be anybody's.
    pub(crate) fn forget_daemon(&mut self, daemon: Key) {
        self.daemons.retain(|(key, _)| *key != daemon);
    }

    /// Which tables were made anew since this was last asked. One that is kept while others are written is not among them.
    pub(crate) fn take_made(&mut self) -> BTreeSet<Table> {
        std::mem::take(&mut self.made)
    }

    /// Changes tables of ours. That they are not there is success: when they are made anew, it is to be done again.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<()> {
        let Some(own) = self.own.as_mut().filter(|_| !batch.is_empty()) else { return Ok(()) };
        match own.execute(batch.clone()) {
            Err(e) if e.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(()),
            done => done.map_err(|e| Error::internal("allow addresses").caused_by(e)),
        }
    }

    /// When the tables are put back.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Hears what changed.
    pub(crate) fn hear(&mut self, log: &mut Log) {
        let own = self.own.as_ref().and_then(|own| own.port().ok());
        while let Some(notices) = &mut self.notices {
            match notices.receive() {
                Ok(messages) => {
                    for message in messages.iter().filter(|m| Some(m.port) != own) {
                        let Some(table) = table(message) else { continue };
                        if message.kind == NFT_MSG_NEWTABLE {
                            self.made.insert(table.clone());
                        }
                        if !self.daemons.iter().any(|(_, port)| *port == Some(message.port)) {
                            self.touched.entry(message.port).or_default().insert(table);
                        } else if message.kind == NFT_MSG_NEWTABLE {
                            // The daemon wrote it anew, whole.
                            self.touched.retain(|_, tables| {
                                tables.remove(&table);
                                !tables.is_empty()
                            });
                        }
                    }
                }
                Err(e) if e.errno() == Some(rustix::io::Errno::WOULDBLOCK.raw_os_error()) => break,
                Err(e) if e.errno() == Some(rustix::io::Errno::INTR.raw_os_error()) => {}
                // Something was lost: it may have been about us.
                Err(e) if e.errno() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    let ours = self.wanted().unwrap_or_default().1;
                    self.touched.entry(0).or_default().extend(ours);
                }
                Err(e) => {
                    log.note(&Error::internal("watch the firewall").caused_by(e));
                    break;
                }
            }
        }
        if !self.touched.is_empty() && self.deadline.is_none() {
            let turn = if self.daemons.is_empty() { Duration::ZERO } else { DAEMONS_TURN };
            self.deadline = Some(Instant::now() + self.pause().max(turn));
        }
    }

    /// Looks whether a table is missing, as after a start. It is put back unless the daemon does so in its turn.
    pub(crate) fn check(&mut self, log: &mut Log) {
        match self.missing() {
            Ok(tables) if tables.is_empty() => {}
            Ok(_) => {
                self.missed = true;
                self.deadline.get_or_insert_with(|| Instant::now() + DAEMONS_TURN);
            }
            Err(e) => log.note(&e),
        }
    }

    /// Puts the tables back if it is time and somebody touched one of ours, or one was and is missing.
    pub(crate) fn expire(&mut self, now: Instant, log: &mut Log) {
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.deadline = None;
        let touched: BTreeSet<Table> =
            std::mem::take(&mut self.touched).into_values().flatten().collect();
        let missed = std::mem::take(&mut self.missed);
        if self.daemons.iter().any(|(_, port)| port.is_none()) {
            return;
        }
        // What is ours is looked up now: the daemon may have given up its tables meanwhile.
        let harmed = self.wanted().and_then(|(_, ours)| {
            let missing = if missed { self.missing()? } else { BTreeSet::new() };
            Ok(ours.intersection(&touched).cloned().chain(missing).collect::<BTreeSet<_>>())
        });
        match harmed {
            Ok(tables) if tables.is_empty() => {}
            Ok(tables) => {
                self.made.extend(tables);
                self.replay(log);
            }
            Err(e) => log.note(&e),
        }
    }

    fn replay(&mut self, log: &mut Log) {
        let batch = match self.wanted() {
            Ok((Some(batch), _)) => batch,
            Ok((None, _)) => return,
            Err(e) => return log.note(&e),
        };
        let now = Instant::now();
        let is_again = self.last.is_some_and(|last| now - last < AGAIN + self.pause());
        let Some(own) = &mut self.own else { return };
        let done = own.execute(batch);
        self.last = Some(now);
        self.in_a_row = if is_again { self.in_a_row + 1 } else { 0 };
        self.replayed += 1;
        match done {
            Ok(()) => log.note(&"somebody changed our firewall tables: they have been put back"),
            Err(e) => {
                log.note(&refused(e));
                // Whatever stands in the way may be gone later.
                self.in_a_row = self.in_a_row.max(PATIENCE);
                if let Ok((_, ours)) = self.wanted() {
                    self.touched.entry(0).or_default().extend(ours);
                    self.deadline = Some(now + self.pause());
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let doubled = self.in_a_row.saturating_sub(PATIENCE).min(10);
        (PAUSE * 2u32.pow(doubled)).min(LONGEST)
    }

    /// The transaction in the file, and the tables that it makes. None without a file.
    fn wanted(&self) -> Result<(Option<Batch>, BTreeSet<Table>)> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, BTreeSet::new())),
            Err(e) => return Err(Error::io(format!("read {}", self.path.display()), e)),
        };
        let batch = Batch::parse(&bytes).filter(|batch| !batch.is_empty()).ok_or_else(|| {
            Error::internal(format!("{} is no netlink transaction", self.path.display()))
        })?;
        let tables =
            batch.messages().filter(|m| m.kind == NFT_MSG_NEWTABLE).filter_map(|m| table(&m));
        let tables = tables.collect();
        Ok((Some(batch), tables))
    }

    /// Which tables of ours are not there.
    fn missing(&mut self) -> Result<BTreeSet<Table>> {
        let (_, mut ours) = self.wanted()?;
        let Some(own) = self.own.as_mut().filter(|_| !ours.is_empty()) else { return Ok(ours) };
        let mut batch = Batch::new();
        batch.message(NFT_MSG_GETTABLE, NLM_F_DUMP, &[0; 4], |_| {});
        for there in own.query(&batch).map_err(refused)?.iter().filter_map(table) {
            ours.remove(&there);
        }
        Ok(ours)
    }
}

/// The table that a message of nf_tables is about.
fn table(message: &Message) -> Option<Table> {
    if message.kind >> 8 != SUBSYSTEM || message.kind == NFT_MSG_NEWGEN {
        return None;
    }
    let family = *message.body.first()?;
    let (_, name) = message.attributes(4).find(|(kind, _)| *kind == TABLE)?;
    Some((family, name.strip_suffix(&[0]).unwrap_or(name).to_vec()))
}

fn refused(error: netlink::Error) -> Error {
    Error::internal("put the firewall back").caused_by(error)
}
