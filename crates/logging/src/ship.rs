//! Shipping: one thread a container reads what the shim writes and gives it to a [`Shipper`].
//!
//! ```text
//!   shim ──▶ file ──▶ Reader ──▶ Shipper ──▶ elsewhere
//!                        └─ cursor, after each delivery ─▶ NAME.cursor
//! ```
//!
//! The cursor survives whoever wrote it, so a daemon that was down or killed goes on where the last one was: late, not
//! lost. What was delivered but not yet noted is delivered again by the next after a kill: at most the entries of one read,
//! 128 KiB of the file. Whoever is told to stop notes how many of them have arrived.
//! A destination that is away is tried again for ever; what rotation removes meanwhile is a gap, which is counted and
//! told. A container in blocking mode is held before that happens ([`Shipping::check_hold`]).

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use stdx::{Context as _, Result, fail_point};

use crate::driver::{Format, OpenLog};
use crate::files::names;
use crate::{Position, Progress, Query, Reader, Shipper};

/// The longest time between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often a destination that is away is complained of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What is to be shipped.
#[derive(Debug)]
pub struct Job {
    /// The log.
    pub log: PathBuf,
    /// Its form.
    pub format: Format,
    /// How many files there are at most.
    pub max_files: u32,
    /// How to read it.
    pub open: OpenLog,
    /// Where it goes.
    pub shipper: Box<dyn Shipper>,
}

/// What the shipping tells those who started it.
pub trait Watcher: Send + Sync + Debug {
    /// Something is wrong, or right again.
    fn tell(&self, what: &str);
    /// The container is to be held, or let go on.
    fn hold(&self, hold: bool);
    /// The thread ends; nothing is left to ship, or it was told to stop.
    fn done(&self);
}

/// A log being shipped.
#[derive(Debug, Clone)]
pub struct Shipping {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: PathBuf,
    max_files: u32,
    watcher: Arc<dyn Watcher>,
    wake: OwnedFd,
    state: Mutex<State>,
    /// Told when the thread ends.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Nobody writes: the end of the log is the end of the work.
    ended: bool,
    /// After this, a destination that is away is not waited for any more.
    give_up: Option<Instant>,
    /// End after the present delivery.
    stop: bool,
    done: bool,
    /// Device and inode of the file being shipped.
    reading: Option<(u64, u64)>,
    /// The container writes faster than this is delivered, and is to wait.
    held: bool,
    blocking: bool,
}

