//! The user's terminal: is there one, how large is it, raw mode.

use crate::exit::{Failure, Result};
use std::io::{stdin, stdout};
use sys::tty;

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    tty::is_terminal(stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    tty::is_terminal(stdout())
}

/// Rows and columns of the terminal that output goes to; zeros when it goes elsewhere.
pub(crate) fn size() -> (u16, u16) {
    tty::size(stdout()).map_or((0, 0), |size| (size.rows, size.columns))
}

/// Refuses to give a terminal to a container whose input would not come from one.
pub(crate) fn check(attach_stdin: bool, wants_tty: bool) -> Result<()> {
    if wants_tty && attach_stdin && !stdin_is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

/// Puts the terminal into raw mode until the guard is dropped; `None` where input is no terminal.
pub(crate) fn raw() -> Option<tty::Raw<std::io::Stdin>> {
    if stdin_is_terminal() { tty::Raw::enter(stdin()).ok() } else { None }
}
