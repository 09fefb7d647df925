//! Signals that are passed on to the container, and the terminal's change of size.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that are passed on, by name and number. Not among them: what stops or continues us as a job in the background
/// of a shell for using its terminal, and what is about ourselves (CHLD, PIPE).
const PASSED_ON: &[(&str, rustix::process::Signal)] = &[
    ("HUP", rustix::process::Signal::HUP),
    ("INT", rustix::process::Signal::INT),
    ("QUIT", rustix::process::Signal::QUIT),
    ("USR1", rustix::process::Signal::USR1),
    ("USR2", rustix::process::Signal::USR2),
    ("ALRM", rustix::process::Signal::ALARM),
    ("TERM", rustix::process::Signal::TERM),
    ("CONT", rustix::process::Signal::CONT),
    ("TSTP", rustix::process::Signal::TSTP),
];

/// Those that would end us.
const ENDING: &[(&str, rustix::process::Signal)] = &[
    ("HUP", rustix::process::Signal::HUP),
    ("INT", rustix::process::Signal::INT),
    ("TERM", rustix::process::Signal::TERM),
];

/// Signals, caught from when this is made.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(&'static str, u8, Signal)>);

impl Signals {
    /// Those that are passed on to a container.
    pub(crate) fn passed_on() -> io::Result<Self> {
        Self::catch(PASSED_ON)
    }

    /// Those that would end us.
    pub(crate) fn ending() -> io::Result<Self> {
        Self::catch(ENDING)
    }

    fn catch(which: &[(&'static str, rustix::process::Signal)]) -> io::Result<Self> {
        let one = |(name, number): &(&'static str, rustix::process::Signal)| {
            let raw = number.as_raw();
            Ok((*name, u8::try_from(raw).unwrap_or(0), signal(SignalKind::from_raw(raw))?))
        };
        which.iter().map(one).collect::<io::Result<_>>().map(Self)
    }

    /// The next one: name and number. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (&'static str, u8) {
        poll_fn(|cx| {
            for (name, number, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready((*name, *number));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Tells when the terminal's size changes.
pub(crate) fn window_changes() -> io::Result<Signal> {
    signal(SignalKind::window_change())
}
