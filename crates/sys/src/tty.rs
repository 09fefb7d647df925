//! Terminals: sizes, raw mode that is always taken back, pseudo terminals.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// The size of the terminal `fd` (`ENOTTY` when it is none).
pub fn size(fd: impl AsFd) -> io::Result<Size> {
    let size = rustix::termios::tcgetwinsize(fd)?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of the terminal `fd`, which may be either end; its foreground process group gets `SIGWINCH`.
pub fn set_size(fd: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(fd, size)?)
}

/// A terminal in raw mode; dropping it restores the mode that it had.
pub struct Raw<F: AsFd> {
    fd: F,
    before: Termios,
}

impl<F: AsFd> Raw<F> {
    /// Puts the terminal `fd` into raw mode (`cfmakeraw(3)`): no echo, no line editing, no signals from keys.
    pub fn enter(fd: F) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(&fd)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&fd, OptionalActions::Now, &raw)?;
        Ok(Self { fd, before })
    }

    /// Only stops showing what is typed, for passwords.
    pub fn hidden(fd: F) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(&fd)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&fd, OptionalActions::Flush, &hidden)?;
        Ok(Self { fd, before })
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        let _gone = rustix::termios::tcsetattr(&self.fd, OptionalActions::Now, &self.before);
    }
}

impl<F: AsFd> std::fmt::Debug for Raw<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

/// A new pseudo terminal of this mount namespace's `/dev/ptmx`: the master and the path of the other end.
pub fn open_master() -> io::Result<(OwnedFd, CString)> {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::unlockpt(&master)?;
    let path = rustix::pty::ptsname(&master, Vec::new())?;
    Ok((master, path))
}

/// Both ends of a new pseudo terminal: the master, and the terminal itself.
pub fn open_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (master, path) = open_master()?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(path.as_c_str(), flags, Mode::empty())?;
    Ok((master, terminal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::LocalModes;

    #[test]
    fn both_ends_see_one_size() {
        let (master, terminal) = open_pair().unwrap();
        assert!(is_terminal(&terminal));
        set_size(&master, Size { rows: 41, columns: 133 }).unwrap();
        assert_eq!(size(&terminal).unwrap(), Size { rows: 41, columns: 133 });
    }

    #[test]
    fn raw_mode_is_taken_back() {
        let (_master, terminal) = open_pair().unwrap();
        let modes = || rustix::termios::tcgetattr(&terminal).unwrap().local_modes;
        let before = modes();
        assert!(before.contains(LocalModes::ECHO));
        let raw = Raw::enter(&terminal).unwrap();
        assert!(!modes().intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        drop(raw);
        assert_eq!(modes(), before);
    }

    #[test]
    fn a_pipe_has_no_size() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(!is_terminal(&reader));
        assert!(size(&reader).is_err());
        assert!(Raw::enter(&reader).is_err());
    }
}