impl Shipping {
    /// Starts to ship. `blocking`: the container is held rather than that anything is lost.
    pub fn start(job: Job, watcher: Arc<dyn Watcher>, blocking: bool) -> Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(io::Error::from)
            .context(|| "make an eventfd")?;
        let state = Mutex::new(State { blocking, ..State::default() });
        let (log, max_files) = (job.log.clone(), job.max_files);
        let shared =
            Arc::new(Shared { log, max_files, watcher, wake, state, ended: Condvar::new() });
        let thread = Thread { shared: Arc::clone(&shared), job, complained: None, failing: false };
        std::thread::Builder::new()
            .name("log-shipper".to_owned())
            .stack_size(256 << 10)
            .spawn(move || thread.run())
            .context(|| "start a log shipper")?;
        Ok(Self { shared })
    }

    /// The container writes again. Says `false` when it is too late: the thread has ended.
    pub fn go_on(&self, blocking: bool) -> bool {
        let mut state = self.shared.state();
        state.ended = false;
        state.blocking = blocking;
        !state.done
    }

    /// The container has ended: what is left is shipped, and then the thread ends.
    pub fn end(&self) {
        self.shared.state().ended = true;
        self.shared.wake();
    }

    /// The container is removed: like [`end`](Self::end), but nobody waits longer than `patience` for a destination
    /// that is away.
    pub fn end_within(&self, patience: Duration) {
        {
            let mut state = self.shared.state();
            state.ended = true;
            state.give_up = Some(Instant::now() + patience);
        }
        self.shared.wake();
    }

    /// Ends the thread; what is not delivered stays for the next.
    pub fn stop(&self) {
        self.shared.state().stop = true;
        self.shared.wake();
    }

    /// Whether the thread has ended.
    pub fn is_done(&self) -> bool {
        self.shared.state().done
    }

    /// Waits until the thread has ended, or until `deadline`.
    pub fn wait(&self, deadline: Instant) {
        let mut state = self.shared.state();
        while !state.done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Device and inode of the file that is being shipped: this one and newer ones are still needed as they are.
    pub fn reading(&self) -> Option<(u64, u64)> {
        self.shared.state().reading
    }

    /// To be called when the log was rotated.
    pub fn check_hold(&self) {
        self.shared.check_hold();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A full counter wakes as well.
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Holds the container when the file being shipped is the oldest there is (the next rotation would remove what
    /// follows it), and lets it go on when it is not.
    fn check_hold(&self) {
        let mut state = self.state();
        if !state.held && (!state.blocking || state.done || state.reading.is_none()) {
            return;
        }
        let index = names(&self.log)
            .find(|name| {
                name.path
                    .symlink_metadata()
                    .is_ok_and(|m| Some((m.dev(), m.ino())) == state.reading)
            })
            .map(|name| name.index);
        let bound = self.max_files.saturating_sub(1).max(1);
        let hold = state.blocking
            && !state.done
            && !state.ended
            && index.is_none_or(|index| index >= bound);
        if hold != state.held {
            state.held = hold;
            // Under the lock, so that two changes are told in their order.
            self.watcher.hold(hold);
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    job: Job,
    complained: Option<Instant>,
    failing: bool,
}

/// Why the work ends before the log does.
struct Stopped;

impl Thread {
    fn run(mut self) {
        let mut wait = self.job.shipper.retry_wait();
        loop {
            match self.ship_log() {
                Ok(()) | Err(Failed::Stopped) => break,
                Err(Failed::Error(error)) => {
                    self.complain(&format!("log is not shipped: {error}"));
                    if self.pause(&mut wait).is_err() {
                        break;
                    }
                }
            }
        }
        {
            let mut state = self.shared.state();
            state.done = true;
        }
        self.shared.ended.notify_all();
        self.shared.check_hold();
        self.shared.watcher.done();
    }

    fn ship_log(&mut self) -> Result<(), Failed> {
        let cursor_path = cursor_path(&self.job.log);
        let Cursor { mut place, delivered: mut skip } = read_cursor(&cursor_path);
        let query = Query { follow: true, from: place, ..Query::default() };
        let mut reader = (self.job.open)(self.job.format, &self.job.log, query)?;
        let cursor = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&cursor_path)
            .context(|| format!("open {}", cursor_path.display()))?;
        let (mut entries, mut lost) = (Vec::new(), 0);
        loop {
            reader.acknowledge();
            // Looked at before reading: what is written before the end is read after it.
            let ended = self.shared.state().ended;
            loop {
                entries.clear();
                let progress = reader.read_more(&mut entries)?;
                self.shared.state().reading = reader.reading();
                if reader.lost() > lost {
                    let new = reader.lost() - lost;
                    lost = reader.lost();
                    // Those that had arrived may be what is gone.
                    skip = 0;
                    self.shared.watcher.tell(&format!(
                        "a gap: {new} damaged records or files that rotation removed were not shipped"
                    ));
                }
                if !entries.is_empty() {
                    let known = skip.min(entries.len());
                    skip -= known;
                    if let Err(arrived) = self.deliver(&entries[known..]) {
                        keep_cursor(&cursor, Cursor { place, delivered: known + arrived })?;
                        return Err(Failed::Stopped);
                    }
                    place = reader.position();
                    keep_cursor(&cursor, Cursor { place, delivered: skip })?;
                }
                if self.shared.state().held {
                    self.shared.check_hold();
                }
                if progress != Progress::More {
                    break;
                }
            }
            if ended {
                let mut state = self.shared.state();
                if state.ended {
                    state.done = true;
                    return Ok(());
                }
            }
            self.wait_for_more(reader.as_ref())?;
        }
    }

    /// Delivers all of `entries`, however long it takes. The error is how many have arrived when it is told to stop.
    fn deliver(&mut self, entries: &[crate::Entry]) -> Result<(), usize> {
        let mut wait = self.job.shipper.retry_wait();
        let mut arrived = 0;
        while arrived < entries.len() {
            if self.shared.state().stop {
                return Err(arrived);
            }
            match self.job.shipper.ship(&entries[arrived..]) {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        self.complained = None;
                        self.shared.watcher.tell("log is shipped again");
                    }
                    return Ok(());
                }
                Err(undelivered) => {
                    arrived = entries.len().min(arrived + undelivered.delivered);
                    self.failing = true;
                    self.complain(&format!("log is not shipped: {}", undelivered.error));
                    self.pause(&mut wait).map_err(|Stopped| arrived)?;
                }
            }
        }
        Ok(())
    }

    /// Waits before the next try, each time longer.
    fn pause(&self, wait: &mut Duration) -> Result<(), Stopped> {
        let until = Instant::now() + *wait;
        *wait = (*wait * 2).min(LONGEST_WAIT);
        loop {
            {
                let state = self.shared.state();
                if state.stop || state.give_up.is_some_and(|at| Instant::now() >= at) {
                    return Err(Stopped);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.sleep(&[], Some(left)).map_err(|_| Stopped)?;
        }
    }

    fn wait_for_more(&self, reader: &dyn Reader) -> Result<(), Failed> {
        if self.shared.state().stop {
            return Err(Failed::Stopped);
        }
        let watch: Vec<_> = reader.watch().into_iter().collect();
        self.sleep(&watch, None).context(|| "wait for a log")?;
        Ok(())
    }

    fn sleep(
        &self,
        more: &[std::os::fd::BorrowedFd<'_>],
        most: Option<Duration>,
    ) -> io::Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN)];
        fds.extend(more.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let most = most.map(|d| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(d.subsec_nanos()),
        });
        match rustix::event::poll(&mut fds, most.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut count = [0; 8];
        let _nothing = rustix::io::read(&self.shared.wake, &mut count);
        Ok(())
    }

    fn complain(&mut self, what: &str) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            self.shared.watcher.tell(what);
        }
    }
}

