//! What the shim waits for: one epoll, level-triggered, and what each event is about.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use logging::Stream;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// What an event is about. Ids are never used twice in a shim's life, so an event of something that an earlier event
/// of the same round removed finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A child ended.
    Signals,
    /// A daemon connects.
    Listener,
    /// The container may have run out of memory.
    Memory,
    /// A daemon's connection.
    Daemon(u32),
    /// An output stream of a session.
    Output(u32, Stream),
    /// The input of a session.
    Input(u32),
    /// An attached client.
    Client(u32),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, id) = match self {
            Self::Signals => (0, 0),
            Self::Listener => (1, 0),
            Self::Memory => (2, 0),
            Self::Daemon(id) => (3, id),
            Self::Output(id, Stream::Stdout) => (4, id),
            Self::Output(id, Stream::Stderr) => (5, id),
            Self::Input(id) => (6, id),
            Self::Client(id) => (7, id),
        };
        kind << 32 | u64::from(id)
    }

    fn unpack(data: u64) -> Option<Self> {
        let id = u32::try_from(data & u64::from(u32::MAX)).ok()?;
        Some(match data >> 32 {
            0 => Self::Signals,
            1 => Self::Listener,
            2 => Self::Memory,
            3 => Self::Daemon(id),
            4 => Self::Output(id, Stream::Stdout),
            5 => Self::Output(id, Stream::Stderr),
            6 => Self::Input(id),
            7 => Self::Client(id),
            _ => return None,
        })
    }
}

/// The epoll instance, shared by everything that registers with it.
#[derive(Debug, Clone)]
pub(crate) struct Poll {
    epoll: Rc<OwnedFd>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Rc::new(epoll::create(CreateFlags::CLOEXEC)?) })
    }

    /// Waits for events, for at most `timeout`, and gives a bounded number of them.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<(Token, EventFlags)>> {
        let empty = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [empty; 32];
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().cast_signed(),
            tv_nsec: t.subsec_nanos().into(),
        });
        let n = match epoll::wait(&*self.epoll, &mut events[..], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => 0,
            other => other?,
        };
        Ok(events[..n]
            .iter()
            .filter_map(|e| Some((Token::unpack(e.data.u64())?, e.flags)))
            .collect())
    }
}

/// What of a descriptor is being waited for. Forgotten with the descriptor: closing it ends the registration.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    registered: Option<EventFlags>,
}

impl Interest {
    /// Waits for `wanted` from now on. `Some(empty)` still tells hang-ups; `None` tells nothing, which alone keeps a
    /// hung-up descriptor that cannot be served yet from waking us for ever.
    pub(crate) fn set(
        &mut self,
        poll: &Poll,
        fd: impl AsFd,
        token: Token,
        wanted: Option<EventFlags>,
    ) -> io::Result<()> {
        let data = EventData::new_u64(token.pack());
        match (self.registered, wanted) {
            (before, after) if before == after => {}
            (None, Some(flags)) => epoll::add(&*poll.epoll, fd, data, flags)?,
            (Some(_), Some(flags)) => epoll::modify(&*poll.epoll, fd, data, flags)?,
            (_, None) => epoll::delete(&*poll.epoll, fd)?,
        }
        self.registered = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_packing() {
        let ids = [0, 1, u32::MAX];
        let mut all = vec![Token::Signals, Token::Listener, Token::Memory];
        for id in ids {
            all.extend([Token::Daemon(id), Token::Input(id), Token::Client(id)]);
            all.extend([Token::Output(id, Stream::Stdout), Token::Output(id, Stream::Stderr)]);
        }
        for token in all {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(99 << 32), None);
    }

    #[test]
    fn a_hung_up_descriptor_is_silent_while_nothing_of_it_is_wanted() {
        let poll = Poll::new().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let mut interest = Interest::default();
        interest.set(&poll, &reader, Token::Input(7), Some(EventFlags::empty())).unwrap();
        drop(writer);
        let now = Some(Duration::ZERO);
        assert_eq!(poll.wait(now).unwrap(), [(Token::Input(7), EventFlags::HUP)]);
        interest.set(&poll, &reader, Token::Input(7), None).unwrap();
        assert_eq!(poll.wait(now).unwrap(), []);
        interest.set(&poll, &reader, Token::Input(7), Some(EventFlags::IN)).unwrap();
        assert_eq!(poll.wait(now).unwrap().len(), 1);
    }
}