enum Failed {
    Stopped,
    Error(stdx::Error),
}

impl From<stdx::Error> for Failed {
    fn from(error: stdx::Error) -> Self {
        Self::Error(error)
    }
}

impl From<Stopped> for Failed {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Where the place up to which a log has been shipped is noted.
pub fn cursor_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".cursor");
    PathBuf::from(name)
}

/// Up to where a log has been shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cursor {
    /// Everything before it has arrived; `None`: nothing was read yet.
    place: Option<Position>,
    /// So many records behind it have arrived, too.
    delivered: usize,
}

/// Overwritten in place: less than a page is written wholly or not at all, whoever is killed. It is not synced: after a
/// power cut the checksum may not fit, and then all that is kept is shipped again.
fn keep_cursor(file: &std::fs::File, cursor: Cursor) -> Result<()> {
    fail_point!("log.ship.before-cursor");
    let Cursor { place: Some(Position { first, offset }), delivered } = cursor else {
        return Ok(());
    };
    let text = format!("{first:020} {offset:020} {delivered:020}");
    let line = format!("{text} {:016x}\n", checksum(text.as_bytes()));
    file.write_all_at(line.as_bytes(), 0).context(|| "note how far a log is shipped")?;
    fail_point!("log.ship.after-cursor");
    Ok(())
}

fn read_cursor(path: &Path) -> Cursor {
    let read = || {
        let text = std::fs::read_to_string(path).ok()?;
        let (numbers, sum) = text.trim_end().rsplit_once(' ')?;
        let mut numbers_of = numbers.split(' ');
        let (first, offset) = (numbers_of.next()?, numbers_of.next()?);
        (format!("{:016x}", checksum(numbers.as_bytes())) == sum).then_some(())?;
        let place = Position { first: first.parse().ok()?, offset: offset.parse().ok()? };
        // Earlier versions noted no more than the place.
        let delivered = numbers_of.next().map_or(Some(0), |number| number.parse().ok())?;
        Some(Cursor { place: Some(place), delivered })
    };
    read().unwrap_or_default()
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
